"""A head on the states at the ends of steps, fitted to step labels and held out by fold of questions.

    python -m benchmarks.step_folds prmbench <folder> <model> [--folds 4] [--dtype bfloat16] [--layers 15 22 30]
    python -m benchmarks.step_folds mr_gsm8k <folder> <model> [--folds 4]

The model is frozen and read where the process reward model reads (`concord.rewards.process.process_model.windows`). The head is a
logistic regression to all labelled steps of the training folds; how it is regularised is chosen by the log loss on a
fifth of the training groups, never on the fold that is measured. Beside it stand logistic regressions on what reads no
meaning: the place of a step, its length, and the TF-IDF of its words. On PRMBench all of them are also fitted without
the kind of error that they are measured on, and without the questions: `unseen kind`. First errors are found by the
rule `likeliest` (`benchmarks.steps.step_figures`), fixed before anything was measured; the other rules are shown as
well.

States are computed once and kept under work/folds. Prints tables in Markdown; 95 % intervals by question.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import step_data
from benchmarks.reward_data import INNER
from benchmarks.steps import step_figures
from benchmarks.steps.labelled_steps import copied, pairs
from benchmarks.steps.step_files import Fold, Row, by_kind, folds, markdown, taken
from concord.evaluation.rewards.baselines import word_features
from concord.prepared import splits
from concord.stage import progress

L2 = (100_000.0, 10_000.0, 1000.0, 100.0)
"""Strengths that the head is tried with, from strong to weak."""
LAST_PLACE = 20
"""Later steps count as this one."""


Scorer = Callable[["Steps", np.ndarray, np.ndarray], np.ndarray]
"""From all steps, the rows to fit to and the rows wanted: P(right) of the wanted solutions' steps."""


@dataclass(frozen=True)
class Steps:
    """All steps of the solutions of a table, one after the other."""

    table: pd.DataFrame
    states: np.ndarray
    """float32 (steps, D)."""

    @cached_property
    def owner(self) -> np.ndarray:
        """Row of the table that each step belongs to."""
        return np.repeat(np.arange(len(self.table)), self.counts)

    @cached_property
    def counts(self) -> np.ndarray:
        """Steps of each solution."""
        return self.table["steps"].map(len).to_numpy()

    @cached_property
    def labels(self) -> np.ndarray:
        """1, 0, or NaN where nobody judged."""
        return np.concatenate(self.table["gold"].tolist())

    @cached_property
    def texts(self) -> np.ndarray:
        """The steps as they stand."""
        return np.array([step for steps in self.table["steps"] for step in steps], dtype=object)

    def of(self, rows: np.ndarray, labelled: bool = False) -> np.ndarray:
        """Places of the steps of some solutions; all, or those with a label."""
        inside = np.isin(self.owner, rows)
        return np.flatnonzero(inside & np.isfinite(self.labels) if labelled else inside)

    def split(self, scores: np.ndarray) -> list[np.ndarray]:
        """Scores of all steps by solution."""
        return np.split(scores, np.cumsum(self.counts)[:-1])


def unseen(table: pd.DataFrame, known: Sequence[Fold]) -> Iterator[Fold]:
    """The folds for each kind: fitted to the others, and measured on it where the fold has some."""
    for kind in table["kind"].unique():
        own = np.flatnonzero(table["kind"] == kind)
        parts = ((np.setdiff1d(train, own), np.intersect1d(test, own)) for train, test in known)
        yield from ((train, test) for train, test in parts if len(test))


def strengths(steps: Steps, parts: Sequence[Fold]) -> np.ndarray:
    """l2 (solutions,) with which each solution is measured: chosen on a part of its fold's training groups."""
    chosen = np.full(len(steps.table), np.nan)
    for train, test in parts:
        chosen[test] = _strength(steps, train)
    return chosen


def _strength(steps: Steps, fit_to: np.ndarray) -> float:
    from sklearn.metrics import log_loss

    inner = np.array(
        [splits.position(group, "inner") < INNER for group in steps.table["group_id"].iloc[fit_to]]
    )
    held_out = steps.of(fit_to[inner & steps.table["wrong"].iloc[fit_to].to_numpy()], labelled=True)
    tried = [
        log_loss(steps.labels[held_out] > 0, scores, labels=[False, True])
        for scores in _path(steps, steps.of(fit_to[~inner], labelled=True), held_out, L2)
    ]
    best = L2[int(np.argmin(tried))]
    print(
        f"l2 {best:g} (log loss on the inner part: {', '.join(f'{loss:.3f}' for loss in tried)})",
        flush=True,
    )
    return best


def head(chosen: np.ndarray) -> Scorer:
    """P(right) by the states, with the l2 `chosen` (solutions,) for those that are measured."""

    def fitted(steps: Steps, fit_to: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        (l2,) = set(chosen[wanted].tolist())
        return next(_path(steps, steps.of(fit_to, labelled=True), steps.of(wanted), [l2]))

    return fitted


def _path(
    steps: Steps, fit_to: np.ndarray, wanted: np.ndarray, strengths: Sequence[float]
) -> Iterator[np.ndarray]:
    """P(right) by heads of falling strength, each begun at the last one; states are standardised first."""
    from sklearn.linear_model import LogisticRegression

    mean, std = (
        steps.states[fit_to].mean(axis=0),
        np.maximum(steps.states[fit_to].std(axis=0), 1e-6),
    )
    table, others = ((steps.states[places] - mean) / std for places in (fit_to, wanted))
    model = LogisticRegression(warm_start=True, max_iter=1000, tol=1e-3)
    for l2 in strengths:
        model.set_params(C=1 / l2).fit(table, steps.labels[fit_to] > 0)
        yield model.predict_proba(others)[:, 1]


def _linear(
    features: Callable[[Steps, np.ndarray], Any],
    steps: Steps,
    fit_to: np.ndarray,
    wanted: np.ndarray,
) -> Any:
    """P(right) by logistic regression on features that are the same for whoever sees them."""
    from sklearn.linear_model import LogisticRegression

    known, asked = steps.of(fit_to, labelled=True), steps.of(wanted)
    encode = features(steps, known)
    model = LogisticRegression(max_iter=1000).fit(encode(known), steps.labels[known] > 0)
    return model.predict_proba(encode(asked))[:, 1]


def words(steps: Steps, known: np.ndarray) -> Callable[[np.ndarray], Any]:
    """TF-IDF of a step's words and pairs of words."""
    encoder = word_features(steps.texts[known].tolist())
    return lambda places: encoder.transform(steps.texts[places].tolist())


def length(steps: Steps, known: np.ndarray) -> Callable[[np.ndarray], Any]:
    """Characters of a step: their logarithm and its square."""
    size = np.log1p([len(text) for text in steps.texts])
    return lambda places: np.stack([size, size**2], axis=1)[places]


def place(steps: Steps, known: np.ndarray) -> Callable[[np.ndarray], Any]:
    """Which step of how many it is: a column for each place, and the share of the solution before it."""
    number = np.concatenate([np.arange(count) for count in steps.counts])
    total = steps.counts[steps.owner]
    table = np.column_stack(
        [np.eye(LAST_PLACE)[np.minimum(number, LAST_PLACE - 1)], number / total, 1 / total]
    )
    return lambda places: table[places]


SCORERS: dict[str, Scorer] = {
    "tf_idf": lambda *given: _linear(words, *given),
    "length": lambda *given: _linear(length, *given),
    "place": lambda *given: _linear(place, *given),
}


def scored(steps: Steps, scorer: Scorer, parts: Sequence[Fold], label: str) -> list[np.ndarray]:
    """P(right) of every step, by what was fitted to other folds."""
    found, started = np.full(len(steps.owner), np.nan), time.perf_counter()
    for train, test in progress.track(parts, len(parts), label):
        found[steps.of(test)] = scorer(steps, train, test)
    print(
        f"{label}: fitted {len(parts)} times in {time.perf_counter() - started:.0f} s", flush=True
    )
    assert np.isfinite(found).all()
    return steps.split(found)


def location(
    table: pd.DataFrame, scores: dict[str, list[np.ndarray]], parts: Sequence[Fold]
) -> list[str]:
    """First-error accuracy: by kind with the first rule, all rules on all, and the head less each other."""
    main, wrong = next(iter(step_figures.RULES)), table["wrong"].to_numpy()
    found = {name: step_figures.hits(table, own) for name, own in scores.items()}
    priors = step_figures.prior_hits(table, parts)
    columns = {**{name: own[main] for name, own in found.items()}, **priors}
    gains = {
        f"head less {name}": columns["head"] - own
        for name, own in columns.items()
        if name != "head"
    }

    def means(values: dict[str, np.ndarray]) -> Callable[[pd.DataFrame, np.ndarray], Row]:
        def figures(own: pd.DataFrame, rows: np.ndarray) -> Row:
            inside = np.isin(np.flatnonzero(wrong), rows)
            return {name: step_figures.mean(own, each[inside]) for name, each in values.items()}

        return figures

    rules: dict[str, Row] = {
        name: {rule: step_figures.mean(table, each) for rule, each in own.items()}
        for name, own in found.items()
    }
    return [
        *titled(f"First-error accuracy ({main})", by_kind(table, means(columns))),
        *titled("The same, paired differences", by_kind(table, means(gains))),
        *titled("First-error accuracy by each rule, all solutions", rules),
    ]


def areas(
    table: pd.DataFrame, scores: dict[str, list[np.ndarray]], marks: list[np.ndarray] | None
) -> dict[str, Row]:
    """AUC over the labelled steps of wrong solutions, or over the marked ones of them."""

    def figures(own: pd.DataFrame, rows: np.ndarray) -> Row:
        chosen = None if marks is None else taken(marks, rows)
        return {
            name: step_figures.area(own, taken(each, rows), chosen) for name, each in scores.items()
        }

    return by_kind(table, figures)


def area_gains(
    table: pd.DataFrame, scores: dict[str, list[np.ndarray]], marks: list[np.ndarray]
) -> dict[str, Row]:
    """The head's AUC over the marked steps less each other's."""

    def figures(own: pd.DataFrame, rows: np.ndarray) -> Row:
        head, chosen = taken(scores["head"], rows), taken(marks, rows)
        return {
            f"head less {name}": step_figures.area_gain(own, head, taken(each, rows), chosen)
            for name, each in scores.items()
            if name != "head"
        }

    return by_kind(table, figures)


def against_original(table: pd.DataFrame, scores: dict[str, list[np.ndarray]]) -> dict[str, Row]:
    """How often the original solution's worst step scores above the modified one's."""
    return by_kind(
        table,
        lambda own, rows: {
            name: step_figures.pair_share(own, taken(each, rows)) for name, each in scores.items()
        },
    )


def standing(table: pd.DataFrame) -> list[np.ndarray]:
    """1 for steps that the original solution holds too, else 0: what knowing the original is worth."""
    marks = [np.ones(len(steps)) for steps in table["steps"]]
    for right, wrong in pairs(table).tolist():
        marks[wrong] = copied(table["steps"].iloc[wrong], table["steps"].iloc[right]).astype(float)
    return marks


def titled(title: str, rows: dict[str, Row]) -> list[str]:
    """A table under its title."""
    return ["", title, "", *markdown(rows)]


def original_and_modified(table: pd.DataFrame, scores: dict[str, list[np.ndarray]]) -> list[str]:
    """What only PRMBench tells: scores against the original solution, and within what was rewritten."""
    marks = step_figures.rewritten(table)
    known = {**scores, "stands in the original": standing(table)}
    return [
        f"{len(pairs(table))} pairs; {sum(int(own.sum()) for own in marks)} steps do not stand in the original",
        *titled("AUC, steps that do not stand in the original", areas(table, scores, marks)),
        *titled("The same, paired differences", area_gains(table, scores, marks)),
        *titled(
            "The original above the modified solution, by the worst step",
            against_original(table, scores),
        ),
        *titled("AUC, all steps of modified solutions", areas(table, known, None)),
    ]


def report(name: str, steps: Steps, count: int) -> Iterator[list[str]]:
    """The tables, each as soon as it is known."""
    table, parts = steps.table, folds(steps.table, count)
    scores = predictions(steps, parts, "")
    yield location(table, scores, parts)
    if name == "prmbench":
        yield original_and_modified(table, scores)
        scores = predictions(steps, list(unseen(table, parts)), ", unseen kind")
        title = "Fitted without the kind that is measured (the priors know its places):"
        yield ["", title, *location(table, scores, parts)]
        yield original_and_modified(table, scores)


def predictions(steps: Steps, parts: Sequence[Fold], label: str) -> dict[str, list[np.ndarray]]:
    """P(right) of every step by every scorer."""
    scorers = {"head": head(strengths(steps, parts)), **SCORERS}
    return {
        name: scored(steps, scorer, parts, f"{name}{label}") for name, scorer in scorers.items()
    }


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", choices=["prmbench", "mr_gsm8k"])
    parser.add_argument("path")
    parser.add_argument("model", type=Path)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--layers", type=int, nargs="+", default=[15, 22, 30])
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default="bfloat16", help="of the frozen model"
    )
    given = parser.parse_args()
    table = step_data.load(given.data, given.path)
    kept = Path("work/folds") / f"steps-{given.data}"
    states = step_data.states(table, given.model, given.layers, given.dtype, kept)
    steps = Steps(table, np.concatenate(states))
    print(f"{len(table)} solutions, {int(table['wrong'].sum())} wrong, {len(steps.owner)} steps, "
          f"{int(np.isfinite(steps.labels).sum())} labelled")  # fmt: skip
    for lines in report(given.data, steps, given.folds):
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
