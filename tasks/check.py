"""Checks the whole of params.yaml before any work: types, names, cross references, that model and sources are there.

    params.yaml -> data/checked     (whose content never changes, so that no edit reruns anything through it)

    python -m tasks.check

All problems are reported at once, each with the path of its key, why it cannot work, and what is allowed.

A verifier of one's own, `verifier: my_checks:is_even`, is imported and must take a response and a reference; what it
returns is checked at use. Its file is no dep of any stage: concord/rewards/verifiers/dispatch.py says what to do after edits.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from concord import code
from concord.annotations import reader
from concord.annotations.interchange import FIELDS
from concord.objectives import Objective, check_weights, domain_weights
from concord.rewards.process import judging
from concord.rewards.process.labelling import Labelling, derive
from concord.rewards.verifiers import dispatch
from concord.sandbox.source import read_spec
from concord.sandbox.world import OBJECTIVES
from concord.stage import outputs, paths
from concord.stage import preflight as present
from concord.stage.errors import DataError, ParamsError, command
from concord.stage.params import Model, Runtime, Seeds, mapping_of, read, section, suggest
from tasks import (
    anchors,
    evaluate,
    evaluate_rewards,
    export,
    front,
    gate,
    ingest,
    policy,
    prepare,
    process_labels,
    process_reward,
    reward_model,
    rollouts,
    select,
    sft,
)

NAME = re.compile(r"[a-z][a-z0-9_]*")
DEVICES = ("auto", "cpu", "cuda")
KEYED = ("concord", "table")
"""Formats that read the keys of the interchange format."""

SECTIONS: dict[str, type] = {
    "seeds": Seeds,
    "runtime": Runtime,
    "model": Model,
    "ingest": ingest.IngestParams,
    "prepare": prepare.PrepareParams,
    "sft": sft.SftParams,
    "process_labels": process_labels.ProcessLabelsParams,
    "process_reward": process_reward.ProcessRewardParams,
    "anchors": anchors.AnchorsParams,
    "rollouts": rollouts.RolloutsParams,
    "evaluate": evaluate.EvaluateParams,
    "evaluate_rewards": evaluate_rewards.EvaluateRewardsParams,
    "front": front.FrontParams,
    "select": select.SelectParams,
    "gate": gate.GateParams,
    "export": export.ExportParams,
}
MAPPINGS: dict[str, type] = {
    "sources": ingest.Source,
    "objectives": Objective,
    "reward_models": reward_model.RewardModelParams,
}
STAGES: dict[str, str | None] = {
    **dict.fromkeys(
        ["check", "prepare", "sft", "process_labels", "process_reward", "anchors", "rollouts"]
    ),
    **dict.fromkeys(["evaluate_rewards", "front", "select", "gate", "export", "report"]),
    "ingest": "sources",
    "reward_model": "reward_models",
    "policy": "policies",
    "evaluate": "policies",
}
"""Stages that `budget` may name, and the mapping whose names may follow after an @."""


def run(params: Mapping[str, Any], root: Path) -> None:
    """Raises ParamsError with every problem found in `params`, whose paths start at `root`."""
    found = list(dict.fromkeys(shapes(params))) or list(dict.fromkeys(references(params, root)))
    if found:
        raise ParamsError("\n".join(["params.yaml cannot work:", *found]))


def shapes(params: Mapping[str, Any]) -> Iterator[str]:
    """Problems of sections taken by themselves: keys, types, ranges, names."""
    known = [*SECTIONS, *MAPPINGS, "policies", "budget"]
    yield from (
        f"{key} is an unknown key; {suggest(str(key), known)}" for key in params if key not in known
    )
    yield from (
        f"{key} is missing; add it" for key in known if key not in params and key != "budget"
    )
    for key, cls in SECTIONS.items():
        if key in params:
            yield from _caught(section, cls, params[key], key)
    for key, cls in MAPPINGS.items():
        if key in params:
            yield from _mapping(params[key], key, partial(_caught, section, cls))
    if "policies" in params:
        yield from _mapping(params["policies"], "policies", _policy)
        yield from _has_reference(params["policies"])
    yield from _budget(params)


def references(params: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Problems between sections, and with what lies outside of params.yaml; the shapes must be right."""
    objectives = mapping_of(Objective, params, "objectives")
    yield from _scored(objectives, params["reward_models"])
    yield from _labelled(objectives, params)
    labels = section(process_labels.ProcessLabelsParams, params["process_labels"], "process_labels")
    yield from _judges(labels, root)
    yield from process_labels.uncounted(labels, objectives)
    yield from _weighted(objectives, params)
    yield from _chosen(params)
    yield from _judged(objectives, params)
    yield from _methods(objectives, params["policies"])
    yield from present.there(params["gate"]["champion"], "gate.champion", root)
    yield from _device(params["runtime"].get("device", "auto"))
    yield from present.model(section(Model, params["model"], "model"), root)
    yield from present.layers(params, root)
    for name, source in mapping_of(ingest.Source, params, "sources").items():
        yield from _source(
            name, source, {objective.domain for objective in objectives.values()}, root
        )


def _mapping(entries: Any, where: str, check: Callable[[Any, str], Iterator[str]]) -> Iterator[str]:
    """Problems of a mapping from names to entries, of which it needs at least one."""
    if not isinstance(entries, Mapping) or not entries:
        yield f"{where} must be a mapping with at least one name, but is {entries!r}"
        return
    for name, entry in entries.items():
        if not NAME.fullmatch(str(name)):
            yield f"{where}.{name} is no name; use lower-case letters, digits and _, a letter first"
        yield from check(entry, f"{where}.{name}")


def _policy(entry: Any, where: str) -> Iterator[str]:
    yield from _caught(lambda: section(policy.method_of(entry, where).METHOD.params, entry, where))


def _has_reference(entries: Any) -> Iterator[str]:
    named = entries.values() if isinstance(entries, Mapping) else []
    methods = [entry.get("method") for entry in named if isinstance(entry, Mapping)]
    if "reference" not in methods:
        yield "policies has none of method reference to compare the others with; add `sft: {method: reference}`"


def _budget(params: Mapping[str, Any]) -> Iterator[str]:
    budget = params.get("budget", {})
    if not isinstance(budget, Mapping):
        yield f"budget must be a mapping of stages to seconds, but is {budget!r}"
        return
    for key, seconds in budget.items():
        stage, _, item = str(key).partition("@")
        items = params.get(STAGES.get(stage) or "", {})
        if stage not in STAGES or (item and item not in items):
            yield f"budget.{key} is no stage; {suggest(str(key), [*STAGES, *(f'{stage}@{name}' for name in items)])}"
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not 0 < seconds < float("inf")
        ):
            yield f"budget.{key} is {seconds!r}; it must be a positive number of seconds"


def _scored(objectives: Mapping[str, Objective], groups: Mapping[str, Any]) -> Iterator[str]:
    """Each objective is scored by something that exists, and each head is of an objective that exists."""
    for name, objective in objectives.items():
        where, reward = f"objectives.{name}", objective.reward
        if not NAME.fullmatch(objective.domain):
            yield f"{where}.domain is {objective.domain!r}; use lower-case letters, digits and _, a letter first"
        if objective.domain == "all" and objective.in_vector:
            yield f"{where} spans all domains, so it cannot be a member of the vector; set in_vector: false"
        if objective.verifier is not None:
            yield from (
                f"{where}.verifier: {problem}"
                for problem in _caught(dispatch.find, objective.verifier)
            )
        if reward is not None and reward not in groups:
            yield f"{where}.reward: there is no reward model {reward!r}; {suggest(reward, list(groups))}"
        elif reward is not None and name not in groups[reward]["objectives"]:
            yield f"{where}.reward: the model {reward} has no head for it; add it to reward_models.{reward}.objectives"
    if not any(objective.in_vector for objective in objectives.values()):
        yield "objectives: none is in the reward vector, so there is nothing to optimise; set one in_vector: true"
    for group, entry in groups.items():
        yield from _known(entry["objectives"], objectives, f"reward_models.{group}.objectives")


def _labelled(objectives: Mapping[str, Objective], params: Mapping[str, Any]) -> Iterator[str]:
    """What else names objectives by key."""
    labels = params["process_labels"]["objectives"]
    yield from _known(labels, objectives, "process_labels.objectives")
    yield from _known(params["anchors"].get("directions", {}), objectives, "anchors.directions")
    yield from _known(params["gate"].get("margins", {}), objectives, "gate.margins")
    yield from _known(
        params["process_reward"].get("verdicts", {}), labels, "process_reward.verdicts"
    )
    for name, entry in labels.items():
        where = f"process_labels.objectives.{name}"
        judge, judges = entry.get("judge"), params["process_labels"].get("judges", {})
        if judge is not None and judge not in judges:
            yield f"{where}.judge: there is no judge {judge!r} in process_labels.judges; {suggest(judge, list(judges))}"
        elif name in objectives:
            try:
                derive(objectives[name], section(Labelling, entry, where))
            except ValueError as error:
                yield f"{where}: {error}"


def _judges(labels: process_labels.ProcessLabelsParams, root: Path) -> Iterator[str]:
    """The judges that are used have what they need, as far as can be seen from here."""
    for name in dict.fromkeys(entry.judge for entry in labels.objectives.values()):
        if name in labels.judges:
            yield from judging.missing(labels.judges[name], f"process_labels.judges.{name}", root)


def _weighted(objectives: Mapping[str, Objective], params: Mapping[str, Any]) -> Iterator[str]:
    """Weights are of members of the vector, and leave no domain without one that is positive."""
    vector = {name: objective for name, objective in objectives.items() if objective.in_vector}
    places = {"evaluate": params["evaluate"], "select": params["select"]}
    places.update({f"policies.{name}": entry for name, entry in params["policies"].items()})
    for where, entry in places.items():
        if entry.get("alpha"):
            yield from _caught(check_weights, entry["alpha"], vector, f"{where}.alpha")
        if entry.get("weights"):
            for domain in dict.fromkeys(objective.domain for objective in vector.values()):
                yield from _caught(
                    domain_weights, entry["weights"], vector, domain, f"{where}.weights"
                )


def _chosen(params: Mapping[str, Any]) -> Iterator[str]:
    """Names of policies and of the objective that a policy is trained on alone."""
    policy = params["select"].get("policy")
    if policy is not None and policy not in params["policies"]:
        yield f"select.policy: there is no policy {policy!r}; {suggest(str(policy), list(params['policies']))}"
    for name, entry in params["policies"].items():
        reward = entry.get("reward")
        if reward is not None and reward not in params["objectives"]:
            yield f"policies.{name}.reward: no objective {reward!r}; {suggest(str(reward), list(params['objectives']))}"


def _judged(objectives: Mapping[str, Objective], params: Mapping[str, Any]) -> Iterator[str]:
    """What evaluation compares policies by: each domain can be asked, each objective has a worst value that counts."""
    vector = {name: objective for name, objective in objectives.items() if objective.in_vector}
    point = params["front"]["reference_point"]
    if isinstance(point, Mapping):
        yield from _known(point, vector, "front.reference_point")
        yield from (
            f"front.reference_point has no value for {name}; give one"
            for name in vector
            if name not in point
        )
    for name, objective in vector.items():
        if objective.domain == front.CONTROL:
            yield f"objectives.{name}.domain: {front.CONTROL!r} is a key of reports/front.json; take another name"
        elif params["evaluate"]["protocol"] == "sandbox" and objective.domain not in OBJECTIVES:
            yield (
                f"objectives.{name}.domain: the sandbox has no prompts of domain {objective.domain!r}, only of "
                f"{', '.join(OBJECTIVES)}; take one of these, or judge by labels with evaluate.protocol: likelihood"
            )


def _methods(objectives: Mapping[str, Objective], policies: Mapping[str, Any]) -> Iterator[str]:
    """What each policy's method finds wrong with its parameters and the objectives of the vector."""
    vector = [name for name, objective in objectives.items() if objective.in_vector]
    for name, entry in policies.items():
        where = f"policies.{name}"
        method = policy.method_of(entry, where).METHOD
        for problem in method.problems(section(method.params, entry, where), vector):
            yield f"{where}.{problem}"


def _device(device: str) -> Iterator[str]:
    if device not in DEVICES:
        yield f"runtime.device is {device!r}; allowed: {', '.join(DEVICES)} (CUDA_VISIBLE_DEVICES says which)"


def _source(name: str, source: ingest.Source, domains: set[str], root: Path) -> Iterator[str]:
    where = f"sources.{name}"
    if source.prompts is not None and source.prompts not in domains:
        known = suggest(source.prompts, sorted(domains))
        yield f"{where}.prompts: no objective is of domain {source.prompts!r}; {known}"
    for column in source.columns:
        if source.format in KEYED and column not in FIELDS:
            yield f"{where}.columns.{column} is no key of the interchange format; {suggest(column, list(FIELDS))}"
    absent = list(present.there(source.path, f"{where}.path", root))
    yield from absent
    if not (source.format == "hub" and absent):
        yield from _caught(_options, source, where, root)
    if source.format == "sandbox" and not absent:
        yield from _caught(read_spec, root / source.path)


def _options(source: ingest.Source, where: str, root: Path) -> None:
    section(
        reader.options_of(source.format, root / source.path), source.options, f"{where}.options"
    )


def _known(names: Collection[str], known: Mapping[str, Any], where: str) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f"{where}.{name} is no objective; {suggest(name, list(known))}"


def _caught(check: Callable[..., Any], *arguments: Any) -> Iterator[str]:
    try:
        check(*arguments)
    except (DataError, ParamsError) as error:
        yield from str(error).splitlines()


def main() -> None:
    """Checks params.yaml, and writes the listing of every stage's code."""
    params, root = read(), Path(".")
    run(params, root)
    stages = {stage: key for stage, key in STAGES.items() if stage != "check"}
    with outputs.directory(paths.CODE) as folder:
        for stage, listing in code.listings(params, stages, root.resolve()).items():
            outputs.write_text(folder / stage, listing)


if __name__ == "__main__":
    command(main)
