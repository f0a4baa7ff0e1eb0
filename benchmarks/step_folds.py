"""Cross-validation of a linear head on hidden states at step ends, trained on step labels.

    python -m benchmarks.step_folds prmbench <folder> <model> [--folds 4] [--dtype bfloat16]
    python -m benchmarks.step_folds mr_gsm8k <folder> <model> [--folds 4]

The model is frozen. Its states are taken at the positions that the process reward model reads
(`concord.rewards.process.process_model.windows`). The head is a logistic regression on all labelled
steps of the training folds. Its regularisation is chosen by the log loss on a fifth of the training
groups, never on the test fold. Baselines are logistic regressions on features without meaning: the
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
"""Candidate L2 strengths of the head, from strong to weak."""
LAST_POSITION = 20
"""Later steps share this position."""


Scorer = Callable[["Steps", np.ndarray, np.ndarray], np.ndarray]
"""Takes all steps, training rows and test rows; returns P(correct) of the test rows' steps."""


@dataclass(frozen=True)
class Steps:
    """The steps of all solutions of a table, concatenated."""

    table: pd.DataFrame
    states: np.ndarray
    """float32 (steps, width)."""

    @cached_property
    def owner(self) -> np.ndarray:
        """Row of the table for each step."""
        return np.repeat(np.arange(len(self.table)), self.counts)

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of steps of each solution."""
        return self.table["steps"].map(len).to_numpy()

    @cached_property
    def labels(self) -> np.ndarray:
        """1, 0, or NaN for unlabelled steps."""
        return np.concatenate(self.table["gold"].tolist())

    @cached_property
    def texts(self) -> np.ndarray:
        """The texts of the steps."""
        return np.array([step for steps in self.table["steps"] for step in steps], dtype=object)

    def of(self, rows: np.ndarray, labelled: bool = False) -> np.ndarray:
        """Indices of the steps of some solutions: all of them, or only the labelled ones."""
        inside = np.isin(self.owner, rows)
        return np.flatnonzero(inside & np.isfinite(self.labels) if labelled else inside)

    def split(self, scores: np.ndarray) -> list[np.ndarray]:
        """Splits scores of all steps by solution."""
        return np.split(scores, np.cumsum(self.counts)[:-1])


def unseen_kind(table: pd.DataFrame, parts: Sequence[Fold]) -> Iterator[Fold]:
    """Folds per kind of error: the training rows lack the kind, and the test rows are of it."""
    for kind in table["kind"].unique():
        rows = np.flatnonzero(table["kind"] == kind)
        reduced = ((np.setdiff1d(train, rows), np.intersect1d(test, rows)) for train, test in parts)
        yield from ((train, test) for train, test in reduced if len(test))


def strengths(steps: Steps, parts: Sequence[Fold]) -> np.ndarray:
    """L2 strength for each solution, (solutions,), chosen on its fold's training groups."""
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
        f"l2 {best:g} (inner log loss: {', '.join(f'{loss:.3f}' for loss in tried)})",
        flush=True,
    )
    return best


def head(chosen: np.ndarray) -> Scorer:
    """Scorer on the states. `chosen` is the L2 strength for each solution, (solutions,)."""

    def fitted(steps: Steps, fit_to: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        (l2,) = set(chosen[wanted].tolist())
        return next(_path(steps, steps.of(fit_to, labelled=True), steps.of(wanted), [l2]))

    return fitted


def _path(
    steps: Steps, fit_to: np.ndarray, wanted: np.ndarray, strengths: Sequence[float]
) -> Iterator[np.ndarray]:
    """P(correct) by heads of decreasing L2 strength, each initialised with the previous one.

    States are standardised first.
    """
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
    """P(correct) by logistic regression on features."""
    from sklearn.linear_model import LogisticRegression

    train, test = steps.of(fit_to, labelled=True), steps.of(wanted)
    encode = features(steps, train)
    model = LogisticRegression(max_iter=1000).fit(encode(train), steps.labels[train] > 0)
    return model.predict_proba(encode(test))[:, 1]


def words(steps: Steps, known: np.ndarray) -> Callable[[np.ndarray], Any]:
    """TF-IDF of the words and word pairs of a step."""
    encoder = word_features(steps.texts[known].tolist())
    return lambda places: encoder.transform(steps.texts[places].tolist())


def length(steps: Steps, known: np.ndarray) -> Callable[[np.ndarray], Any]:
    """Logarithm of a step's number of characters, and its square."""
    size = np.log1p([len(text) for text in steps.texts])
    return lambda places: np.stack([size, size**2], axis=1)[places]


def position(steps: Steps, known: np.ndarray) -> Callable[[np.ndarray], Any]:
    """Position of a step: one-hot, as a share of the solution, and the inverse number of steps."""
    number = np.concatenate([np.arange(count) for count in steps.counts])
    total = steps.counts[steps.owner]
    table = np.column_stack(
        [np.eye(LAST_POSITION)[np.minimum(number, LAST_POSITION - 1)], number / total, 1 / total]
    )
    return lambda places: table[places]


SCORERS: dict[str, Scorer] = {
    "tf_idf": lambda *arguments: _linear(words, *arguments),
    "length": lambda *arguments: _linear(length, *arguments),
    "position": lambda *arguments: _linear(position, *arguments),
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


def main() -> None:
    """Computes the states and prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", choices=["prmbench", "mr_gsm8k"])
    parser.add_argument("path")
    parser.add_argument("model", type=Path)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--layers", type=int, nargs="+", default=[15, 22, 30])
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16"],
        default="bfloat16",
        help="dtype of the frozen model",
    )
    arguments = parser.parse_args()
    table = step_data.load(arguments.data, arguments.path)
    cache = Path("work/folds") / f"steps-{arguments.data}"
    states = step_data.states(table, arguments.model, arguments.layers, arguments.dtype, cache)
    steps = Steps(table, np.concatenate(states))
    print(f"{len(table)} solutions, {int(table['wrong'].sum())} incorrect, "
          f"{len(steps.owner)} steps, {int(np.isfinite(steps.labels).sum())} labelled")  # fmt: skip
    for lines in report(arguments.data, steps, arguments.folds):
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
