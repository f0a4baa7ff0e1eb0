"""Notices that params.yaml was edited during a stage: DVC would record the wrong values.

DVC reads params.yaml again when a stage has ended, and records what it finds, here and in its run
cache. If a value that the stage declares was edited meanwhile, the outputs of the old value would
be taken for those of the new one. The stage fails instead, so nothing is recorded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FILE = Path("params.yaml")
ABSENT = "nothing"
CONSEQUENCE = (
    "so this run is not recorded: DVC would record the new value with what the old one made. Run "
    "again, with the value that you want"
)


def params_text() -> bytes | None:
    """The content of params.yaml, if DVC started this stage and the file exists."""
    if "DVC_STAGE" not in os.environ or not FILE.is_file():
        return None
    return FILE.read_bytes()


def edited(before: bytes | None) -> str | None:
    """A sentence if a value that this stage declares is not what it was; else None.

    Args:
        before: the result of `params_text` when the stage started.
    """
    if before is None or before == (after := params_text()):
        return None
    stage, graph = os.environ["DVC_STAGE"], _parsed(Path("dvc.yaml").read_bytes())
    if FILE.name in _body(stage, graph).get("deps", []):
        return f"{FILE} was edited while the stage ran, {CONSEQUENCE}"
    old, new = _parsed(before), _parsed(after or b"")
    for key in declared(stage, graph):
        if (value := _at(new, key)) != (was := _at(old, key)):
            change = f"from {_short(was)} to {_short(value)}"
            return f"{key} was edited while the stage ran, {change}, {CONSEQUENCE}"
    return None


def declared(stage: str, graph: Mapping[str, Any]) -> list[str]:
    """The keys of params.yaml that DVC records for a stage.

    Args:
        stage: its name, such as `policy@mah_dpo`.
        graph: the content of dvc.yaml.

    Examples:
        >>> body = {"do": {"params": ["seeds", "policies.${key}"]}}
        >>> declared("policy@grpo", {"stages": {"policy": body}})
        ['seeds', 'policies.grpo']
    """
    item = stage.partition("@")[2]
    keys = _body(stage, graph).get("params", [])
    return [key.replace("${key}", item) for key in keys if isinstance(key, str)]


def _body(stage: str, graph: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry of a stage in dvc.yaml."""
    entry = graph["stages"].get(stage.rpartition(":")[2].partition("@")[0], {})
    return dict(entry.get("do", entry))


def _parsed(content: bytes) -> Any:
    """The values of a file; nothing if it is not valid at the moment."""
    try:
        return YAML(typ="safe", pure=True).load(content)
    except Exception:  # noqa: BLE001 - the parser raises many kinds of errors
        return None


def _at(params: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(params, Mapping) or part not in params:
            return ABSENT
        params = params[part]
    return params


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
