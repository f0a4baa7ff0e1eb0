"""Completes a short recipe: defaults that depend on other values, and which stages a run needs.

A recipe needs sources, objectives, a model and policies. Constant defaults are in the dataclasses
of the sections. This module has the others: the reward models of the objectives, the weights, the
policy to publish. It also decides which optional stages run: those whose section the recipe has,
and those that another stage needs. The others get no section, and the graph of the run has no such
stage (`concord.stage.stage_graph`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from concord.lm.train import Training
from concord.policies.job import Method
from concord.stage import plugins
from concord.stage.errors import ParamsError
from concord.stage.params import read, section
from concord.stage.paths import PROCESS_REWARD
from concord.stage.stage_graph import OPTIONAL_STAGES, absent_keys, lacks_process_reward

Params = dict[str, Any]
EMPTY: Params = {key: {} for key in OPTIONAL_STAGES} | {"process_labels": {"objectives": {}}}
"""What the optional sections count as where they are missing."""
PROCESS = ("process_labels", "process_reward")
SCORED = ("reward_models", "anchors", "rollouts")
PROCESS_TRAINING = {"learning_rate": 3e-4, "epochs": 2, "batch_size": 32, "micro_batch": 8}
"""Training of a process reward model that is not given."""
TEMPLATE = "chat_template.jinja"
"""The file of a checkpoint with its chat template."""
SAMPLED = ("sandbox", "judged")
"""The protocols that sample answers: on validation, the reward models score them."""


def filled(given: Mapping[str, Any], root: Path = Path()) -> Params:
    """`given` with the defaults that depend on other values, but without more optional sections.

    Values of a wrong type are left as they are. Relative paths start at `root`.
    """
    params: Params = copy.deepcopy(dict(given))
    _fill_model(params, root)
    _fill_sources(params)
    _fill_policies(params)
    _fill_evaluation(params)
    _fill_process(params)
    return params


def staged(params: Mapping[str, Any]) -> Params:
    """`params`, from `filled`, with the optional sections that are needed. Raises ParamsError."""
    result: Params = copy.deepcopy(dict(params))
    needs = needed(result)
    if "reward_models" in needs or "reward_models" in result:
        _fill_rewards(result, "reward_models" in needs)
    for name in ("anchors", "rollouts", *PROCESS):
        if name in needs:
            result.setdefault(name, {})
    _fill_process(result)
    if "evaluate_rewards" in needed(result):
        result.setdefault("evaluate_rewards", {})
    return result


def needed(params: Mapping[str, Any]) -> dict[str, str]:
    """Optional section -> the key of params.yaml because of which a stage needs its results.

    The policies must be valid. Raises ParamsError if one is not.
    """
    needs: dict[str, str] = {}
    for name, entry in params["policies"].items():
        where = f"policies.{name}"
        method = plugins.load("concord.policies.methods", entry["method"], where).METHOD
        settings = section(method.params, entry, where)
        if method.rewards(settings):
            needs = dict.fromkeys(SCORED, where) | needs
        if getattr(settings, "process_rewards", None):
            needs = dict.fromkeys(PROCESS, f"{where}.process_rewards") | needs
    if (protocol := params["evaluate"]["protocol"]) in SAMPLED:
        needs = dict.fromkeys(("reward_models", "anchors"), f"evaluate.protocol {protocol}") | needs
    for name in PROCESS:
        if name in params:
            needs = dict.fromkeys((*PROCESS, "reward_models"), name) | needs
    if "process_labels" in needs:
        needs.setdefault("reward_models", "process_labels")
    for name in ("reward_models", "process_reward"):
        if params.get(name):
            needs.setdefault("evaluate_rewards", name)
    return needs


def missing(params: Mapping[str, Any]) -> Iterator[str]:
    """Problems of sections and scorers that are needed and not there."""
    needs = needed(params)
    objectives = params["objectives"]
    trained = [name for name, entry in objectives.items() if entry.get("reward")]
    for name, why in needs.items():
        if name not in params and (name != "reward_models" or trained):
            yield (
                f"{name} is missing, and {why} needs it; add it, or run the file as a recipe with "
                "`concord run`, which fills in defaults"
            )
    for name, entry in objectives.items():
        if "reward_models" in needs and not entry.get("reward") and not entry.get("verifier"):
            yield (
                f"objectives.{name}: names neither of `verifier` and `reward`, so it is unclear "
                "what scores the objective; name exactly one"
            )


def graph_problems(params: Mapping[str, Any], graph: Path) -> Iterator[str]:
    """Problems between `params` and the dvc.yaml that runs them."""
    if not graph.is_file():
        return
    if absent := absent_keys(params, graph):
        yield (
            f"{', '.join(absent)}: missing, and {graph.name} reads "
            f"{'it' if len(absent) == 1 else 'them'}; run the file as a recipe with `concord run`, "
            "which fills in defaults in a clone under runs/, or add "
            f"{'it' if len(absent) == 1 else 'them'} from `concord check --explain`"
        )
    for name in lacks_process_reward(read(graph), params):
        yield (
            f"policies.{name}.process_rewards: {PROCESS_REWARD} is not a dep of `policy` in "
            f"{graph.name}, so the policy could be trained before it; add {PROCESS_REWARD} to "
            "stages.policy.do.deps, or use `concord run`, which adds it in a clone"
        )


def _fill_model(params: Params, root: Path) -> None:
    model = params.get("model")
    if not isinstance(model, dict) or not isinstance(name := model.get("name"), str):
        return
    model.setdefault("revision", None)
    if (root / name / TEMPLATE).is_file():
        model.setdefault("chat_template", f"{name}/{TEMPLATE}")
    local = (root / name).is_dir()
    if local or "chat_template" in model:  # of a Hub model, any local file
        model.setdefault("files", name if local else model["chat_template"])


def _fill_sources(params: Params) -> None:
    """With one domain, the prompts of all sources are used, unless a source says which.

    Those of checks are not: nothing is sampled from them.
    """
    checked = {str(entry.get("source")) for entry in _entries(params, "checks").values()}
    entries, domains = _entries(params, "sources"), set(vector(params).values())
    sources = {name: source for name, source in entries.items() if name not in checked}
    if len(domains) == 1 and not any("prompts" in source for source in sources.values()):
        for source in sources.values():
            source["prompts"] = next(iter(domains))


def _fill_policies(params: Params) -> None:
    """Adds the reference policy, and equal weights where a method requires weights."""
    policies = _entries(params, "policies")
    if policies and not any(entry.get("method") == "reference" for entry in policies.values()):
        name = "sft" if "sft" not in policies else "reference"
        params["policies"] = {name: {"method": "reference"}, **params["policies"]}
    for name, method in _methods(params).items():
        fill_training(params["policies"][name], method.params)
        field = method.params.__pydantic_fields__.get("weights")  # type: ignore[attr-defined]
        if field is not None and field.is_required():
            params["policies"][name].setdefault("weights", dict.fromkeys(vector(params), 1.0))


def fill_training(entry: Any, cls: type) -> None:
    """Fills in what `training` of an entry of the dataclass `cls` leaves out, by its default.

    Batch size and micro-batch belong together, and so do steps and epochs.
    """
    field = cls.__pydantic_fields__.get("training")  # type: ignore[attr-defined]
    given = entry.get("training") if isinstance(entry, dict) else None
    if field is None or not isinstance(default := field.default, Training):
        return
    if isinstance(given, dict):
        for names in (("learning_rate",), ("batch_size", "micro_batch"), ("steps", "epochs")):
            if not any(given.get(name) is not None for name in names):
                given.update({name: getattr(default, name) for name in names})


def _fill_evaluation(params: Params) -> None:
    """The protocol and its weights; the policy to publish and its reference."""
    for name in ("evaluate", "select"):
        params.setdefault(name, {})
    if isinstance(evaluate := params["evaluate"], dict):
        formats = {str(source.get("format")) for source in _entries(params, "sources").values()}
        evaluate.setdefault("protocol", "sandbox" if "sandbox" in formats else "judged")
        evaluate.setdefault("weights", dict.fromkeys(vector(params), 1.0))
    methods = {name: method for name, method in _methods(params).items() if method.stock}
    policies = _entries(params, "policies")
    references = [name for name in policies if policies[name].get("method") == "reference"]
    trained = [name for name in methods if name not in references]
    steerable = [name for name in trained if methods[name].heads]
    if isinstance(select := params["select"], dict):
        for name in [*steerable, *trained, *references][:1]:
            select.setdefault("policy", name)
        for name in references[:1]:
            select.setdefault("reference", name)


def _fill_rewards(params: Params, needed_by_a_stage: bool) -> None:
    """What scores each objective: a given reward model with its head, else the one of its domain.

    Without `reward_models`, there is one per domain: linear heads on frozen states.
    """
    given = _entries(params, "reward_models")
    objectives = _entries(params, "objectives")
    if needed_by_a_stage:
        for name, entry in objectives.items():
            if entry.get("verifier") is None and entry.get("reward") is None:
                heads = [group for group, one in given.items() if name in one.get("objectives", {})]
                entry["reward"] = heads[0] if len(heads) == 1 else entry.get("domain")
    groups: Params = {}
    for name, entry in objectives.items():
        if (group := entry.get("reward")) is not None:
            groups.setdefault(group, {"objectives": {}, "architecture": "probe"})
            groups[group]["objectives"][name] = {}
    if groups:
        params.setdefault("reward_models", groups)


def _fill_process(params: Params) -> None:
    """The objectives whose steps are labelled, and the training of the process reward model."""
    process, labels = params.get("process_reward"), params.get("process_labels")
    if isinstance(process, dict) and process.get("architecture", "finetune") == "finetune":
        process.setdefault("training", dict(PROCESS_TRAINING))
    if isinstance(labels, dict):
        labels.setdefault("objectives", {name: {} for name in _step_objectives(params)})


def vector(params: Mapping[str, Any]) -> dict[str, str]:
    """Objective of the reward vector -> its domain."""
    return {
        name: str(entry.get("domain"))
        for name, entry in _entries(params, "objectives").items()
        if entry.get("in_vector", True)
    }


def _step_objectives(params: Mapping[str, Any]) -> list[str]:
    """The objectives whose steps policies need scored; all of the vector if none names any."""
    named = [
        name
        for entry in _entries(params, "policies").values()
        for name in entry.get("process_rewards") or {}
    ]
    return list(dict.fromkeys(named)) or list(vector(params))


def _methods(params: Mapping[str, Any]) -> dict[str, Method]:
    """Policy -> its method, for the policies whose method exists."""
    methods = {}
    for name, entry in _entries(params, "policies").items():
        try:
            module = plugins.load("concord.policies.methods", entry.get("method"), "")
        except ParamsError:
            continue
        methods[name] = module.METHOD
    return methods


def _entries(params: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The entries of a section that are mappings."""
    section_ = params.get(key)
    if not isinstance(section_, Mapping):
        return {}
    return {name: entry for name, entry in section_.items() if isinstance(entry, Mapping)}
