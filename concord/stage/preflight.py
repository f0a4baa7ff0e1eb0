"""Checks before a run starts: files, local models, pinned Hub revisions, probe layers, devices.

Each function yields one line per problem: the path of the key, why it cannot work, what to do.
"""

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from concord.stage.params import Model

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
REVISION = re.compile(r"[0-9a-f]{40}")
HOW_TO_GET = "correct the path, or fetch it as described at the top of the recipe"


def model(settings: Model, root: Path) -> Iterator[str]:
    """Problems of the base model: a local folder must hold a model, a Hub model must be pinned."""
    yield from path_exists(settings.chat_template, "model.chat_template", root)
    yield from path_exists(settings.files, "model.files", root)
    if (root / settings.name).is_dir():
        yield from checkpoint(settings.name, "model.name", root)
        if Path(settings.files) != Path(settings.name):
            edits = f"so changes to {settings.name} would not rerun any stage"
            yield f"model.files is {settings.files}, {edits}; give the same folder"
    elif settings.revision is None:
        pin = (
            "for a model on the Hub, pin model.revision"
            if HUB_ID.fullmatch(settings.name)
            else "or correct the path"
        )
        yield (
            f"model.name: {settings.name} does not exist; "
            f"fetch it as described at the top of the recipe, {pin}"
        )
    elif not REVISION.fullmatch(settings.revision):
        yield (
            f"model.revision is {settings.revision!r}, which can change on the Hub; "
            "give the full commit hash (40 hexadecimal digits)"
        )


def checkpoint(path: str, where: str, root: Path) -> Iterator[str]:
    """A problem if the folder `path` holds no model."""
    if not (root / path / "config.json").is_file():
        yield (
            f"{where}: {path} has no config.json, so it does not contain a model; "
            "give the folder of a checkpoint"
        )


def path_exists(path: str, where: str, root: Path) -> Iterator[str]:
    """A problem if the file or folder `path` is missing or empty."""
    target = root / path
    if not target.exists():
        tracked = (root / f"{path}.dvc").exists()
        yield f"{where}: {path} does not exist; {'run `dvc pull`' if tracked else HOW_TO_GET}"
    elif _is_empty(target):
        yield f"{where}: {path} is empty; give a file or folder with content"


def _is_empty(path: Path) -> bool:
    if path.is_file():
        return path.stat().st_size == 0
    return not any(file.is_file() for file in path.rglob("*"))


def layers(params: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Probe layers that the model does not have. Checked only if the model is a local folder."""
    count = _config(params, root).get("num_hidden_layers")
    entries = {f"reward_models.{name}": entry for name, entry in params["reward_models"].items()}
    for where, entry in {**entries, "process_reward": params.get("process_reward", {})}.items():
        beyond = [
            layer
            for layer in entry.get("layers") or []
            if count is not None and not 0 <= layer <= count
        ]
        if beyond:
            yield (
                f"{where}.layers: {beyond[0]} is out of range; the model has layers 0 to {count}"
            )


def positions(params: Mapping[str, Any], root: Path) -> Iterator[str]:
    """A maximum length beyond the model's positions. Checked only for a model in a local folder."""
    config, length = _config(params, root), params["model"]["max_length"]
    most = config.get("max_position_embeddings", config.get("n_positions"))
    if most is not None and length > most:
        yield (
            f"model.max_length is {length}, but the model was made for {most} positions "
            f"(max_position_embeddings in its config.json); set model.max_length to at most {most}"
        )


def cuda() -> Iterator[str]:
    """A problem if PyTorch finds no CUDA device. Importing PyTorch takes seconds."""
    import torch

    if not torch.cuda.is_available():
        yield (
            "runtime.device is 'cuda', but PyTorch finds no CUDA device on this machine; set "
            "runtime.device: auto, or install a driver and a CUDA build of PyTorch"
        )


def trackers(names: Sequence[str]) -> Iterator[str]:
    """Services in `runtime.report_to` whose package is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            yield (
                f"runtime.report_to: {name} is not installed; run `pip install {name}`, or remove "
                "it from the list"
            )


def _config(params: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """config.json of a local model, or the part of it on text; empty if there is none."""
    path = root / params["model"]["name"] / "config.json"
    if not path.is_file():
        return {}
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    text: dict[str, Any] = config.get("text_config") or config
    return text
