"""Validates params.yaml before a run, and writes the code listing of every stage.

    params.yaml, concord, tasks
    -> data/code/<stage> (see docs/explanation/caching.md), data/checks.json

    python -m tasks.check

Checks types, names, cross-references, that the model and the sources exist, and that the chat
template accepts the conversations in the first rows of each source. All problems are reported at
once. Each line gives the path of the key, why it cannot work, and what is allowed.

A custom verifier, for example `verifier: my_checks:is_even`, is imported. It must accept a response
and a reference. Its return value is checked when it is used.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from concord import code, completion, references
from concord.annotations import conversations, reader
from concord.annotations.interchange import FIELDS
from concord.annotations.watched import RetrainParams, watch_problems
from concord.evaluation.policies import named_judges
from concord.evaluation.policies.run_protocol import EvaluateParams
from concord.objectives import Objective
from concord.prepared.check_params import Check, checks_of
from concord.references import errors_of
from concord.rewards.process import judging
from concord.sandbox.source import read_spec
from concord.stage import outputs, paths, preflight
from concord.stage.command import command
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import Model, Runtime, Seeds, mapping_of, read, section, suggest
from concord.stage.stage_graph import GRAPH, OPTIONAL_STAGES
from tasks import (
    anchors,
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
    select_weights,
    sft,
)

DEVICES = ("auto", "cpu", "cuda")
INTERCHANGE_FORMATS = ("concord", "table")
"""Formats whose columns are the keys of the interchange format."""

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
    "evaluate": EvaluateParams,
    "evaluate_rewards": evaluate_rewards.EvaluateRewardsParams,
    "front": front.FrontParams,
    "select": select_weights.SelectParams,
    "gate": gate.GateParams,
    "export": export.ExportParams,
}
MAPPINGS: dict[str, type] = {
    "sources": ingest.Source,
    "objectives": Objective,
    "reward_models": reward_model.RewardModelParams,
}
OPTIONAL: dict[str, type] = {"checks": Check}
"""Mappings from names to entries that may be missing or empty."""
OF_FLOWS: dict[str, type] = {"retrain": RetrainParams}
"""Sections that may be missing, and that no stage reads."""
STAGES: dict[str, str | None] = {
    **dict.fromkeys(
        ["check", "prepare", "sft", "process_labels", "process_reward", "anchors", "rollouts"]
    ),
    **dict.fromkeys(
        ["evaluate_rewards", "front", "select", "candidate", "gate", "export", "report"]
    ),
    "ingest": "sources",
    "reward_model": "reward_models",
    "policy": "policies",
    "evaluate": "policies",
}
"""Stage -> the section whose names may follow its name after an @, or None. For `budget`."""


def run(
    params: Mapping[str, Any], root: Path, name: str = "params.yaml", graph: Path | None = None
) -> None:
    """Raises ParamsError with all problems in `params`, which are in the file `name`.

    Relative paths start at `root`. `graph` is the dvc.yaml that runs `params`, if it is known.
    """
    problems = list(dict.fromkeys(section_problems(params)))
    if not problems:
        problems = list(dict.fromkeys(reference_problems(params, root, graph)))
    if not problems:
        problems = list(dict.fromkeys(conversation_problems(params, root)))
    if problems:
        raise ParamsError("\n".join([f"{name} is invalid:", *problems]))


def section_problems(params: Mapping[str, Any]) -> Iterator[str]:
    """Problems within single sections: keys, types, ranges, names."""
    required = [*SECTIONS, *MAPPINGS, "policies"]
    known = [*required, *OPTIONAL, *OF_FLOWS, "budget"]
    yield from (
        f"{key} is an unknown key; {suggest(str(key), known)}" for key in params if key not in known
    )
    yield from (
        f"{key} is missing; add it"
        for key in required
        if key not in params and key not in OPTIONAL_STAGES
    )
    for key, cls in {**SECTIONS, **OF_FLOWS}.items():
        if key in params:
            yield from errors_of(section, cls, params[key], key)
    for key, cls in {**MAPPINGS, **OPTIONAL}.items():
        if key in params and not (key in OPTIONAL and params[key] == {}):
            yield from _mapping_problems(params[key], key, partial(errors_of, section, cls))
    if "policies" in params:
        yield from _mapping_problems(params["policies"], "policies", _policy_problems)
        yield from _reference_policy_problems(params["policies"])
    yield from _budget_problems(params)


def reference_problems(
    params: Mapping[str, Any], root: Path, graph: Path | None = None
) -> Iterator[str]:
    """Problems between sections, and with files and models. The sections must be valid."""
    yield from completion.missing(params)
    if graph is not None:
        yield from completion.graph_problems(params, graph)
    params = completion.EMPTY | dict(params)
    objectives = mapping_of(Objective, params, "objectives")
    yield from references.scorer_problems(objectives, params["reward_models"])
    yield from references.custom_function_problems(params, root)
    yield from references.label_problems(objectives, params)
    yield from references.process_reward_problems(objectives, params)
    if params["process_labels"]["objectives"]:
        labels = section(
            process_labels.ProcessLabelsParams, params["process_labels"], "process_labels"
        )
        yield from _judge_problems(labels, root)
        yield from process_labels.count_problems(labels, objectives)
    yield from references.weight_problems(objectives, params)
    yield from references.choice_problems(objectives, params)
    yield from references.check_problems(checks_of(params), objectives, params["sources"])
    yield from references.evaluation_problems(objectives, params, root)
    yield from named_judges.problems(objectives, params, root)
    yield from _method_problems(objectives, params["policies"])
    yield from _published_problems(params)
    yield from preflight.path_exists(params["gate"]["champion"], "gate.champion", root)
    yield from _device_problems(params["runtime"].get("device", "auto"))
    yield from preflight.trackers(params["runtime"].get("report_to", []))
    yield from preflight.model(section(Model, params["model"], "model"), root)
    yield from preflight.layers(params, root)
    yield from preflight.positions(params, root)
    yield from references.role_problems(params["sources"], checks_of(params))
    retrain = section(RetrainParams, params.get("retrain", {}), "retrain")
    yield from watch_problems(retrain, params["sources"], root)
    domains = {objective.domain for objective in objectives.values()}
    for name, source in mapping_of(ingest.Source, params, "sources").items():
        yield from _source_problems(name, source, domains, root)
        yield from references.source_objective_problems(
            source.options, f"sources.{name}.options", objectives, params["prepare"]
        )


def conversation_problems(params: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Conversations of the first rows of each source that the chat template refuses."""
    model = section(Model, params["model"], "model")
    template = conversations.Template(root / model.chat_template, root / model.name)
    one_turn = conversations.Conversation("", 1, [{"role": "user", "content": "Why?"}])
    for problem in template.problems([one_turn]):
        yield f"model.chat_template: {problem.partition(': ')[2]}"
        return
    for name, source in mapping_of(ingest.Source, params, "sources").items():
        if source.format in (reader.HUB, "sandbox"):  # on the network; generated in full
            continue
        given = (source.format, root / source.path, source.options, source.columns)
        try:
            shapes = conversations.of_each_shape(reader.read(*given))
        except DataError as error:
            yield f"sources.{name}: {error}"
        else:
            yield from (f"sources.{name}: {problem}" for problem in template.problems(shapes))


def _mapping_problems(
    entries: Any, where: str, check: Callable[[Any, str], Iterator[str]]
) -> Iterator[str]:
    """Problems of a mapping from names to entries, which must not be empty."""
    if not isinstance(entries, Mapping) or not entries:
        yield f"{where} must be a mapping with at least one name, but is {entries!r}"
        return
    for name, entry in entries.items():
        if not references.NAME.fullmatch(str(name)):
            yield f"{where}.{name}: invalid name; {references.NAME_RULE}"
        yield from check(entry, f"{where}.{name}")


def _policy_problems(entry: Any, where: str) -> Iterator[str]:
    yield from errors_of(
        lambda: section(policy.method_of(entry, where).METHOD.params, entry, where)
    )


def _reference_policy_problems(entries: Any) -> Iterator[str]:
    named = entries.values() if isinstance(entries, Mapping) else []
    methods = [entry.get("method") for entry in named if isinstance(entry, Mapping)]
    if "reference" not in methods:
        yield (
            "policies: no policy has the method `reference`, which the others are compared with; "
            "add `sft: {method: reference}`"
        )


def _budget_problems(params: Mapping[str, Any]) -> Iterator[str]:
    budget = params.get("budget", {})
    if not isinstance(budget, Mapping):
        yield f"budget must be a mapping of stages to seconds, but is {budget!r}"
        return
    for key, seconds in budget.items():
        stage, _, item = str(key).partition("@")
        items = params.get(STAGES.get(stage) or "", {})
        if stage not in STAGES or (item and item not in items):
            allowed = [*STAGES, *(f"{stage}@{name}" for name in items)]
            yield f"budget.{key}: unknown stage; {suggest(str(key), allowed)}"
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not 0 < seconds < float("inf")
        ):
            yield f"budget.{key} is {seconds!r}; it must be a positive number of seconds"


def _judge_problems(labels: process_labels.ProcessLabelsParams, root: Path) -> Iterator[str]:
    """Missing requirements of the judges in use, such as models and environment variables."""
    for name in dict.fromkeys(entry.judge for entry in labels.objectives.values()):
        if name in labels.judges:
            yield from judging.missing(labels.judges[name], f"process_labels.judges.{name}", root)


def _method_problems(
    objectives: Mapping[str, Objective], policies: Mapping[str, Any]
) -> Iterator[str]:
    """Problems that the method of each policy reports about its parameters."""
    vector = {name: objective for name, objective in objectives.items() if objective.in_vector}
    for name, entry in policies.items():
        where = f"policies.{name}"
        method = policy.method_of(entry, where).METHOD
        for problem in method.problems(section(method.params, entry, where), vector):
            yield f"{where}.{problem}"


def _published_problems(params: Mapping[str, Any]) -> Iterator[str]:
    """The policy that is published must have a stock checkpoint."""
    name = params["select"]["policy"]
    entry = params["policies"].get(name)
    if entry and not policy.method_of(entry, f"policies.{name}").METHOD.stock:
        yield (
            f"select.policy: a policy with the method {entry['method']!r} is no stock model at "
            f"given weights, so {name} cannot be published; choose a policy of another method"
        )


def _device_problems(device: str) -> Iterator[str]:
    if device not in DEVICES:
        yield (
            f"runtime.device is {device!r}; allowed: {', '.join(DEVICES)} "
            "(select a GPU with CUDA_VISIBLE_DEVICES)"
        )
    elif device == "cuda":
        yield from preflight.cuda()


def _source_problems(
    name: str, source: ingest.Source, domains: set[str], root: Path
) -> Iterator[str]:
    where = f"sources.{name}"
    if source.prompts is not None and source.prompts not in domains:
        hint = suggest(source.prompts, sorted(domains))
        yield f"{where}.prompts: no objective has the domain {source.prompts!r}; {hint}"
    for column in source.columns:
        if source.format in INTERCHANGE_FORMATS and column not in FIELDS:
            hint = suggest(column, list(FIELDS))
            yield f"{where}.columns.{column} is not a key of the interchange format; {hint}"
    missing = list(preflight.path_exists(source.path, f"{where}.path", root))
    yield from missing
    if not (source.format == "hub" and missing):
        yield from errors_of(_validate_options, source, where, root)
    if source.format == "sandbox" and not missing:
        yield from errors_of(read_spec, root / source.path)


def _validate_options(source: ingest.Source, where: str, root: Path) -> None:
    section(
        reader.options_of(source.format, root / source.path), source.options, f"{where}.options"
    )


def main() -> None:
    """Runs the stage."""
    params, root = read(), Path(".")
    run(params, root, graph=root / GRAPH)
    left_out = {stage for key, stage in OPTIONAL_STAGES.items() if key not in params}
    stages = {stage: key for stage, key in STAGES.items() if stage not in {"check", *left_out}}
    with outputs.directory(paths.CODE) as folder:
        for stage, listing in code.listings(params, stages, root.resolve()).items():
            outputs.write_text(folder / stage, listing)
    outputs.write_json(paths.CHECKS, params.get("checks", {}))


if __name__ == "__main__":
    command(main)
