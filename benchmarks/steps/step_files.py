"""A process reward model on a file of solutions whose steps are labelled, beside position priors.

    python -m benchmarks.steps.step_files <process reward model> <format> <path> --objective NAME
    python -m benchmarks.steps.step_files models/process_reward prmbench <folder> --objective math_accuracy

Prints a table in Markdown, by kind of solutions where the format has kinds (the classes of PRMBench, the types of
MR-GSM8K), with 95 % intervals by group: AUC over the labelled steps of wrong solutions; the share of lines that hold
both an original and a modified solution in which the original's worst step scores higher, and AUC over the steps that
the original does not hold; first-error accuracy by three rules (`benchmarks.steps.step_figures`), and that of two
position priors, which know where first errors are in the solutions of the other four fifths of the groups.
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
from concord.evaluation.rewards.baselines import shown
from concord.prepared import splits
from concord.stage.errors import ConcordError, DataError, ParamsError

FOLDS = 5
Fold = tuple[np.ndarray, np.ndarray]
"""Rows of the solutions to learn from, and to measure on."""
Row = dict[str, Interval | None]


def folds(table: pd.DataFrame, count: int) -> list[Fold]:
    """Rows by fold; a group lies in one."""
    place = np.array([int(splits.position(group, "folds") * count) for group in table["group_id"]])
    return [(np.flatnonzero(place != fold), np.flatnonzero(place == fold)) for fold in range(count)]


def by_kind(
    table: pd.DataFrame, figures: Callable[[pd.DataFrame, np.ndarray], Row]
) -> dict[str, Row]:
    """Figures of each kind of solutions (its own table, and its rows in the whole one), and of all."""
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
    """The entries of some solutions."""
    return [entries[row] for row in rows.tolist()]


def markdown(rows: dict[str, Row]) -> list[str]:
    """A table with a row for each key."""
    columns = list(next(iter(rows.values())))
    cells = {
        name: " | ".join(shown(row[column]) for column in columns) for name, row in rows.items()
    }
    lines = [f"| wrong solutions | {' | '.join(columns)} |", "|" + "---|" * (len(columns) + 1)]
    return [*lines, *(f"| {name} | {own} |" for name, own in cells.items())]


def report(table: pd.DataFrame, scores: Sequence[np.ndarray]) -> dict[str, Row]:
    """All figures of scores (steps,) of every solution, by kind."""
    marks = step_figures.rewritten(table)
    found = {
        **step_figures.hits(table, scores),
        **step_figures.prior_hits(table, folds(table, FOLDS)),
    }
    wrong = np.flatnonzero(table["wrong"])

    def figures(own: pd.DataFrame, rows: np.ndarray) -> Row:
        inside = np.isin(wrong, rows)
        return {
            "AUC": step_figures.area(own, taken(scores, rows)),
            "AUC, not in the original": step_figures.area(
                own, taken(scores, rows), taken(marks, rows)
            ),
            "original above modified": step_figures.pair_share(own, taken(scores, rows)),
            **{
                f"first error, {name}": step_figures.mean(own, values[inside])
                for name, values in found.items()
            },
        }

    return by_kind(table, figures)


def main(model: str, source: str, path: str, objective: str) -> None:
    """Prints the table. Raises ParamsError for an objective without a head, DataError for a file without labels."""
    from concord.rewards.process.process_model import load

    if source not in reader.format_names():
        raise ParamsError(
            f"there is no format {source!r}; allowed: {', '.join(reader.format_names())}"
        )
    judge = load(model)
    if objective not in judge.objectives:
        raise ParamsError(
            f"{model} has no head for the objective {objective}, so it scores no step for it; "
            f"give one of {', '.join(judge.objectives)}"
        )
    table = solutions(source, path, objective)
    if not table["wrong"].any():
        raise DataError(
            f"{path} holds no solution with a wrong step, so there is no error to find; give a file that has some"
        )
    column = judge.objectives.index(objective)
    scores = [
        own[:, column]
        for own in judge.score_all(table["messages"].tolist(), table["steps"].tolist())
    ]
    print("\n".join(markdown(report(table, scores))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder of a process reward model")
    parser.add_argument("source", metavar="format")
    parser.add_argument("path", help="file or folder that the format reads")
    parser.add_argument("--objective", required=True, help="whose head scores the steps")
    given = parser.parse_args()
    try:
        main(given.model, given.source, given.path, given.objective)
    except ConcordError as error:
        sys.exit(f"{type(error).__name__}: {error}")
