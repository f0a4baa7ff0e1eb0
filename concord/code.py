"""Code listings: `check` writes one file per stage to `data/code/`, with one line per source file.

A line holds the digest and the path of a file. DVC does not follow imports, so each stage depends
on its listing instead. The listing changes if and only if code that the stage can run changes; see
docs/explanation/caching.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from concord.annotations.hub import read_spec
from concord.annotations.reader import HUB, object_formats
from concord.objectives import Objective, objectives_of
from concord.rewards.process.judging import kind_of
from concord.rewards.process.labelling import HUMAN, Labelling, derive
from concord.stage import plugins
from concord.stage.closure import ROOT, digests
from concord.stage.params import section

Params = Mapping[str, Any]
DEFAULT_LOSS = "dpo"
Names = dict[str, set[str]]


def listings(params: Params, stages: Mapping[str, str | None], root: Path) -> dict[str, str]:
    """DVC's name of every stage -> its listing.

    Args:
        params: the whole params.yaml, already validated.
        stages: stage -> the section of params.yaml whose items it repeats for, or None.
        root: base of the relative paths in params.yaml.
    """
    objectives = objectives_of(params)
    custom = sorted(_custom_verifiers(objectives, root))
    listing_by_stage = {}
    for stage, key in stages.items():
        for item in params[key] if key else [None]:
            names = _names(stage, item, params, objectives, root)
            module = ROOT / f"tasks/{stage}.py"
            files = digests(module, *(custom if _runs_verifiers(stage) else ()), named=names)
            text = "".join(f"{digest}  {path}\n" for path, digest in files.items())
            listing_by_stage[stage if item is None else f"{stage}@{item}"] = text
    return listing_by_stage


def read_listing(text: str) -> dict[str, str]:
    """Path -> digest, from the text of a listing.

    Examples:
        >>> read_listing("5427d20fde942544  tasks/sft.py")
        {'tasks/sft.py': '5427d20fde942544'}
    """
    return {
        path: digest for digest, _, path in (line.partition("  ") for line in text.splitlines())
    }


def _runs_verifiers(stage: str) -> bool:
    """Whether a stage runs the verifiers."""
    return stage in (
        "process_labels",
        "anchors",
        "rollouts",
        "policy",
        "evaluate",
        "evaluate_rewards",
    )


def _names(
    stage: str, item: str | None, params: Params, objectives: Mapping[str, Objective], root: Path
) -> Names:
    """Plugin package or module -> the plugins that the parameters of this stage name."""
    names: Names = {location: set() for location in (*plugins.PACKAGES, *plugins.MODULES)}
    names["concord.rewards.verifiers"] = {
        objective.verifier
        for objective in objectives.values()
        if objective.verifier and ":" not in objective.verifier
    }
    if stage == "ingest":
        names["concord.annotations.formats"] = {_format(params["sources"][item], root)}
    elif stage == "process_labels":
        labels = params["process_labels"]
        names["concord.rewards.process.labellers"] = set(_labellers(labels, objectives))
        names["concord.rewards.process.judges"] = {
            kind_of(entry) for entry in labels.get("judges", {}).values()
        }
    elif stage == "policy":
        entry = params["policies"][item]
        names["concord.policies.methods"] = {entry["method"]}
        names["concord.policies.losses"] = {entry.get("loss", DEFAULT_LOSS)}
        names["concord.policies.advantages"] = (
            {entry["aggregation"]} if "aggregation" in entry else set()
        )
    elif stage == "select":
        names["concord.rewards.vector.scalarisers"] = {params["select"]["rule"]}
    return names


def _format(source: Params, root: Path) -> str:
    """The name of the format module; for a data set on the Hub, the module that parses its rows."""
    if source["format"] != HUB:
        return str(source["format"])
    return read_spec(root / source["path"], object_formats()).format


def _labellers(labels: Params, objectives: Mapping[str, Objective]) -> Iterator[str]:
    for name, entry in labels["objectives"].items():
        maker = derive(
            objectives[name], section(Labelling, entry, f"process_labels.objectives.{name}")
        ).labeller
        if maker != HUMAN:
            yield maker


def _custom_verifiers(objectives: Mapping[str, Objective], root: Path) -> Iterator[Path]:
    """Files of custom verifiers (`module:function`) inside the project."""
    for objective in objectives.values():
        module, colon, _ = (objective.verifier or "").partition(":")
        file = root.joinpath(*module.split(".")).with_suffix(".py") if colon else None
        if file is not None and file.is_file():
            yield file
