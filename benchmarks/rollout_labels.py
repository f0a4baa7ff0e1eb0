"""What a process reward model learns from rollouts alone, at several numbers of answers.

    python -m benchmarks.rollout_labels [--sizes 120 480 1920] [--base <folder> --no-words]

Run it after the stages up to `sft`, in the same folder (it reads params.yaml, models/sft and
data/prepared). It labels the steps of sampled answers by rollouts, without a discount, and fits a
process reward model for math with one head on the first 120, 480, ... of them; on all human step
labels of the sources; and on the human labels together with the smallest number of answers. Every
fit has the same number of optimiser steps.

A base model that has read marked work knows right from wrong steps without any label. For a base
without marks, and a head that does not start from the marks:

    python -m concord.sandbox.base --no-marks --threads 2 --out work/base_without_marks
    python -m benchmarks.rollout_labels --base work/base_without_marks --no-words

It is fine-tuned first, as in the stage `sft`. All outputs are in work/rollout_labels.

Printed per fit, on the problems of the locked world: the AUC of right prefixes; the share of wrong
solutions whose first error is at the largest drop; ProcessBench's F1; and the share of problems
solved by the best of 8 answers. The threshold of F1 is chosen on validation labels of the same
kind: a fit by rollouts never sees a human label. For rollouts, a step counts as right if at least
one completion of the prefix is right.
"""

import argparse
import contextlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord.annotations.steps import split
from concord.evaluation.rewards.candidates import Candidates
from concord.evaluation.rewards.judged_sets import HeldOut, Locked
from concord.evaluation.rewards.process_report import solution_scores
from concord.evaluation.rewards.step_quality import (
    best_threshold,
    error_location,
    processbench,
    step_quality,
)
from concord.lm.load import load_causal, load_tokenizer
from concord.objectives import Objective, objectives_of
from concord.rewards.process.completions import Sampler
from concord.rewards.process.labelling import Context, label
from concord.rewards.process.process_model import ProcessRewardModel, load
from concord.rewards.process.sampled_answers import AnswerSampler
from concord.rewards.process.step_table import human_rows, step_table
from concord.stage import outputs, runtime
from concord.stage.params import Model, Runtime, Seeds, read
from concord.stage.params import load as load_params
from concord.stage.paths import PREPARED, PROCESS_REWARD, SFT, WORK
from tasks import evaluate_rewards, process_labels, process_reward, sft

NAME = "math_accuracy"
FOLDER = WORK / "rollout_labels"
STEPS = 150
"""Optimiser steps of a fit: two passes over the human labels of the default recipe."""
SPLITS = {"train": 1, "validation": 4}
"""Divisor of the number of answers for each split."""
RESAMPLES = 1000
Tables = dict[str, pd.DataFrame]
"""Split -> table of labelled steps."""


@dataclass(frozen=True)
class Settings:
    """What all fits share."""

    objective: Objective
    labels: process_labels.ProcessLabelsParams
    process: process_reward.ProcessRewardParams
    runtime: Runtime
    seeds: Seeds
    max_length: int
    device: Any


def fine_tune(
    base: Path, params: sft.SftParams, model: Model, settings: Runtime, seed: int
) -> None:
    """Fine-tunes another base model in the current folder, once."""
    if not SFT.is_dir():
        other = replace(model, name=str(base), revision=None, files=str(base))
        sft.run(params, other, settings, seed)


def repeated(prompts: pd.DataFrame, count: int) -> pd.DataFrame:
    """`count` rows: each prompt once before any is repeated."""
    return pd.concat([prompts] * math.ceil(count / len(prompts)), ignore_index=True).head(count)


def rollout_tables(settings: Settings, largest: int) -> Tables:
    """The steps of `largest` sampled answers with hindsight labels, in the order of sampling."""
    params, domain = settings.labels, settings.objective.domain
    sampling = {
        "max_new_tokens": params.max_new_tokens,
        "temperature": params.temperature,
        "seed": settings.seeds.sampling,
    }
    model = load_causal(SFT, settings.device, settings.runtime.dtype)
    sampler = AnswerSampler(Sampler(model, load_tokenizer(SFT), sampling), params.completions)
    context, tables = Context(settings.objective, gamma=1.0), {}
    for name, divisor in SPLITS.items():
        prompts = outputs.read_table(PREPARED / f"prompts/{name}.parquet")
        prompts = prompts[(prompts["domain"] == domain) & prompts["reference"].notna()]
        rows = repeated(prompts, largest // divisor)
        samples = sampler.answers(rows, name, domain, 1, complete=True)
        constants = {"objective": NAME, "label_kind": "hindsight", "source": "sft"}
        values = label("hindsight", samples, context)
        tables[name] = step_table(
            [
                {**sample, **constants, "labels": labels}
                for sample, labels in zip(samples, values, strict=True)
            ]
        )
    return tables


def variants(rollouts: Tables, people: Tables, sizes: list[int]) -> dict[str, Tables]:
    """Name -> the tables of a fit."""
    smaller = {
        f"{size} answers by rollouts": {
            name: rollouts[name].head(size // divisor) for name, divisor in SPLITS.items()
        }
        for size in sizes
    }
    first = smaller[f"{sizes[0]} answers by rollouts"]
    both = {name: pd.concat([first[name], people[name]], ignore_index=True) for name in SPLITS}
    count = len(people["train"])
    return {
        **smaller,
        f"{count} solutions by people": people,
        f"{count} by people, {sizes[0]} by rollouts": both,
    }


def right_so_far(table: pd.DataFrame) -> list[np.ndarray]:
    """1 or 0 for each step `(steps,)`, NaN if unlabelled: human labels if there are any.

    A step that rollouts label is right if at least one completion of the prefix is right.
    """
    human = table[table["label_kind"] != "hindsight"]
    if len(human):
        return [np.asarray(labels, dtype=float) for labels in human["labels"]]
    return [(np.asarray(labels, dtype=float) > 0).astype(float) for labels in table["labels"]]


def fitted(tables: Tables, settings: Settings) -> ProcessRewardModel:
    """A process reward model with one head, trained on these tables in the current folder."""
    for path in process_reward.TABLES:
        outputs.write_table(path, tables[path.stem])
    process_reward.run(settings.process, settings.runtime, settings.seeds.data, settings.max_length)
    return load(PROCESS_REWARD, settings.device, settings.runtime.dtype)


def scores_of(model: ProcessRewardModel, messages: Any, steps: Any) -> list[np.ndarray]:
    """Scores `(steps,)` of each answer."""
    return [each[:, 0] for each in model.score_all(list(messages), list(steps))]


def figures(
    model: ProcessRewardModel, validation: pd.DataFrame, candidates: Candidates, domain: str
) -> dict[str, Any]:
    """The measures of the module's docstring, with 95 % intervals by problem."""
    bootstrap, seed = candidates.bootstrap, candidates.seed
    kind = validation["label_kind"]
    known = validation if (kind == "hindsight").all() else validation[kind != "hindsight"]
    threshold = best_threshold(
        scores_of(model, known["messages"], known["steps"]), right_so_far(known)
    )
    table = candidates.judge.steps(NAME, candidates.objectives[NAME])
    scores = scores_of(model, table["messages"], table["steps"])
    gold, groups = table["gold"].tolist(), table["group_id"].tolist()
    located = (
        {} if threshold is None else processbench(scores, gold, groups, threshold, bootstrap, seed)
    )
    graded = candidates.of(NAME)
    steps = [split(response, domain) for response in graded["response"]]
    solutions = solution_scores(scores_of(model, graded["messages"], steps), "product")
    best = candidates.best_of_n(NAME, solutions)
    return {
        **step_quality(scores, gold, groups, bootstrap, seed),
        **error_location(scores, gold),
        **located,
        "best": None if best is None else best["by_size"][str(best["n"])]["scorer"],
    }


def row(name: str, result: dict[str, Any]) -> str:
    """A row of the table."""
    cells = [
        _interval(result, "auc"),
        f"{result['first_error_accuracy']:.2f}",
        _interval(result.get("f1"), "value"),
        _interval(result["best"], "value"),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _interval(entry: dict[str, float] | None, key: str) -> str:
    if entry is None:
        return "-"
    return f"{entry[key]:.2f} [{entry['ci_low']:.2f}, {entry['ci_high']:.2f}]"


def run(
    settings: Settings, judge: Locked | HeldOut, objectives: dict[str, Objective], sizes: list[int]
) -> list[str]:
    """Fits and measures every variant in the current folder; returns and prints the table."""
    candidates = Candidates(judge, objectives, RESAMPLES, settings.seeds.data)
    rollouts = rollout_tables(settings, max(sizes))
    people = {name: step_table(human_rows(name, [NAME])) for name in SPLITS}
    lines = [
        "| labels | AUC | first error at the largest drop | F1 | best of 8 |",
        "|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for name, tables in variants(rollouts, people, sizes).items():
        model = fitted(tables, settings)
        result = figures(model, tables["validation"], candidates, settings.objective.domain)
        lines.append(row(name, result))
        print(lines[-1], flush=True)
    return lines


def settings_of(objective: Objective, words: bool) -> Settings:
    """The settings of params.yaml, with the same number of optimiser steps for every fit."""
    process = load_params(process_reward.ProcessRewardParams, "process_reward")
    training = replace(process.training, steps=STEPS, epochs=None)
    verdicts = {name: pair for name, pair in process.verdicts.items() if words and name == NAME}
    settings, seeds = load_params(Runtime, "runtime"), load_params(Seeds, "seeds")
    return Settings(
        objective,
        load_params(process_labels.ProcessLabelsParams, "process_labels"),
        replace(process, training=training, verdicts=verdicts),
        settings,
        seeds,
        load_params(int, "model", "max_length"),
        runtime.start(settings, seeds.sampling),
    )


def main() -> None:
    """Prints the table, row by row and then as a whole."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[120, 480, 1920])
    parser.add_argument("--base", type=Path, help="folder of another base model to start from")
    parser.add_argument(
        "--no-words", dest="words", action="store_false", help="ignore process_reward.verdicts"
    )
    options = parser.parse_args()
    here, objectives = Path.cwd(), objectives_of(read())
    settings = settings_of(objectives[NAME], options.words)
    locked = load_params(int, "evaluate", "locked_seed")
    job = evaluate_rewards.EvaluateRewardsJob(
        load_params(evaluate_rewards.EvaluateRewardsParams, "evaluate_rewards"),
        "sandbox",
        locked,
        RESAMPLES,
        settings.runtime,
        settings.seeds,
    )
    model = load_params(Model, "model")
    model = replace(model, chat_template=str(here / model.chat_template))
    tuning = load_params(sft.SftParams, "sft")
    folder = FOLDER / (options.base.name if options.base else "base")
    (folder / PREPARED.parent).mkdir(parents=True, exist_ok=True)
    (folder / SFT.parent).mkdir(exist_ok=True)
    for link in [PREPARED] if options.base else [PREPARED, SFT]:
        with contextlib.suppress(FileExistsError):
            (folder / link).symlink_to(here / link)
    base = options.base and options.base.resolve()
    with contextlib.chdir(folder):
        if base:
            fine_tune(base, tuning, model, settings.runtime, settings.seeds.data)
        lines = run(
            settings,
            evaluate_rewards.make_judge(job, settings.device),
            objectives,
            sorted(options.sizes),
        )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
