"""Evaluates a process reward model on a file of labelled solutions, with position priors.

    python -m benchmarks.steps.step_files <process reward model> <format> <path> --objective NAME

For example, with the model of the default run and PRMBench's folder:

    python -m benchmarks.steps.step_files models/process_reward prmbench <folder> \\
        --objective math_accuracy

Prints a Markdown table with 95 % intervals over groups. It has one row per kind of solution if the
format has kinds (the classes of PRMBench, the types of MR-GSM8K). Columns:

- AUC over the labelled steps of incorrect solutions, and over those that are not in the original;
- share of lines with an original and a modified solution whose original has the better worst step;
- first-error accuracy by three rules (`benchmarks.steps.step_figures`);
- first-error accuracy of two position priors, learned on the other four fifths of the groups.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from benchmarks.steps import step_figures
from benchmarks.steps.labelled_steps import solutions
from concord.annotations import reader
from concord.evaluation.metrics import Interval
from concord.evaluation.rewards.baselines import format_interval
from concord.prepared import splits
from concord.stage.errors import ConcordError, DataError, ParamsError

FOLDS = 5
Fold = tuple[np.ndarray, np.ndarray]
"""Training rows and test rows."""
Row = dict[str, Interval | None]


def folds(table: pd.DataFrame, count: int) -> list[Fold]:
    """Training and test rows of each fold; a group is in exactly one test fold."""
    numbers = np.array(
        [int(splits.position(group, "folds") * count) for group in table["group_id"]]
    )
    return [
        (np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)) for fold in range(count)
    ]


def by_kind(
    table: pd.DataFrame, figures: Callable[[pd.DataFrame, np.ndarray], Row]
) -> dict[str, Row]:
    """Calls `figures` with the table and the row numbers of each kind, and of all kinds."""
    kinds = {kind: np.flatnonzero(table["kind"] == kind) for kind in table["kind"].unique()}
    if len(kinds) > 1:
        kinds["all"] = np.arange(len(table))
    return {
        f"{kind} ({int(table['wrong'].iloc[rows].sum())})": figures(
            table.iloc[rows].reset_index(drop=True), rows
        )
        for kind, rows in kinds.items()
    }


def taken(entries: Sequence[np.ndarray], rows: np.ndarray) -> list[np.ndarray]:
    """The entries of the given solutions."""
    return [entries[row] for row in rows.tolist()]


def markdown(rows: dict[str, Row]) -> list[str]:
    """A Markdown table with one row per key."""
    columns = list(next(iter(rows.values())))
    cells = {
        name: " | ".join(format_interval(row[column]) for column in columns)
        for name, row in rows.items()
    }
    lines = [f"| incorrect solutions | {' | '.join(columns)} |", "|" + "---|" * (len(columns) + 1)]
    return [*lines, *(f"| {name} | {text} |" for name, text in cells.items())]


def report(table: pd.DataFrame, scores: Sequence[np.ndarray]) -> dict[str, Row]:
    """All metrics by kind. `scores` has one array (steps,) per solution."""
    marks = step_figures.rewritten(table)
    first_errors = {
        **step_figures.hits(table, scores),
        **step_figures.prior_hits(table, folds(table, FOLDS)),
    }
    wrong = np.flatnonzero(table["wrong"])

    def figures(part: pd.DataFrame, rows: np.ndarray) -> Row:
        inside = np.isin(wrong, rows)
        return {
            "AUC": step_figures.area(part, taken(scores, rows)),
            "AUC, not in the original": step_figures.area(
                part, taken(scores, rows), taken(marks, rows)
            ),
            "original above modified": step_figures.pair_share(part, taken(scores, rows)),
            **{
                f"first error, {name}": step_figures.mean(part, values[inside])
                for name, values in first_errors.items()
            },
        }

    return by_kind(table, figures)


def main(model: str, source: str, path: str, objective: str) -> None:
    """Prints the table.

    Raises ParamsError for an objective without a head, and DataError for a file without labels.
    """
    from concord.rewards.process.process_model import load

    if source not in reader.format_names():
        raise ParamsError(f"unknown format {source!r}; allowed: {', '.join(reader.format_names())}")
    judge = load(model)
    if objective not in judge.objectives:
        raise ParamsError(
            f"{model} has no head for the objective {objective}; "
            f"give one of {', '.join(judge.objectives)}"
        )
    table = solutions(source, path, objective)
    if not table["wrong"].any():
        raise DataError(
            f"{path} has no solution with a wrong step, so there is no error to find. "
            "Give a file with incorrect solutions."
        )
    column = judge.objectives.index(objective)
    scores = [
        rewards[:, column]
        for rewards in judge.score_all(table["messages"].tolist(), table["steps"].tolist())
    ]
    print("\n".join(markdown(report(table, scores))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder of the process reward model")
    parser.add_argument("source", metavar="format")
    parser.add_argument("path", help="file or folder to read")
    parser.add_argument("--objective", required=True, help="objective whose head scores the steps")
    arguments = parser.parse_args()
    try:
        main(arguments.model, arguments.source, arguments.path, arguments.objective)
    except ConcordError as error:
        sys.exit(f"{type(error).__name__}: {error}")
