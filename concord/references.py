"""Checks between sections of params.yaml: a name that one section uses must exist in another.

For `check` alone. Each function yields messages; the sections must be valid on their own. A message
gives the path of the key, why it cannot work, and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from concord import code
from concord.evaluation.policies.protocol import CONTROL
from concord.objectives import Objective, check_weights, domain_weights
from concord.rewards.process.labelling import Labelling, derive
from concord.rewards.verifiers import dispatch
from concord.sandbox.world import OBJECTIVES
from concord.stage.closure import local_imports
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import read, section, suggest

NAME = re.compile(r"[a-z][a-z0-9_]*")
NAME_RULE = "use lower-case letters, digits and underscores, starting with a letter"


def scorer_problems(
    objectives: Mapping[str, Objective], groups: Mapping[str, Any]
) -> Iterator[str]:
    """Problems of verifiers, reward models and their heads: every name must exist."""
    for name, objective in objectives.items():
        where, reward = f"objectives.{name}", objective.reward
        if not NAME.fullmatch(objective.domain):
            yield f"{where}.domain: {objective.domain!r} is not a valid name; {NAME_RULE}"
        if objective.domain == "all" and objective.in_vector:
            yield (
                f"{where} applies to all domains, so it cannot be in the reward vector; "
                "set in_vector: false"
            )
        if objective.verifier is not None:
            yield from (
                f"{where}.verifier: {problem}"
                for problem in errors_of(dispatch.find, objective.verifier)
            )
        if reward is not None and reward not in groups:
            hint = suggest(reward, list(groups))
            yield f"{where}.reward: unknown reward model {reward!r}; {hint}"
        elif reward is not None and name not in groups[reward]["objectives"]:
            yield (
                f"{where}.reward: the reward model {reward} has no head for {name}; "
                f"add {name} to reward_models.{reward}.objectives"
            )
    if not any(objective.in_vector for objective in objectives.values()):
        yield (
            "objectives: the reward vector is empty, so there is nothing to optimise; "
            "set in_vector: true for at least one objective"
        )
    for group, entry in groups.items():
        yield from unknown_names(
            entry["objectives"], objectives, f"reward_models.{group}.objectives"
        )


def custom_verifier_problems(objectives: Mapping[str, Objective], root: Path) -> Iterator[str]:
    """Files of custom verifiers that DVC does not track: `check` must depend on them."""
    base, graph = root.resolve(), root / "dvc.yaml"
    deps = read(graph)["stages"]["check"]["deps"] if graph.is_file() else []
    for name, objective in objectives.items():
        for file in sorted(local_imports(*code.custom_files(objective, base), root=base)):
            path = file.relative_to(base)
            if deps and not any(path.is_relative_to(dep) for dep in deps):
                yield (
                    f"objectives.{name}.verifier: {path} is not a dep of `check` in dvc.yaml, so "
                    f"an edit of it would rerun nothing; add {path} to stages.check.deps"
                )


def label_problems(objectives: Mapping[str, Objective], params: Mapping[str, Any]) -> Iterator[str]:
    """Problems of sections that are keyed by objective, and of the choice of labels."""
    labels = params["process_labels"]["objectives"]
    yield from unknown_names(labels, objectives, "process_labels.objectives")
    yield from unknown_names(
        params["anchors"].get("directions", {}), objectives, "anchors.directions"
    )
    yield from unknown_names(
        params["process_reward"].get("verdicts", {}), labels, "process_reward.verdicts"
    )
    for name, entry in labels.items():
        where = f"process_labels.objectives.{name}"
        judge, judges = entry.get("judge"), params["process_labels"].get("judges", {})
        if judge is not None and judge not in judges:
            hint = suggest(judge, list(judges))
            yield f"{where}.judge: {judge!r} is not in process_labels.judges; {hint}"
        elif name in objectives:
            try:
                derive(objectives[name], section(Labelling, entry, where))
            except ValueError as error:
                yield f"{where}: {error}"


def weight_problems(
    objectives: Mapping[str, Objective], params: Mapping[str, Any]
) -> Iterator[str]:
    """Problems of weights: they must name members of the vector, one positive in each domain."""
    vector = {name: objective for name, objective in objectives.items() if objective.in_vector}
    sections = {"evaluate": params["evaluate"], "select": params["select"]}
    sections.update({f"policies.{name}": entry for name, entry in params["policies"].items()})
    for where, entry in sections.items():
        if entry.get("alpha"):
            yield from errors_of(check_weights, entry["alpha"], vector, f"{where}.alpha")
        if entry.get("weights"):
            for domain in dict.fromkeys(objective.domain for objective in vector.values()):
                yield from errors_of(
                    domain_weights, entry["weights"], vector, domain, f"{where}.weights"
                )


def choice_problems(
    objectives: Mapping[str, Objective], params: Mapping[str, Any]
) -> Iterator[str]:
    """Problems of `select` and `gate`, and of policies that train on a single objective."""
    vector = {name: objective for name, objective in objectives.items() if objective.in_vector}
    select, policies = params["select"], params["policies"]
    if select["policy"] not in policies:
        hint = suggest(str(select["policy"]), list(policies))
        yield f"select.policy: unknown policy {select['policy']!r}; {hint}"
    references = [name for name, entry in policies.items() if entry["method"] == "reference"]
    if select["reference"] not in references:
        yield (
            f"select.reference is {select['reference']!r}, which is not a policy with the method "
            f"`reference`; {suggest(str(select['reference']), references)}"
        )
    yield from unknown_names(select.get("at_least", {}), vector, "select.at_least")
    yield from unknown_names(params["gate"].get("margins", {}), vector, "gate.margins")
    for name, entry in policies.items():
        reward = entry.get("reward")
        if reward is not None and reward not in params["objectives"]:
            hint = suggest(str(reward), list(params["objectives"]))
            yield f"policies.{name}.reward: unknown objective {reward!r}; {hint}"


def evaluation_problems(
    objectives: Mapping[str, Objective], params: Mapping[str, Any]
) -> Iterator[str]:
    """Problems of the evaluation: objectives need a reference point and prompts in their domain."""
    vector = {name: objective for name, objective in objectives.items() if objective.in_vector}
    point = params["front"]["reference_point"]
    if isinstance(point, Mapping):
        yield from unknown_names(point, vector, "front.reference_point")
        yield from (
            f"front.reference_point has no value for {name}; give one"
            for name in vector
            if name not in point
        )
    for name, objective in vector.items():
        if objective.domain == CONTROL:
            yield (
                f"objectives.{name}.domain: {CONTROL!r} is reserved for a key of "
                "reports/front.json; use another name"
            )
        elif params["evaluate"]["protocol"] == "sandbox" and objective.domain not in OBJECTIVES:
            yield (
                f"objectives.{name}.domain: the sandbox has no domain {objective.domain!r}; "
                f"use one of {', '.join(OBJECTIVES)}, or set evaluate.protocol: likelihood"
            )


def unknown_names(names: Collection[str], known: Mapping[str, Any], where: str) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f"{where}.{name}: unknown objective; {suggest(name, list(known))}"


def errors_of(check: Callable[..., Any], *arguments: Any) -> Iterator[str]:
    """The message lines of the error that `check` raises, if any."""
    try:
        check(*arguments)
    except (DataError, ParamsError) as error:
        yield from str(error).splitlines()
