"""Checks between sections of params.yaml: a name that one section uses must exist in another.

For `check` alone. Each function yields messages; the sections must be valid on their own. A message
gives the path of the key, why it cannot work, and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from concord.evaluation.policies.protocol import CONTROL
from concord.objectives import Objective, check_weights, domain_weights
from concord.prepared.check_params import Check
from concord.rewards.process.labelling import Labelling, derive, discounted
from concord.rewards.verifiers import dispatch
from concord.sandbox.world import OBJECTIVES
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import read, section, suggest
from concord.stage.paths import MINILM
from concord.stage.user_files import code_of_function, files_of_function, functions_in

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


def role_problems(sources: Mapping[str, Any], checks: Mapping[str, Check]) -> Iterator[str]:
    """A problem if all sources are test-only, apart from those of checks."""
    checked = {check.source for check in checks.values()}
    roles = {source.get("role") for name, source in sources.items() if name not in checked}
    if roles == {"test"}:
        yield (
            "sources: every source has role: test, so nothing is left to train on; "
            "remove the role from one of them"
        )


def custom_function_problems(params: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Custom verifiers and judges whose files are not of this project, or that DVC does not track.

    They are called with what a model wrote, so no function of Python or of a package is accepted.
    """
    graph = root / "dvc.yaml"
    deps = read(graph)["stages"]["check"]["deps"] if graph.is_file() else []
    for key, name in functions_in(params).items():
        if not files_of_function(name, root):
            yield (
                f"{key}: {name!r} is not in a file of this project; it would be called with what a "
                "model wrote, so write the function in a module in the root of the project"
            )
        for path in code_of_function(name, root):
            if deps and not any(Path(path).is_relative_to(dep) for dep in deps):
                yield (
                    f"{key}: {path} is not a dep of `check` in dvc.yaml, so an edit of it would "
                    f"rerun nothing; use `concord check`, which adds {path} to stages.check.deps"
                )


def label_problems(objectives: Mapping[str, Objective], params: Mapping[str, Any]) -> Iterator[str]:
    """Problems of sections that are keyed by objective, and of the choice of labels."""
    labels = params["process_labels"]["objectives"]
    for name in params["prepare"].get("ignore_objectives", []):
        if name in objectives:
            yield (
                f"prepare.ignore_objectives: {name} is in `objectives`, so its labels are used; "
                "remove it from one of the two"
            )
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


def source_objective_problems(
    options: Mapping[str, Any],
    where: str,
    objectives: Mapping[str, Objective],
    prepare: Mapping[str, Any],
) -> Iterator[str]:
    """An unknown objective that the options of a source give to all of its labels."""
    constants = options.get("constants")
    given = {"objective": options.get("objective")}
    if isinstance(constants, Mapping):
        given["constants.objective"] = constants.get("objective")
    for key, name in given.items():
        if isinstance(name, str) and name not in {
            *objectives,
            *prepare.get("ignore_objectives", []),
        }:
            yield f"{where}.{key}: unknown objective {name!r}; {suggest(name, list(objectives))}"


def process_reward_problems(
    objectives: Mapping[str, Objective], params: Mapping[str, Any]
) -> Iterator[str]:
    """Problems of step scores that would be combined wrongly, or that would judge twice."""
    labels = params["process_labels"]
    values = {
        name
        for name, entry in labels["objectives"].items()
        if name in objectives and _discounted(objectives[name], entry, labels.get("gamma", 1.0))
    }
    if values and params["evaluate_rewards"].get("solution_score", "product") == "product":
        yield (
            f"process_labels.gamma is {labels['gamma']}, but the step scores of "
            f"{', '.join(sorted(values))} are multiplied, and a product of discounts is smaller "
            "for longer answers; set gamma: 1, or evaluate_rewards.solution_score: last"
        )
    for policy, entry in params["policies"].items():
        if forms := entry.get("process_rewards"):
            where = f"policies.{policy}.process_rewards"
            yield from _process_reward_problems(forms, where, values, objectives, params)


def _discounted(objective: Objective, entry: Mapping[str, Any], gamma: float) -> bool:
    try:
        derived = derive(objective, section(Labelling, entry, "process_labels.objectives"))
    except ValueError:  # reported by `label_problems`
        return False
    return bool(discounted({"": derived}, gamma))


def _process_reward_problems(
    forms: Mapping[str, str],
    where: str,
    values: Collection[str],
    objectives: Mapping[str, Objective],
    params: Mapping[str, Any],
) -> Iterator[str]:
    vector = {name: objective for name, objective in objectives.items() if objective.in_vector}
    yield from unknown_names(forms, vector, where)
    for name in sorted(forms.keys() & vector.keys()):
        objective = vector[name]
        if name not in params["process_labels"]["objectives"]:
            yield (
                f"{where}.{name}: the process reward model has no head for it; "
                f"add {name} to process_labels.objectives"
            )
        if params["anchors"].get("directions", {}).get(name) == -1:
            yield (
                f"{where}.{name}: the objective is a cost, and a process reward is better if it is "
                f"higher; remove {name} from process_rewards"
            )
        if name in values and forms[name] == "mean":
            yield (
                f"{where}.{name}: with process_labels.gamma below 1, a mean of step scores is "
                "smaller for longer answers; set gamma: 1, or use `difference`"
            )
        for other, twin in vector.items():
            same = twin.verifier is not None and twin.verifier == objective.verifier
            if same and twin.domain == objective.domain and other not in forms:
                yield (
                    f"{where}.{name}: {other} has the same verifier, so one quality would be "
                    "judged both by its outcome and by its steps; set in_vector: false for "
                    f"{other}, or remove {name}"
                )


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
    for gate in ("objectives", "verifiers"):
        margins = params["gate"].get(gate, {}).get("margins", {})
        yield from unknown_names(margins, vector, f"gate.{gate}.margins")
    for name, entry in policies.items():
        reward = entry.get("reward")
        if reward is not None and reward not in params["objectives"]:
            hint = suggest(str(reward), list(params["objectives"]))
            yield f"policies.{name}.reward: unknown objective {reward!r}; {hint}"


def check_problems(
    checks: Mapping[str, Check], objectives: Mapping[str, Objective], sources: Mapping[str, Any]
) -> Iterator[str]:
    """Problems of checks: their sources and objectives must exist, and nothing may use them."""
    for name, check in checks.items():
        where = f"checks.{name}"
        if check.objective not in objectives:
            hint = suggest(check.objective, list(objectives))
            yield f"{where}.objective: unknown objective {check.objective!r}; {hint}"
        if check.source not in sources:
            hint = suggest(check.source, list(sources))
            yield f"{where}.source: unknown source {check.source!r}; {hint}"
        elif sources[check.source].get("prompts") is not None:
            yield (
                f"sources.{check.source}.prompts: the prompts of a check are never sampled, and "
                f"{where} names this source; remove `prompts`"
            )
    if checks and not sources.keys() - {check.source for check in checks.values()}:
        yield (
            "checks: every source belongs to a check, so there is nothing to train on; add a "
            "source that no check names"
        )


def evaluation_problems(
    objectives: Mapping[str, Objective], params: Mapping[str, Any], root: Path
) -> Iterator[str]:
    """Problems of the evaluation: objectives need a reference point and prompts in their domain,
    and a judge needs its model.
    """
    judge = params["evaluate"].get("judge") or {}
    if judge.get("embeddings") and not (root / MINILM / "config.json").is_file():
        yield (
            f"evaluate.judge.embeddings: {MINILM} does not exist; run "
            f"`python -m concord.lm.fetch minilm {MINILM}`, or remove the key to judge by TF-IDF"
        )
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
                f"use one of {', '.join(OBJECTIVES)}, or evaluate.protocol: likelihood or judged"
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
