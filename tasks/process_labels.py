"""Label the steps of sampled answers, so that a process reward model can be trained on them.

models/sft, models/rewards, data/prepared/prompts, data/prepared/steps
-> data/process_labels/{train,validation}.parquet (the `steps` table, labels in [0, 1]) and standards.json

Three kinds of labels: `hindsight` (completions from each prefix, checked by the objective's verifier), `judge` (the
objective's reward head on each prefix) and `human` (those of the sources alone; they are added to the other kinds too).

    python -m tasks.process_labels
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.rewards import segment, step_labels
from tasks.stage import outputs, runtime
from tasks.stage.errors import DataError, ParamsError, command
from tasks.stage.models import Messages, load_causal, load_tokenizer
from tasks.stage.params import FORBID, Objective, Runtime, load, objectives, read

if TYPE_CHECKING:
    import pandas as pd

SFT = "models/sft"
SPLITS = {"train": 1, "validation": 4}
"""Share of `prompts` taken from each split: all, and one in four."""
COLUMNS = ["messages", "steps", "objective", "labels", "label_kind", "group_id", "source"]


@dataclass(frozen=True, config=FORBID)
class Labelling:
    """One objective's step labels."""

    labels: Literal["hindsight", "judge", "human"]
    """Where they come from."""


@dataclass(frozen=True, config=FORBID)
class Params:
    """The section `process_labels`."""

    objectives: Annotated[dict[str, Labelling], Field(min_length=1)]
    """The heads of the process reward model."""
    prompts: Annotated[int, Field(gt=0)]
    """Training prompts per domain; for validation a quarter as many."""
    samples: Annotated[int, Field(gt=0)] = 1
    """Answers per prompt whose steps are labelled."""
    completions: Annotated[int, Field(gt=0)] = 4
    """Completions of each prefix, M."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Discount per step between a prefix and the end of its completion."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of answers and completions."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 96
    """Longest answer, and longest completion."""


class Sampler:
    """The SFT model, asked for answers and for the rest of answers."""

    def __init__(self, model: Any, tokenizer: Any, params: Params, seed: int) -> None:
        self.model, self.tokenizer, self.params, self.seed = model, tokenizer, params, seed

    def answers(self, messages: Sequence[Messages]) -> list[str]:
        """One answer per prompt."""
        return self._sample(self.tokenizer, messages)

    def rest(self, messages: Sequence[Messages], beginnings: Sequence[str]) -> list[str]:
        """What follows each beginning of an answer."""
        begun = [
            [*prompt, {"role": "assistant", "content": beginning}]
            for prompt, beginning in zip(messages, beginnings, strict=True)
        ]
        return self._sample(_Continuing(self.tokenizer), begun)

    def _sample(self, tokenizer: Any, messages: Sequence[Messages]) -> list[str]:
        from tasks.policies.generate import sample

        return sample(
            self.model,
            tokenizer,
            messages,
            max_new_tokens=self.params.max_new_tokens,
            temperature=self.params.temperature,
            seed=self.seed,
        )


class _Continuing:
    """A tokenizer whose prompt goes on into the answer: the last message is the assistant's and not finished."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def apply_chat_template(self, messages: Messages, **options: Any) -> list[int]:
        prompt = self._tokenizer.apply_chat_template(list(messages[:-1]), **options)
        return [*prompt, *self._tokenizer(messages[-1]["content"], add_special_tokens=False)["input_ids"]]


def run(params: Params, known: Mapping[str, Objective], settings: Runtime, seed: int) -> None:
    """Samples, labels, adds people's labels, and writes both splits and the judges' standards."""
    _check(params, known)
    device = runtime.start(settings, seed)
    sampler = Sampler(load_causal(SFT, device, settings.dtype), load_tokenizer(SFT), params, seed)
    standards: dict[str, tuple[float, float]] = {}
    with outputs.directory("data/process_labels") as folder:
        for split, part in SPLITS.items():
            samples = _samples(split, max(1, params.prompts // part), sampler, params, known)
            made = [_labelled(name, samples, sampler, params, known, standards, device) for name in params.objectives]
            table = _table(made, _human(split, params))
            if split == "train":
                _demand_labels(table, params)
            outputs.write_table(folder / f"{split}.parquet", table)
        named = {name: {"mean": mean, "std": std} for name, (mean, std) in standards.items()}
        outputs.write_json(folder / "standards.json", named)


def _check(params: Params, known: Mapping[str, Objective]) -> None:
    for name, labelling in params.objectives.items():
        where = f"process_labels.objectives.{name}"
        if name not in known:
            raise ParamsError(f"{where}: no such objective; allowed: {', '.join(known)}")
        if labelling.labels == "hindsight" and known[name].verifier is None:
            raise ParamsError(f"{where}: {name} has no verifier to check completions with; use judge or human")
        if labelling.labels == "judge" and known[name].reward is None:
            raise ParamsError(f"{where}: {name} has no reward model to judge with; use hindsight or human")


def _samples(
    split: str, count: int, sampler: Sampler, params: Params, known: Mapping[str, Objective]
) -> dict[str, list[dict[str, Any]]]:
    """Answers by domain, cut into steps, for the domains whose steps are labelled here."""
    frame = outputs.read_table(f"data/prepared/prompts/{split}.parquet")
    made = [name for name, labelling in params.objectives.items() if labelling.labels != "human"]
    domains = dict.fromkeys(known[name].domain for name in made)
    return {domain: _sampled(split, frame, domain, count, sampler, params) for domain in domains}


def _sampled(
    split: str, frame: pd.DataFrame, domain: str, count: int, sampler: Sampler, params: Params
) -> list[dict[str, Any]]:
    own = frame[frame["domain"] == domain].head(count)
    if own.empty:
        raise DataError(f"no {split} prompt of domain {domain} to label steps on; add prompts to a source")
    rows = [dict(row) for row in _records(own) for _ in range(params.samples)]
    print(f"{split}, {domain}: {len(rows)} answers of up to {params.max_new_tokens} tokens")
    responses = sampler.answers([row["messages"] for row in rows])
    kept = zip(rows, responses, strict=True)
    return [{**row, "steps": segment.split(text, domain)} for row, text in kept if text.strip()]


def _labelled(
    name: str,
    samples: Mapping[str, list[dict[str, Any]]],
    sampler: Sampler,
    params: Params,
    known: Mapping[str, Objective],
    standards: dict[str, tuple[float, float]],
    device: Any,
) -> list[dict[str, Any]]:
    """Rows of the steps table for one objective."""
    kind, objective = params.objectives[name].labels, known[name]
    own = samples.get(objective.domain, []) if kind != "human" else []
    if not own:
        return []
    if kind == "hindsight":
        own = [sample for sample in own if sample["reference"] is not None]
        labels = _hindsight(name, own, objective, sampler, params)
    else:
        labels = _judged(name, own, objective, standards, device)
    rows = zip(own, labels, strict=True)
    return [{**row, "objective": name, "labels": each, "label_kind": kind, "source": "sft"} for row, each in rows]


def _hindsight(
    name: str, samples: list[dict[str, Any]], objective: Objective, sampler: Sampler, params: Params
) -> list[list[float]]:
    count = sum(len(sample["steps"]) - 1 for sample in samples)
    print(f"{name}: {count} prefixes x {params.completions} completions = {count * params.completions} generations")
    assert objective.verifier is not None
    return step_labels.by_hindsight(samples, objective.verifier, sampler.rest, params.completions, params.gamma)


def _judged(
    name: str,
    samples: list[dict[str, Any]],
    objective: Objective,
    standards: dict[str, tuple[float, float]],
    device: Any,
) -> list[list[float]]:
    from tasks.rewards import outcome

    count = sum(len(sample["steps"]) for sample in samples)
    print(f"{name}: {count} prefixes scored by the reward model {objective.reward}")
    judge = outcome.load(Path("models/rewards") / str(objective.reward), device)
    if name not in standards:  # fitted on the training split, kept for validation
        standards[name] = step_labels.standard_of(samples, judge, name)
    return step_labels.by_judge(samples, judge, name, standards[name])


def _human(split: str, params: Params) -> list[dict[str, Any]]:
    """People's step labels of the objectives that are asked for."""
    frame = outputs.read_table(f"data/prepared/steps/{split}.parquet")
    own = frame[frame["objective"].isin(list(params.objectives))]
    print(f"{split}: {len(own)} answers with people's step labels, {len(frame) - len(own)} of objectives not asked for")
    return _records(own)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _demand_labels(table: pd.DataFrame, params: Params) -> None:
    absent = [name for name in params.objectives if name not in set(table["objective"])]
    if absent:
        raise DataError(
            f"no step is labelled for {', '.join(absent)}, so its head could not be fitted; "
            "give references (hindsight), step labels (human), or take it out of process_labels.objectives"
        )


def _table(made: list[list[dict[str, Any]]], human: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    rows = [row for rows in made for row in rows] + human
    return pd.DataFrame([{name: row[name] for name in COLUMNS} for row in rows], columns=COLUMNS)


def main() -> None:
    """Runs the stage."""
    settings = load(Runtime, "runtime")
    run(load(Params, "process_labels"), objectives(read()), settings, load(int, "seeds", "sampling"))


if __name__ == "__main__":
    command(main)
