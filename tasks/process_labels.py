"""Label the steps of sampled answers, so that a process reward model can be trained on them.

models/sft, models/rewards, data/prepared/prompts, data/prepared/steps
-> data/process_labels/{train,validation}.parquet (the `steps` table, labels in [0, 1]) and standards.json,
   reports/process_labels.json (objective -> its label maker, why, and what it made)

Which maker labels an objective follows from what it is (`tasks.rewards.label_makers`); people's step labels of the
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

from tasks.rewards import judges, segment, step_labels
from tasks.rewards.continuing import Sampler
from tasks.rewards.label_makers import ASKING, COMPLETED, Derivation, Labelling, derive
from tasks.stage import outputs, resume, runtime
from tasks.stage.errors import DataError, ParamsError, command
from tasks.stage.models import load_causal, load_tokenizer
from tasks.stage.params import FORBID, Objective, Runtime, load, objectives, read, suggest

if TYPE_CHECKING:
    import pandas as pd

    from tasks.rewards.outcome import RewardModel

SFT = "models/sft"
SPLITS = {"train": 1, "validation": 4}
"""Share of `prompts` taken from each split: all, and one in four."""
JUDGED = Path("work/judged")
"""What endpoints answered; kept from run to run."""
COLUMNS = ["messages", "steps", "objective", "labels", "label_kind", "group_id", "source"]

Count = Annotated[int, Field(gt=0)] | dict[str, Annotated[int, Field(gt=0)]]
"""One number for all domains, or one for each: what a label costs differs between them."""


@dataclass(frozen=True, config=FORBID)
class Params:
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
    judges: dict[str, judges.JudgeParams] = field(default_factory=dict)
    """Judges with a rubric, by name."""


def uncounted(params: Params, known: Mapping[str, Objective]) -> Iterator[str]:
    """What is wrong with numbers given by domain: one that nothing is sampled for, or one that is missing."""
    domains = {known[name].domain for name, own in params.objectives.items() if name in known and own.labels != "human"}
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
class Job:
    """All that the labels depend on besides the inputs."""

    params: Params
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
        inputs = [Path("data/prepared/prompts"), Path(SFT)]
        sampled = [self.params.prompts, self.params.samples, self.params.completions, self.params.temperature]
        key = [*sampled, self.params.max_new_tokens, self.settings, self.seed]
        return resume.folder("process_labels", key, inputs, __file__)


def run(job: Job) -> None:
    """Samples, labels, adds people's labels, and writes both splits, the judges' standards and the report."""
    derived = job.derived
    for problem in uncounted(job.params, job.known):
        raise ParamsError(problem)
    device = runtime.start(job.settings, job.seed)
    params = job.params
    sampler = Sampler(
        load_causal(SFT, device, job.settings.dtype),
        load_tokenizer(SFT),
        {"max_new_tokens": params.max_new_tokens, "temperature": params.temperature, "seed": job.seed},
    )
    labeller = Labeller(job, derived, device)
    tables, against = {}, {}
    for split, part in SPLITS.items():
        samples = _samples(job, derived, split, part, sampler)
        made = [labeller.rows(name, samples) for name in derived]
        tables[split] = _table(made, _human(split, params))
        if split == "validation":
            asked = {name: samples[job.known[name].domain] for name, entry in derived.items() if entry.maker in ASKING}
            against = {name: labeller.against_people(name, split, own) for name, own in asked.items()}
    _demand_labels(tables["train"], params)
    with outputs.directory("data/process_labels") as folder:
        for split, table in tables.items():
            outputs.write_table(folder / f"{split}.parquet", table)
        named = {name: {"mean": mean, "std": std} for name, (mean, std) in labeller.standards.items()}
        outputs.write_json(folder / "standards.json", named)
    outputs.write_json("reports/process_labels.json", _report(job, derived, tables, against))
    shutil.rmtree(job.work, ignore_errors=True)


def _samples(
    job: Job, derived: Mapping[str, Derivation], split: str, part: int, sampler: Sampler
) -> dict[str, list[dict[str, Any]]]:
    """Answers by domain, cut into steps and completed where a maker needs it, for the domains labelled here; of the
    prompts one in `part`."""
    frame = outputs.read_table(f"data/prepared/prompts/{split}.parquet")
    made = {name: entry.maker for name, entry in derived.items() if entry.maker != "human"}
    found = {}
    for domain in dict.fromkeys(job.known[name].domain for name in made):
        completed = any(job.known[name].domain == domain and maker in COMPLETED for name, maker in made.items())
        prompts = max(1, _of(job.params.prompts, domain) // part)
        found[domain] = _sampled(job, split, frame, domain, prompts, sampler, completed)
    return found


def _sampled(
    job: Job, split: str, frame: pd.DataFrame, domain: str, count: int, sampler: Sampler, completed: bool
) -> list[dict[str, Any]]:
    own = frame[frame["domain"] == domain].head(count)
    if own.empty:
        raise DataError(f"no {split} prompt of domain {domain} to label steps on; add prompts to a source")
    params = job.params
    rows = [dict(row) for row in _records(own) for _ in range(_of(params.samples, domain))]
    print(f"{split}, {domain}: {len(rows)} answers of up to {params.max_new_tokens} tokens")
    responses = _kept(
        job.work / f"{split}-{domain}-answers.json", lambda: sampler.answers([row["messages"] for row in rows])
    )
    answered = [(row, text) for row, text in zip(rows, responses, strict=True) if text.strip()]
    samples = [{**row, "steps": segment.split(text, domain)} for row, text in answered]
    if completed:
        prefixes = sum(len(sample["steps"]) - 1 for sample in samples)
        total = prefixes * params.completions
        print(f"{split}, {domain}: {prefixes} prefixes x {params.completions} completions = {total} generations")
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


class Labeller:
    """Labels the steps of samples, with the standards of its judges: fitted on the first split, kept for the others."""

    def __init__(self, job: Job, derived: Mapping[str, Derivation], device: Any) -> None:
        self.job, self.derived, self.device = job, derived, device
        self.standards: dict[str, tuple[float, float]] = {}
        self.models: dict[str, RewardModel] = {}
        self.judges: dict[str, judges.Judge] = {}

    def rows(self, name: str, samples: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Rows of the steps table for one objective."""
        maker, objective = self.derived[name].maker, self.job.known[name]
        own = samples.get(objective.domain, []) if maker != "human" else []
        if maker == "hindsight":
            own = [sample for sample in own if sample["reference"] is not None]
        if not own:
            return []
        if maker == "hindsight":
            assert objective.verifier is not None
            labels = step_labels.by_hindsight(own, objective.verifier, self.job.params.gamma)
        else:
            labels = self._judged(name, maker, own)
        rows = zip(own, labels, strict=True)
        return [{**row, "objective": name, "labels": each, "label_kind": maker, "source": "sft"} for row, each in rows]

    def _judged(self, name: str, maker: str, samples: list[dict[str, Any]]) -> list[list[float]]:
        count = sum(len(sample["steps"]) for sample in samples)
        what = "completions of prefixes" if maker == "majority" else "prefixes"
        print(f"{name}: {what} of {count} steps judged by {self._who(name)}")
        by = step_labels.by_majority if maker == "majority" else step_labels.by_judge
        return by(samples, self.judge(name, samples))

    def judge(self, name: str, samples: list[dict[str, Any]]) -> judges.Judge:
        """The objective's judge; of a reward head with the standard of these samples, unless it has one already."""
        from tasks.rewards import outcome

        named = self.job.params.objectives[name].judge
        if named is not None:
            if named not in self.judges:
                entry = self.job.params.judges[named]
                self.judges[named] = judges.load(entry, self.device, self.job.settings.dtype, JUDGED)
            return self.judges[named]
        group = str(self.job.known[name].reward)
        if group not in self.models:
            self.models[group] = outcome.load(Path("models/rewards") / group, self.device, self.job.settings.dtype)
        if name not in self.standards:
            self.standards[name] = step_labels.standard_of(samples, self.models[group], name)
        return judges.Head(self.models[group], name, self.standards[name])

    def against_people(self, name: str, split: str, samples: list[dict[str, Any]]) -> dict[str, Any] | None:
        """How well the judge's verdicts on prefixes tell people's labels of the steps apart; None where there are none
        of both kinds."""
        from tasks.evaluation.metrics import area_under_curve

        labelled = [row for row in _human(split, self.job.params) if row["objective"] == name]
        given = np.array([label for row in labelled for label in row["labels"]], dtype=float)
        known = ~np.isnan(given)
        good = given[known] >= 0.5
        if good.all() or not good.any():
            return None
        verdicts = np.array([v for row in step_labels.by_judge(labelled, self.judge(name, samples)) for v in row])
        agreed = float(((verdicts[known] > 0.5) == good).mean())
        area = area_under_curve(verdicts[known], good)
        return {"split": split, "steps": int(known.sum()), "agreement": agreed, "auc": area, "good": float(good.mean())}

    def _who(self, name: str) -> str:
        named = self.job.params.objectives[name].judge
        return f"the judge {named}" if named else f"the reward model {self.job.known[name].reward}"


def _report(
    job: Job, derived: Mapping[str, Derivation], tables: Mapping[str, pd.DataFrame], against: Mapping[str, Any]
) -> dict[str, Any]:
    """Objective -> what it is, the maker that follows, how many answers it labelled by split, and how the judge does
    against people's labels of the validation split (null where there are none)."""
    report = {}
    for name, found in derived.items():
        objective, labelling = job.known[name], job.params.objectives[name]
        own = {split: table[table["objective"] == name] for split, table in tables.items()}
        by_kind = {
            split: {str(kind): int(count) for kind, count in frame["label_kind"].value_counts().items()}
            for split, frame in own.items()
        }
        report[name] = {
            "verifiable": objective.verifier is not None,
            "steps": labelling.steps,
            "rollouts": labelling.rollouts,
            "maker": found.maker,
            "why": found.why,
            "judge": labelling.judge or objective.reward if found.maker in ASKING else None,
            "against_people": against.get(name),
            "answers": by_kind,
        }
    return report


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
    given = table.loc[[bool(np.isfinite(np.array(labels, dtype=float)).any()) for labels in table["labels"]]]
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
    run(Job(load(Params, "process_labels"), objectives(read()), settings, load(int, "seeds", "sampling")))


if __name__ == "__main__":
    command(main)
