"""Labels the steps of sampled answers, to train the process reward model on.

    models/sft, models/rewards, data/prepared/prompts, data/prepared/steps
    -> data/process_labels/{train,validation}.parquet (table `steps`, labels in [0, 1]),
       data/process_labels/standards.json (mean and standard deviation of the judges),
       reports/process_labels.json (objective -> labelling method, its reason, label counts)

    python -m tasks.process_labels

The labelling method of an objective is derived from its properties
(`concord.rewards.process.labelling`). Human step labels from the sources are added. Sampling takes
most of the time, so its results are saved: a killed run resumes with the answers it already has.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.steps import split as split_steps
from concord.lm.load import load_causal, load_tokenizer
from concord.objectives import Objective, objectives_of
from concord.rewards.process import judging, step_labels
from concord.rewards.process.completions import Sampler
from concord.rewards.process.labeller import Labeller, LabellerSettings
from concord.rewards.process.labelling import HUMAN, Derivation, Labelling, derive, prefix_verdicts
from concord.stage import outputs, resume, runtime
from concord.stage.errors import DataError, ParamsError, command
from concord.stage.params import FORBID, Runtime, load, read, suggest
from concord.stage.paths import PREPARED, PROCESS_LABELS, REPORTS, SFT

if TYPE_CHECKING:
    import pandas as pd


SPLITS = {"train": 1, "validation": 4}
"""Divisor of `prompts` for each split."""
COLUMNS = ["messages", "steps", "objective", "labels", "label_kind", "group_id", "source"]

Count = Annotated[int, Field(gt=0)] | dict[str, Annotated[int, Field(gt=0)]]
"""One number for all domains, or domain -> number, since the cost of a label differs by domain."""


@dataclass(frozen=True, config=FORBID)
class ProcessLabelsParams:
    """The section `process_labels`."""

    objectives: Annotated[dict[str, Labelling], Field(min_length=1)]
    """Objective -> how its steps are labelled. The process reward model gets a head for each."""
    prompts: Count
    """Training prompts per domain: one number, or domain -> number. Validation uses a quarter of
    it."""
    samples: Count = 1
    """Answers per prompt to label: one number, or domain -> number."""
    completions: Annotated[int, Field(gt=0)] = 4
    """M, the number of completions sampled from each prefix of steps."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Discount per step between a prefix and the end of its completion."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature of answers and completions."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 96
    """Maximum length of an answer, and of a completion, in tokens."""
    judges: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Judge name -> `{kind: local | endpoint | ..., rubric: ..., ...}`. The kinds are the modules
    of concord/rewards/process/judges."""

    def __post_init__(self) -> None:
        for name, entry in self.judges.items():
            judging.judge_params(entry, f"judges.{name}")


def count_problems(params: ProcessLabelsParams, known: Mapping[str, Objective]) -> Iterator[str]:
    """Problems of `prompts` and `samples` given by domain: an unused domain, or a missing one."""
    domains = {
        known[name].domain
        for name, labelling in params.objectives.items()
        if name in known and labelling.labels != HUMAN
    }
    for key in ("prompts", "samples"):
        given = getattr(params, key)
        if isinstance(given, int):
            continue
        for domain in sorted(given.keys() - domains):
            yield (
                f"process_labels.{key}.{domain}: no answers are sampled for this domain; "
                f"allowed: {_comma_separated(domains)}"
            )
        if missing := domains - given.keys():
            yield (
                f"process_labels.{key}: no value for {_comma_separated(missing)}; "
                f"give a number for each of {_comma_separated(domains)}, or one number for all"
            )


def _comma_separated(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


@dataclass(frozen=True, config=FORBID)
class ProcessLabelsJob:
    """Everything that the labels depend on, apart from the input files."""

    params: ProcessLabelsParams
    objectives: dict[str, Objective]
    settings: Runtime
    seed: int

    @property
    def derived(self) -> dict[str, Derivation]:
        """Objective -> its labelling method. Raises ParamsError if a method cannot be used."""
        derivations = {}
        for name, labelling in self.params.objectives.items():
            where = f"process_labels.objectives.{name}"
            if name not in self.objectives:
                allowed = ", ".join(self.objectives)
                raise ParamsError(f"{where}: unknown objective; allowed: {allowed}")
            if labelling.judge is not None and labelling.judge not in self.params.judges:
                hint = suggest(labelling.judge, list(self.params.judges))
                raise ParamsError(
                    f"{where}.judge: {labelling.judge!r} is not in process_labels.judges; {hint}"
                )
            try:
                derivations[name] = derive(self.objectives[name], labelling)
            except ValueError as error:
                raise ParamsError(f"{where}: {error}") from None
        return derivations

    @property
    def work(self) -> Path:
        """Folder for sampled answers until the stage has finished."""
        inputs = [PREPARED / "prompts", SFT]
        sampled = [
            self.params.prompts,
            self.params.samples,
            self.params.completions,
            self.params.temperature,
        ]
        key = [*sampled, self.params.max_new_tokens, self.settings, self.seed]
        return resume.folder("process_labels", key, inputs, __file__)


def run(job: ProcessLabelsJob) -> None:
    """Samples and labels answers, adds human labels; writes the tables, standards and report."""
    derived = job.derived
    for problem in count_problems(job.params, job.objectives):
        raise ParamsError(problem)
    device = runtime.start(job.settings, job.seed)
    params = job.params
    sampler = Sampler(
        load_causal(SFT, device, job.settings.dtype),
        load_tokenizer(SFT),
        {
            "max_new_tokens": params.max_new_tokens,
            "temperature": params.temperature,
            "seed": job.seed,
        },
    )
    labeller = Labeller(
        LabellerSettings(
            objectives=job.objectives,
            labellings=params.objectives,
            derived=derived,
            judges=params.judges,
            gamma=params.gamma,
            device=device,
            dtype=job.settings.dtype,
        )
    )
    tables: dict[str, pd.DataFrame] = {}
    against: dict[str, Any] = {}
    for split, divisor in SPLITS.items():
        samples = _samples(job, derived, split, divisor, sampler)
        human = _human(split, params)
        made = [labeller.rows(name, samples) for name in derived]
        tables[split] = _table(made, human)
        if split == "validation":
            for name in (name for name, entry in derived.items() if entry.needs.judge):
                labelled = [row for row in human if row["objective"] == name]
                answers = samples[job.objectives[name].domain]
                against[name] = agreement_with_people(labeller, name, labelled, answers)
    _require_labels(tables["train"], params)
    with outputs.directory(PROCESS_LABELS) as folder:
        for split, table in tables.items():
            outputs.write_table(folder / f"{split}.parquet", table)
        named = {
            name: {"mean": mean, "std": std} for name, (mean, std) in labeller.standards.items()
        }
        outputs.write_json(folder / "standards.json", named)
    outputs.write_json(REPORTS / "process_labels.json", _report(job, derived, tables, against))
    shutil.rmtree(job.work, ignore_errors=True)


def _samples(
    job: ProcessLabelsJob,
    derived: Mapping[str, Derivation],
    split: str,
    divisor: int,
    sampler: Sampler,
) -> dict[str, list[dict[str, Any]]]:
    """Domain -> answers, split into steps, for the domains with automatic labels.

    The answers have completions if a labelling method needs them. `divisor` divides the number of
    prompts.
    """
    frame = outputs.read_table(PREPARED / f"prompts/{split}.parquet")
    made = {name: entry.needs for name, entry in derived.items() if entry.labeller != HUMAN}
    samples = {}
    for domain in dict.fromkeys(job.objectives[name].domain for name in made):
        completed = any(
            job.objectives[name].domain == domain and needs.completions
            for name, needs in made.items()
        )
        prompts = max(1, _count_for(job.params.prompts, domain) // divisor)
        samples[domain] = _sampled(job, split, frame, domain, prompts, sampler, completed)
    return samples


def _sampled(
    job: ProcessLabelsJob,
    split: str,
    frame: pd.DataFrame,
    domain: str,
    count: int,
    sampler: Sampler,
    completed: bool,
) -> list[dict[str, Any]]:
    prompts = frame[frame["domain"] == domain].head(count)
    if prompts.empty:
        raise DataError(
            f"the domain {domain} has no {split} prompts, so no steps can be labelled; "
            "add prompts to a source"
        )
    params = job.params
    rows = [
        dict(row) for row in _records(prompts) for _ in range(_count_for(params.samples, domain))
    ]
    print(f"{split}, {domain}: {len(rows)} answers of up to {params.max_new_tokens} tokens")
    responses = _cached(
        job.work / f"{split}-{domain}-answers.json",
        lambda: sampler.answers([row["messages"] for row in rows]),
    )
    answered = [(row, text) for row, text in zip(rows, responses, strict=True) if text.strip()]
    samples = [{**row, "steps": split_steps(text, domain)} for row, text in answered]
    if completed:
        prefixes = sum(len(sample["steps"]) - 1 for sample in samples)
        total = prefixes * params.completions
        print(
            f"{split}, {domain}: {prefixes} prefixes x {params.completions} completions "
            f"= {total} generations"
        )
        file = job.work / f"{split}-{domain}-completions.json"
        ends = _cached(
            file, lambda: step_labels.complete(samples, sampler.continuations, params.completions)
        )
        samples = [{**sample, "completed": end} for sample, end in zip(samples, ends, strict=True)]
    return samples


def _count_for(count: Count, domain: str) -> int:
    return count if isinstance(count, int) else count[domain]


def _cached(file: Path, make: Callable[[], Any]) -> Any:
    """The content of `file`, if a killed run saved it; otherwise `make()`, which is saved now."""
    if not file.is_file():
        outputs.write_json(file, make())
    return outputs.read_json(file)


def agreement_with_people(
    labeller: Labeller, name: str, labelled: list[dict[str, Any]], samples: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """How well the judge's verdicts on prefixes agree with human step labels.

    None unless there are both good and bad labels.
    """
    from concord.evaluation.metrics import area_under_curve

    given = np.array([label for row in labelled for label in row["labels"]], dtype=float)
    known = ~np.isnan(given)
    good = given[known] >= 0.5
    if good.all() or not good.any():
        return None
    by_row = prefix_verdicts(labelled, labeller.judge(name, samples))
    verdicts = np.array([verdict for row in by_row for verdict in row])
    return {
        "split": "validation",
        "steps": int(known.sum()),
        "agreement": float(((verdicts[known] > 0.5) == good).mean()),
        "auc": area_under_curve(verdicts[known], good),
        "good": float(good.mean()),
    }


def _report(
    job: ProcessLabelsJob,
    derived: Mapping[str, Derivation],
    tables: Mapping[str, pd.DataFrame],
    against: Mapping[str, Any],
) -> dict[str, Any]:
    """Objective -> its properties, labelling method and number of labelled answers by split.

    `against_people` compares the judge with human labels of the validation split; null without
    labels.
    """
    report = {}
    for name, derivation in derived.items():
        objective, labelling = job.objectives[name], job.params.objectives[name]
        rows = {split: table[table["objective"] == name] for split, table in tables.items()}
        by_kind = {
            split: {
                str(kind): int(count) for kind, count in frame["label_kind"].value_counts().items()
            }
            for split, frame in rows.items()
        }
        report[name] = {
            "verifiable": objective.verifier is not None,
            "steps": labelling.steps,
            "rollouts": labelling.rollouts,
            "maker": derivation.labeller,
            "why": derivation.why,
            "judge": labelling.judge or objective.reward if derivation.needs.judge else None,
            "against_people": against.get(name),
            "answers": by_kind,
        }
    return report


def _human(split: str, params: ProcessLabelsParams) -> list[dict[str, Any]]:
    """Human step labels for the objectives in `process_labels.objectives`."""
    frame = outputs.read_table(PREPARED / f"steps/{split}.parquet")
    requested = frame[frame["objective"].isin(list(params.objectives))]
    print(
        f"{split}: {len(requested)} answers with human step labels used, "
        f"{len(frame) - len(requested)} of other objectives ignored"
    )
    return _records(requested)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dicts."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _require_labels(table: pd.DataFrame, params: ProcessLabelsParams) -> None:
    labelled = table.loc[
        [bool(np.isfinite(np.array(labels, dtype=float)).any()) for labels in table["labels"]]
    ]
    missing = [name for name in params.objectives if name not in set(labelled["objective"])]
    if missing:
        raise DataError(
            f"no steps are labelled for {', '.join(missing)}, so the head cannot be fitted; "
            "add references (for hindsight labels) or human step labels to a source, "
            "or remove the objective from process_labels.objectives"
        )


def _table(made: list[list[dict[str, Any]]], human: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    rows = [row for rows in made for row in rows] + human
    return pd.DataFrame([{name: row[name] for name in COLUMNS} for row in rows], columns=COLUMNS)


def main() -> None:
    """Runs the stage."""
    job = ProcessLabelsJob(
        load(ProcessLabelsParams, "process_labels"),
        objectives_of(read()),
        load(Runtime, "runtime"),
        load(int, "seeds", "sampling"),
    )
    run(job)


if __name__ == "__main__":
    command(main)
