"""Labels the steps of sampled answers, to train the process reward model on.

    models/sft, models/rewards, data/prepared/prompts, data/prepared/steps
    -> data/process_labels/{train,validation}.parquet (table `steps`, labels in [0, 1]),
       data/process_labels/standards.json (mean and standard deviation of the judges),
       reports/process_labels.json (objective -> labelling method, its reason, label counts)

    python -m tasks.process_labels

The labelling method of an objective is derived from its properties
(`concord.rewards.process.labelling`). Human step labels from the sources are added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.load import load_causal, load_tokenizer
from concord.objectives import Objective, objectives_of
from concord.rewards.process import judging, step_table
from concord.rewards.process.completions import Sampler
from concord.rewards.process.labeller import Labeller, LabellerSettings
from concord.rewards.process.labelling import (
    HUMAN,
    Derivation,
    Labelling,
    derive_all,
    discounted,
    sampled_domains,
)
from concord.rewards.process.sampled_answers import AnswerSampler
from concord.stage import outputs, runtime
from concord.stage.command import command
from concord.stage.errors import DataError, ParamsError
from concord.stage.finished_parts import kept
from concord.stage.params import FORBID, Runtime, load, read
from concord.stage.paths import PREPARED, PROCESS_LABELS, REPORTS, REWARDS, SFT

if TYPE_CHECKING:
    import pandas as pd


SPLITS = {"train": 1, "validation": 4}
"""Divisor of `prompts` for each split."""

Count = Annotated[int, Field(gt=0)] | dict[str, Annotated[int, Field(gt=0)]]
"""One number for all domains, or domain -> number, since the cost of a label differs by domain."""


@dataclass(frozen=True, config=FORBID)
class ProcessLabelsParams:
    """The section `process_labels`."""

    objectives: Annotated[dict[str, Labelling], Field(min_length=1)]
    """Objective -> how its steps are labelled. The process reward model gets a head for each."""
    prompts: Count = 100
    """Training prompts per domain: one number, or domain -> number. Validation uses a quarter of
    it."""
    samples: Count = 1
    """Answers per prompt to label: one number, or domain -> number."""
    completions: Annotated[int, Field(gt=0)] = 4
    """M, the number of completions sampled from each prefix of steps."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Discount per step between a prefix and the end of its completion, in `hindsight` labels. With
    1, a label is the probability that the completed answer is right, on the same scale as human
    labels. With less, the scores of a head must not be multiplied or averaged, and human labels
    cannot be added."""
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


def run(job: ProcessLabelsJob) -> None:
    """Samples and labels answers, adds human labels; writes the tables, standards and report."""
    params = job.params
    derived = derive_all(job.objectives, params.objectives, params.judges)
    for problem in count_problems(params, job.objectives):
        raise ParamsError(problem)
    _require_one_meaning(params, derived)
    device = runtime.start(job.settings, job.seed)
    inputs = [PREPARED / "prompts", PREPARED / "steps", SFT, REWARDS]
    with kept("process_labels", job, inputs, __file__):
        _label(job, derived, device)


def _label(job: ProcessLabelsJob, derived: Mapping[str, Derivation], device: Any) -> None:
    params, sampler = job.params, _sampler(job, device)
    settings = LabellerSettings(
        objectives=job.objectives,
        labellings=params.objectives,
        derived=derived,
        judges=params.judges,
        gamma=params.gamma,
        device=device,
        dtype=job.settings.dtype,
    )
    labeller = Labeller(settings)
    tables: dict[str, pd.DataFrame] = {}
    against: dict[str, Any] = {}
    for split, divisor in SPLITS.items():
        samples = _samples(job, derived, split, divisor, sampler)
        human = step_table.human_rows(split, params.objectives)
        made = [row for name in derived for row in labeller.rows(name, samples)]
        tables[split] = step_table.step_table([*made, *human])
        if split == "validation":
            against = _against_people(labeller, human, samples)
    step_table.require_labels(tables["train"], params.objectives)
    with outputs.directory(PROCESS_LABELS) as folder:
        for split, table in tables.items():
            outputs.write_table(folder / f"{split}.parquet", table)
        named = {
            name: {"mean": mean, "std": std} for name, (mean, std) in labeller.standards.items()
        }
        outputs.write_json(folder / "standards.json", named)
    report = step_table.labelling_report(
        derived, job.objectives, params.objectives, tables, against
    )
    outputs.write_json(REPORTS / "process_labels.json", report)


def _require_one_meaning(params: ProcessLabelsParams, derived: Mapping[str, Derivation]) -> None:
    """Raises DataError if discounted values and human labels would train the same head.

    A right step is worth 1 to people, but a discounted value says how many steps are still to come.
    """
    labelled = set(outputs.read_table(PREPARED / "steps/train.parquet")["objective"])
    mixed = sorted(labelled & discounted(derived, params.gamma))
    if mixed:
        raise DataError(
            f"process_labels.gamma is {params.gamma}, but people also labelled steps of "
            f"{', '.join(mixed)}: to people a right step is 1, wherever it is in the answer; "
            "set gamma: 1, or use only one kind of labels (`labels: human`)"
        )


def _sampler(job: ProcessLabelsJob, device: Any) -> AnswerSampler:
    sampling = {
        "max_new_tokens": job.params.max_new_tokens,
        "temperature": job.params.temperature,
        "seed": job.seed,
    }
    model = load_causal(SFT, device, job.settings.dtype)
    sampler = Sampler(model, load_tokenizer(SFT), sampling)
    return AnswerSampler(sampler, job.params.completions)


def _samples(
    job: ProcessLabelsJob,
    derived: Mapping[str, Derivation],
    split: str,
    divisor: int,
    sampler: AnswerSampler,
) -> dict[str, list[dict[str, Any]]]:
    """Domain -> answers, split into steps. `divisor` divides the number of prompts."""
    frame = outputs.read_table(PREPARED / f"prompts/{split}.parquet")
    samples = {}
    for domain, complete in sampled_domains(job.objectives, derived).items():
        count = max(1, _count_for(job.params.prompts, domain) // divisor)
        prompts = frame[frame["domain"] == domain].head(count)
        per_prompt = _count_for(job.params.samples, domain)
        samples[domain] = sampler.answers(prompts, split, domain, per_prompt, complete)
    return samples


def _count_for(count: Count, domain: str) -> int:
    return count if isinstance(count, int) else count[domain]


def _against_people(
    labeller: Labeller,
    human: Sequence[dict[str, Any]],
    samples: Mapping[str, Sequence[dict[str, Any]]],
) -> dict[str, Any]:
    """Objective -> agreement of its judge with human labels; null without labels."""
    from concord.evaluation.rewards.judge_agreement import judge_agreement

    against = {}
    for name, derivation in labeller.settings.derived.items():
        if derivation.needs.judge:
            labelled = [row for row in human if row["objective"] == name]
            answers = samples[labeller.settings.objectives[name].domain]
            against[name] = judge_agreement(labeller, name, labelled, answers)
    return against


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
