"""Tables of step scores: first errors, AUC, and originals against their modified solutions.

Each function takes the table of solutions and, by the name of a scorer, one array (steps,) per
solution. The gains are paired differences between the head and each baseline. All intervals are
95 % intervals over questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from benchmarks.steps import step_figures
from benchmarks.steps.labelled_steps import copied, pairs
from benchmarks.steps.step_files import Fold, Row, by_kind, markdown, taken


def location(
    table: pd.DataFrame, scores: dict[str, list[np.ndarray]], parts: Sequence[Fold]
) -> list[str]:
    """First-error accuracy by kind with the first rule, gains of the head, and all rules."""
    main, wrong = next(iter(step_figures.RULES)), table["wrong"].to_numpy()
    hits = {name: step_figures.hits(table, each) for name, each in scores.items()}
    priors = step_figures.prior_hits(table, parts)
    columns = {**{name: rules[main] for name, rules in hits.items()}, **priors}
    gains = {
        f"head minus {name}": columns["head"] - each
        for name, each in columns.items()
        if name != "head"
    }

    def means(values: dict[str, np.ndarray]) -> Callable[[pd.DataFrame, np.ndarray], Row]:
        def figures(part: pd.DataFrame, rows: np.ndarray) -> Row:
            inside = np.isin(np.flatnonzero(wrong), rows)
            return {name: step_figures.mean(part, each[inside]) for name, each in values.items()}

        return figures

    by_rule: dict[str, Row] = {
        name: {rule: step_figures.mean(table, each) for rule, each in rules.items()}
        for name, rules in hits.items()
    }
    return [
        *titled(f"First-error accuracy ({main})", by_kind(table, means(columns))),
        *titled("The same, paired differences", by_kind(table, means(gains))),
        *titled("First-error accuracy by each rule, all solutions", by_rule),
    ]


def original_and_modified(table: pd.DataFrame, scores: dict[str, list[np.ndarray]]) -> list[str]:
    """PRMBench only: scores against the original solution, and on the rewritten steps."""
    marks = step_figures.rewritten(table)
    with_original = {**scores, "in the original": in_original(table)}
    return [
        f"{len(pairs(table))} pairs; {sum(int(each.sum()) for each in marks)} steps "
        "are not in the original",
        *titled("AUC, steps that are not in the original", areas(table, scores, marks)),
        *titled("The same, paired differences", area_gains(table, scores, marks)),
        *titled(
            "Original above modified solution, by the worst step",
            against_original(table, scores),
        ),
        *titled("AUC, all steps of modified solutions", areas(table, with_original, None)),
    ]


def areas(
    table: pd.DataFrame, scores: dict[str, list[np.ndarray]], marks: list[np.ndarray] | None
) -> dict[str, Row]:
    """AUC over the labelled steps of incorrect solutions, or over the marked steps among them."""

    def figures(part: pd.DataFrame, rows: np.ndarray) -> Row:
        chosen = None if marks is None else taken(marks, rows)
        return {
            name: step_figures.area(part, taken(each, rows), chosen)
            for name, each in scores.items()
        }

    return by_kind(table, figures)


def area_gains(
    table: pd.DataFrame, scores: dict[str, list[np.ndarray]], marks: list[np.ndarray]
) -> dict[str, Row]:
    """The head's AUC over the marked steps minus that of each baseline."""

    def figures(part: pd.DataFrame, rows: np.ndarray) -> Row:
        head, chosen = taken(scores["head"], rows), taken(marks, rows)
        return {
            f"head minus {name}": step_figures.area_gain(part, head, taken(each, rows), chosen)
            for name, each in scores.items()
            if name != "head"
        }

    return by_kind(table, figures)


def against_original(table: pd.DataFrame, scores: dict[str, list[np.ndarray]]) -> dict[str, Row]:
    """Share of pairs in which the original's worst step scores above the modified one's."""
    return by_kind(
        table,
        lambda part, rows: {
            name: step_figures.pair_share(part, taken(each, rows)) for name, each in scores.items()
        },
    )


def in_original(table: pd.DataFrame) -> list[np.ndarray]:
    """1 for steps that the original solution contains too, else 0.

    As scores, they show what knowing the original is worth.
    """
    marks = [np.ones(len(steps)) for steps in table["steps"]]
    for right, wrong in pairs(table).tolist():
        marks[wrong] = copied(table["steps"].iloc[wrong], table["steps"].iloc[right]).astype(float)
    return marks


def titled(title: str, rows: dict[str, Row]) -> list[str]:
    """A table with a title."""
    return ["", title, "", *markdown(rows)]
