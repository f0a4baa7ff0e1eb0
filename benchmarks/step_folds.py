"""Cross-validation of a linear head on hidden states at step ends, trained on step labels.

    python -m benchmarks.step_folds prmbench <folder> <model> [--folds 4] [--dtype bfloat16]
    python -m benchmarks.step_folds <format> <path> <model> [--objective correct]

It reads step labels in any source format. The head is that of a process reward model with frozen
features (`concord.rewards.process.step_probe_fit`), fitted to all labelled steps of the training
folds. Its regularisation is chosen by the log loss on a fifth of the training groups, never on the
test fold. Baselines are logistic regressions on features without meaning: the
position of a step, its length, and the TF-IDF of its words. On PRMBench, all of them are also
fitted without the kind of error that they are tested on, and without the test questions (`unseen
kind`). First errors are located by the rule `likeliest` (`benchmarks.steps.step_figures`), which
was fixed before the first measurement. The other rules are printed too.

States are computed once and cached in work/folds. Prints Markdown tables with 95 % intervals over
questions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import step_data
from benchmarks.step_data import Steps
from benchmarks.step_scorers import SCORERS, Scorer, head, strengths
from benchmarks.step_tables import location, original_and_modified
from benchmarks.steps.step_files import Fold, folds
from concord.annotations import reader
from concord.stage import progress


def report(name: str, steps: Steps, count: int) -> Iterator[list[str]]:
    """Yields each group of tables as soon as it is computed."""
    table, parts = steps.table, folds(steps.table, count)
    scores = predictions(steps, parts, "")
    yield location(table, scores, parts)
    if name == "prmbench":
        yield original_and_modified(table, scores)
        scores = predictions(steps, list(unseen_kind(table, parts)), ", unseen kind")
        title = "Fitted without the kind that is tested (but the priors know its positions):"
        yield ["", title, *location(table, scores, parts)]
        yield original_and_modified(table, scores)


def predictions(steps: Steps, parts: Sequence[Fold], label: str) -> dict[str, list[np.ndarray]]:
    """P(correct) of every step by every scorer."""
    scorers = {"head": head(strengths(steps, parts)), **SCORERS}
    return {
        name: scored(steps, scorer, parts, f"{name}{label}") for name, scorer in scorers.items()
    }


def scored(steps: Steps, scorer: Scorer, parts: Sequence[Fold], label: str) -> list[np.ndarray]:
    """P(correct) of every step, by the model fitted to the other folds."""
    scores, started = np.full(len(steps.owner), np.nan), time.perf_counter()
    for train, test in progress.track(parts, len(parts), label):
        scores[steps.of(test)] = scorer(steps, train, test)
    print(
        f"{label}: fitted {len(parts)} times in {time.perf_counter() - started:.0f} s", flush=True
    )
    assert np.isfinite(scores).all()
    return steps.split(scores)


def unseen_kind(table: pd.DataFrame, parts: Sequence[Fold]) -> Iterator[Fold]:
    """Folds per kind of error: the training rows lack the kind, and the test rows are of it."""
    for kind in table["kind"].unique():
        rows = np.flatnonzero(table["kind"] == kind)
        reduced = ((np.setdiff1d(train, rows), np.intersect1d(test, rows)) for train, test in parts)
        yield from ((train, test) for train, test in reduced if len(test))


def main() -> None:
    """Computes the states and prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", choices=reader.format_names(), metavar="format")
    parser.add_argument("path", help="file or folder to read")
    parser.add_argument("model", type=Path)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--layers", type=int, nargs="+", default=[15, 22, 30])
    parser.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16"],
        default="auto",
        help="dtype of the frozen model",
    )
    parser.add_argument("--objective", default="correct", help="objective with step labels")
    arguments = parser.parse_args()
    table = step_data.load(arguments.data, arguments.path, arguments.objective)
    cache = Path("work/folds") / f"steps-{arguments.data}"
    states = step_data.states(table, arguments.model, arguments.layers, arguments.dtype, cache)
    steps = Steps(table, np.concatenate(states))
    print(f"{len(table)} solutions, {int(table['wrong'].sum())} incorrect, "
          f"{len(steps.owner)} steps, {int(np.isfinite(steps.labels).sum())} labelled")  # fmt: skip
    for lines in report(arguments.data, steps, arguments.folds):
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
