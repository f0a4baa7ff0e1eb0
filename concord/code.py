"""The code of every stage, as `check` writes it to `data/code/<stage>`: one line per file, its digest and its path.

DVC does not follow imports, so that listing is the dependency of the stage. It changes if, and only if, something
changes that the stage can run: see docs/explanation/caching.md.
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
        params: the whole of params.yaml, already checked.
        stages: stage -> the section of params.yaml that it repeats over, or None.
        root: what the paths in params.yaml are relative to.
    """
    known = objectives_of(params)
    custom = sorted(_custom_verifiers(known, root))
    found = {}
    for stage, key in stages.items():
        for item in params[key] if key else [None]:
            names = _names(stage, item, params, known, root)
            module = ROOT / f"tasks/{stage}.py"
            files = digests(module, *(custom if _scores(stage) else ()), named=names)
            text = "".join(f"{digest}  {path}\n" for path, digest in files.items())
            found[stage if item is None else f"{stage}@{item}"] = text
    return found


def read_listing(text: str) -> dict[str, str]:
    """Path -> digest, from the text of a listing."""
    return {
        path: digest for digest, _, path in (line.partition("  ") for line in text.splitlines())
    }


def _scores(stage: str) -> bool:
    """Whether a stage checks answers by verifiers."""
    return stage in (
        "process_labels",
        "anchors",
        "rollouts",
        "policy",
        "evaluate",
        "evaluate_rewards",
    )


def _names(
    stage: str, item: str | None, params: Params, known: Mapping[str, Objective], root: Path
) -> Names:
    """Place of plugins -> what the parameters of this stage name there."""
    names: Names = {place: set() for place in (*plugins.PACKAGES, *plugins.MODULES)}
    names["concord.rewards.verifiers"] = {
        objective.verifier
        for objective in known.values()
        if objective.verifier and ":" not in objective.verifier
    }
    if stage == "ingest":
        names["concord.annotations.formats"] = {_format(params["sources"][item], root)}
    elif stage == "process_labels":
        section_ = params["process_labels"]
        names["concord.rewards.process.labellers"] = set(_labellers(section_, known))
        names["concord.rewards.process.judges"] = {
            kind_of(entry) for entry in section_.get("judges", {}).values()
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
    """The format's module; for the hub, the one that reads its rows."""
    if source["format"] != HUB:
        return str(source["format"])
    return read_spec(root / source["path"], object_formats()).format


def _labellers(labels: Params, known: Mapping[str, Objective]) -> Iterator[str]:
    for name, entry in labels["objectives"].items():
        maker = derive(
            known[name], section(Labelling, entry, f"process_labels.objectives.{name}")
        ).maker
        if maker != HUMAN:
            yield maker


def _custom_verifiers(known: Mapping[str, Objective], root: Path) -> Iterator[Path]:
    """Files of verifiers given as module:function, as far as they are in the project."""
    for objective in known.values():
        module, colon, _ = (objective.verifier or "").partition(":")
        file = root.joinpath(*module.split(".")).with_suffix(".py") if colon else None
        if file is not None and file.is_file():
            yield file
