"""Problems of what must be there before work starts: files, local models, pinned ones on the hub, layers to probe.

Each function yields a line per problem: the path of the key, why it cannot work, what to do.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from concord.stage.params import Model

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
REVISION = re.compile(r"[0-9a-f]{40}")
NOT_THERE = "correct the path, or fetch it as the head of the recipe says"


def model(settings: Model, root: Path) -> Iterator[str]:
    """A local model is there; one on the hub is pinned."""
    yield from there(settings.chat_template, "model.chat_template", root)
    yield from there(settings.files, "model.files", root)
    if (root / settings.name).is_dir():
        yield from checkpoint(settings.name, "model.name", root)
        if Path(settings.files) != Path(settings.name):
            edits = f"so edits of {settings.name} would rerun nothing"
            yield f"model.files is {settings.files}, {edits}; give the same folder"
    elif settings.revision is None:
        pin = (
            "or, for a model on the hub, pin model.revision"
            if HUB_ID.fullmatch(settings.name)
            else "or correct the path"
        )
        yield f"model.name: {settings.name} is not there; make or fetch it as the head of the recipe says, {pin}"
    elif not REVISION.fullmatch(settings.revision):
        yield f"model.revision is {settings.revision!r}, which may move; give the commit's 40 hexadecimal digits"


def checkpoint(path: str, where: str, root: Path) -> Iterator[str]:
    """A folder is a model's."""
    if not (root / path / "config.json").is_file():
        yield f"{where}: {path} holds no config.json, so it is no model; give the folder of a checkpoint"


def there(path: str, where: str, root: Path) -> Iterator[str]:
    """A file or a folder is there and holds something."""
    target = root / path
    if not target.exists():
        tracked = (root / f"{path}.dvc").exists()
        yield f"{where}: {path} is not there; {'run `dvc pull`' if tracked else NOT_THERE}"
    elif not (
        target.stat().st_size
        if target.is_file()
        else any(file.is_file() for file in target.rglob("*"))
    ):
        yield f"{where}: {path} is empty; give one that holds something"


def layers(params: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Layers of a probe are in the model, as far as its files are here."""
    config = root / params["model"]["name"] / "config.json"
    count = (
        json.loads(config.read_text(encoding="utf-8")).get("num_hidden_layers")
        if config.is_file()
        else None
    )
    for name, entry in params["reward_models"].items():
        beyond = [
            layer for layer in entry.get("layers") or [] if count is not None and layer > count
        ]
        if beyond:
            yield f"reward_models.{name}.layers: the model has {count} layers, so there is no {beyond[0]}; lower it"
