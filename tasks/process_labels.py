"""Label the steps of sampled answers, so that a process reward model can be trained on them.

models/sft, models/rewards, data/prepared/prompts, data/prepared/steps
-> data/process_labels/{train,validation}.parquet (the `steps` table, labels in [0, 1]) and standards.json,
   reports/process_labels.json (objective -> its label maker, why, and what it made)

Which maker labels an objective follows from what it is (`concord.rewards.process.labelling`); people's step labels of the
sources are added. What is sampled costs most: a run that was killed goes on with the answers that it had.

    python -m tasks.process_labels
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
"""Share of `prompts` taken from each split: all, and one in four."""
COLUMNS = ["messages", "steps", "objective", "labels", "label_kind", "group_id", "source"]

Count = Annotated[int, Field(gt=0)] | dict[str, Annotated[int, Field(gt=0)]]
"""One number for all domains, or one for each: what a label costs differs between them."""


@dataclass(frozen=True, config=FORBID)
class ProcessLabelsParams:
    """The section `process_labels`."""

    objectives: Annotated[dict[str, Labelling], Field(min_length=1)]
    """The heads of the process reward model."""
    prompts: Count
    """Training prompts per domain; for validation a quarter as many."""
    samples: Count = 1
    """Answers per prompt whose steps are labelled."""
    completions: Annotated[int, Field(gt=0)] = 4
    """Completions of each prefix, M."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Discount per step between a prefix and the end of its completion."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of answers and completions."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 96
    """Longest answer, and longest completion."""
    judges: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Judges with a rubric, by name: `{kind: local | endpoint | ..., ...}` (concord/rewards/process/judges)."""

    def __post_init__(self) -> None:
        for name, entry in self.judges.items():
            judging.judge_params(entry, f"judges.{name}")


def uncounted(params: ProcessLabelsParams, known: Mapping[str, Objective]) -> Iterator[str]:
    """What is wrong with numbers given by domain: one that nothing is sampled for, or one that is missing."""
    domains = {
        known[name].domain
        for name, own in params.objectives.items()
        if name in known and own.labels != HUMAN
    }
    for key in ("prompts", "samples"):
        given = getattr(params, key)
        if isinstance(given, int):
            continue
        for domain in sorted(given.keys() - domains):
            yield f"process_labels.{key}.{domain}: nothing is sampled there to be labelled; allowed: {_list(domains)}"
        if absent := domains - given.keys():
            yield (
                f"process_labels.{key}: {_list(absent)} is missing; "
                f"give a number for each of {_list(domains)}, or one number for all"
            )


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


@dataclass(frozen=True, config=FORBID)
class ProcessLabelsJob:
    """All that the labels depend on besides the inputs."""

    params: ProcessLabelsParams
    known: dict[str, Objective]
    settings: Runtime
    seed: int

    @property
    def derived(self) -> dict[str, Derivation]:
        """Objective -> the maker of its labels. Raises ParamsError where one cannot work."""
        found = {}
        for name, labelling in self.params.objectives.items():
            where = f"process_labels.objectives.{name}"
            if name not in self.known:
                raise ParamsError(f"{where}: no such objective; allowed: {', '.join(self.known)}")
            if labelling.judge is not None and labelling.judge not in self.params.judges:
                known = suggest(labelling.judge, list(self.params.judges))
                raise ParamsError(
                    f"{where}.judge: there is no judge {labelling.judge!r} in process_labels.judges; {known}"
                )
            try:
                found[name] = derive(self.known[name], labelling)
            except ValueError as error:
                raise ParamsError(f"{where}: {error}") from None
        return found

    @property
    def work(self) -> Path:
        """Where sampled answers go until the labels are there."""
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
    """Samples, labels, adds people's labels, and writes both splits, the judges' standards and the report."""
    derived = job.derived
    for problem in uncounted(job.params, job.known):
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
            objectives=job.known,
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
    for split, part in SPLITS.items():
        samples = _samples(job, derived, split, part, sampler)
        human = _human(split, params)
        made = [labeller.rows(name, samples) for name in derived]
        tables[split] = _table(made, human)
        if split == "validation":
            for name in (name for name, entry in derived.items() if entry.needs.judge):
                labelled = [row for row in human if row["objective"] == name]
                answers = samples[job.known[name].domain]
                against[name] = against_people(labeller, name, labelled, answers)
    _demand_labels(tables["train"], params)
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
    part: int,
    sampler: Sampler,
) -> dict[str, list[dict[str, Any]]]:
    """Answers by domain, cut into steps and completed where a maker needs it, for the domains labelled here; of the
    prompts one in `part`."""
    frame = outputs.read_table(PREPARED / f"prompts/{split}.parquet")
    made = {name: entry.needs for name, entry in derived.items() if entry.maker != HUMAN}
    found = {}
    for domain in dict.fromkeys(job.known[name].domain for name in made):
        completed = any(
            job.known[name].domain == domain and needs.completions for name, needs in made.items()
        )
        prompts = max(1, _of(job.params.prompts, domain) // part)
        found[domain] = _sampled(job, split, frame, domain, prompts, sampler, completed)
    return found


def _sampled(
    job: ProcessLabelsJob,
    split: str,
    frame: pd.DataFrame,
    domain: str,
    count: int,
    sampler: Sampler,
    completed: bool,
) -> list[dict[str, Any]]:
    own = frame[frame["domain"] == domain].head(count)
    if own.empty:
        raise DataError(
            f"no {split} prompt of domain {domain} to label steps on; add prompts to a source"
        )
    params = job.params
    rows = [dict(row) for row in _records(own) for _ in range(_of(params.samples, domain))]
    print(f"{split}, {domain}: {len(rows)} answers of up to {params.max_new_tokens} tokens")
    responses = _kept(
        job.work / f"{split}-{domain}-answers.json",
        lambda: sampler.answers([row["messages"] for row in rows]),
    )
    answered = [(row, text) for row, text in zip(rows, responses, strict=True) if text.strip()]
    samples = [{**row, "steps": split_steps(text, domain)} for row, text in answered]
    if completed:
        prefixes = sum(len(sample["steps"]) - 1 for sample in samples)
        total = prefixes * params.completions
        print(
            f"{split}, {domain}: {prefixes} prefixes x {params.completions} completions = {total} generations"
        )
        file = job.work / f"{split}-{domain}-completions.json"
        ends = _kept(file, lambda: step_labels.complete(samples, sampler.rest, params.completions))
        samples = [{**sample, "completed": end} for sample, end in zip(samples, ends, strict=True)]
    return samples


def _of(count: Count, domain: str) -> int:
    return count if isinstance(count, int) else count[domain]


def _kept(file: Path, make: Callable[[], Any]) -> Any:
    """What a run that was killed left, or else what is made now, and kept until the labels are there."""
    if not file.is_file():
        outputs.write_json(file, make())
    return outputs.read_json(file)


def against_people(
    labeller: Labeller, name: str, labelled: list[dict[str, Any]], samples: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """How well the judge's verdicts on prefixes separate people's labels of the steps.

    None unless there are labels of both kinds.
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
    """Objective -> what it is, the maker that follows, how many answers it labelled by split, and how the judge does
    against people's labels of the validation split (null where there are none)."""
    report = {}
    for name, found in derived.items():
        objective, labelling = job.known[name], job.params.objectives[name]
        own = {split: table[table["objective"] == name] for split, table in tables.items()}
        by_kind = {
            split: {
                str(kind): int(count) for kind, count in frame["label_kind"].value_counts().items()
            }
            for split, frame in own.items()
        }
        report[name] = {
            "verifiable": objective.verifier is not None,
            "steps": labelling.steps,
            "rollouts": labelling.rollouts,
            "maker": found.maker,
            "why": found.why,
            "judge": labelling.judge or objective.reward if found.needs.judge else None,
            "against_people": against.get(name),
            "answers": by_kind,
        }
    return report


def _human(split: str, params: ProcessLabelsParams) -> list[dict[str, Any]]:
    """People's step labels of the objectives that are asked for."""
    frame = outputs.read_table(PREPARED / f"steps/{split}.parquet")
    own = frame[frame["objective"].isin(list(params.objectives))]
    print(
        f"{split}: {len(own)} answers with people's step labels, {len(frame) - len(own)} of objectives not asked for"
    )
    return _records(own)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _demand_labels(table: pd.DataFrame, params: ProcessLabelsParams) -> None:
    given = table.loc[
        [bool(np.isfinite(np.array(labels, dtype=float)).any()) for labels in table["labels"]]
    ]
    absent = [name for name in params.objectives if name not in set(given["objective"])]
    if absent:
        raise DataError(
            f"no step is labelled for {', '.join(absent)}, so its head could not be fitted; "
            "give references (for hindsight), step labels (human), or take it out of process_labels.objectives"
        )


def _table(made: list[list[dict[str, Any]]], human: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    rows = [row for rows in made for row in rows] + human
    return pd.DataFrame([{name: row[name] for name in COLUMNS} for row in rows], columns=COLUMNS)


def main() -> None:
    """Runs the stage."""
    settings = load(Runtime, "runtime")
    run(
        ProcessLabelsJob(
            load(ProcessLabelsParams, "process_labels"),
            objectives_of(read()),
            settings,
            load(int, "seeds", "sampling"),
        )
    )


if __name__ == "__main__":
    command(main)
