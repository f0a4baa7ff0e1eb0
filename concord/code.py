"""Code listings: `check` writes one file per stage to `data/code/`, with one line per source file.

A line holds the digest and the path of a file. DVC does not follow imports, so each stage depends
on its listing instead. The listing changes if and only if code that the stage can run changes; see
docs/explanation/caching.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from concord.annotations.reader import HUB
from concord.evaluation.policies.choice import GIVEN
from concord.objectives import Objective, objectives_of
from concord.rewards.process.judging import kind_of
from concord.rewards.process.labelling import HUMAN, Labelling, derive
from concord.stage import plugins
from concord.stage.closure import ROOT, digests, local_imports
from concord.stage.params import section
from concord.stage.user_files import files_of_function, functions_in

Params = Mapping[str, Any]
Names = dict[str, set[str]]
DISPATCH = ROOT / "concord/rewards/verifiers/dispatch.py"
"""A stage runs verifiers if it can import this file."""
JUDGED = {"process_labels": {"process_labels"}, "evaluate": {"evaluate", "candidate"}}
"""Section of params.yaml that may name functions as judges -> the stages that call them."""
MODULES = {"select": "select_weights"}
"""Stages whose module in `tasks` has another name."""
POLICY_PLUGINS = {
    "loss": "concord.policies.losses",
    "aggregation": "concord.policies.advantages",
}
"""Parameter of a policy that names a function -> the plugin module."""


def listings(params: Params, stages: Mapping[str, str | None], root: Path) -> dict[str, str]:
    """DVC's name of every stage -> its listing.

    Args:
        params: the whole params.yaml, already validated.
        stages: stage -> the section of params.yaml whose items it repeats for, or None.
        root: the folder of params.yaml, where the functions of the user are.
    """
    objectives = objectives_of(params)
    custom = {where: files_of_function(f, root) for where, f in functions_in(params).items()}
    listing_by_stage = {}
    for stage, key in stages.items():
        for item in params[key] if key else [None]:
            names = _names(stage, item, params, objectives)
            files = [str(ROOT / f"tasks/{MODULES.get(stage, stage)}.py")]
            local = local_imports(*files, named=names)
            for where, its_files in custom.items():
                called = JUDGED.get(where.partition(".")[0])
                if (DISPATCH in local) if called is None else (stage in called):
                    files += its_files
            lines = digests(*files, named=names).items()
            text = "".join(f"{digest}  {path}\n" for path, digest in lines)
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


def _names(
    stage: str, item: str | None, params: Params, objectives: Mapping[str, Objective]
) -> Names:
    """Plugin package or module -> the plugins that the parameters of this stage name.

    If a location is missing, all of its plugins count.
    """
    names: Names = {location: set() for location in (*plugins.PACKAGES, *plugins.MODULES)}
    names["concord.rewards.verifiers"] = {
        objective.verifier
        for objective in objectives.values()
        if objective.verifier and ":" not in objective.verifier
    }
    if stage == "ingest":
        source_format = params["sources"][item]["format"]
        names["concord.annotations.formats"] = {source_format}
        if source_format == HUB:  # the YAML file that names the format is not a dep of `check`
            del names["concord.annotations.formats"]
    elif stage == "process_labels":
        labels = params["process_labels"]
        names["concord.rewards.process.labellers"] = set(_labellers(labels, objectives))
        names["concord.rewards.process.judges"] = {
            kind_of(entry) for entry in labels.get("judges", {}).values()
        }
    elif stage in ("evaluate", "candidate"):
        judges = (params["evaluate"].get("judge") or {}).get("judges", {})
        names["concord.rewards.process.judges"] = {kind_of(entry) for entry in judges.values()}
    elif stage == "policy":
        entry = params["policies"][item]
        method = plugins.load(
            "concord.policies.methods", entry["method"], f"policies.{item}.method"
        )
        settings = section(method.METHOD.params, entry, f"policies.{item}")
        names["concord.policies.methods"] = {entry["method"]}
        for parameter, location in POLICY_PLUGINS.items():
            if hasattr(settings, parameter):
                names[location] = {getattr(settings, parameter)}
            else:
                del names[location]
        if hasattr(settings, "scalariser"):
            names["concord.rewards.vector.scalarisers"] = {settings.scalariser}
    elif stage == "select":
        names["concord.rewards.vector.scalarisers"] = {params["select"].get("rule", GIVEN)} - {
            GIVEN
        }
    return names


def _labellers(labels: Params, objectives: Mapping[str, Objective]) -> Iterator[str]:
    for name, entry in labels["objectives"].items():
        labelling = section(Labelling, entry, f"process_labels.objectives.{name}")
        labeller = derive(objectives[name], labelling).labeller
        if labeller != HUMAN:
            yield labeller
