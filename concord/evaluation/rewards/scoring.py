"""How well the heads of a trained reward model agree with the labels of a file.

Beside each figure stand the same figures of answers by their length, of TF-IDF fitted to the labels
by cross-validation, and of chance. Intervals are 95 % bootstraps over groups of prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from concord.evaluation.metrics import Interval, area_under_curve, mean_interval, rank_correlation
from concord.evaluation.rewards import cross_validated
from concord.evaluation.rewards.answer_scores import AnswerScores
from concord.evaluation.rewards.baselines import RESAMPLES, SEED, accuracy
from concord.evaluation.rewards.head_quality import GOOD
from concord.evaluation.rewards.scored_file import LabelledFile
from concord.evaluation.rewards.step_quality import (
    Located,
    best_threshold,
    clustered,
    error_location,
    first_error,
    largest_drop,
    located_f1,
    step_quality,
)

MODEL, LENGTH, TF_IDF, CHANCE = "model", "length", "TF-IDF, cross-validated", "chance"


@dataclass
class Figure:
    """One measure on one kind of label, for the model and the baselines."""

    measure: str
    labels: str
    """What was measured on, in words."""
    values: Mapping[str, Interval | float | None] = field(default_factory=dict)
    """`MODEL` and the baselines -> value; None if it cannot be computed."""


def score_pairs(pairs: pd.DataFrame, scores: AnswerScores, head: int) -> Iterator[Figure]:
    """Pair accuracy: the share of pairs whose preferred answer scores higher; ties count half."""
    if pairs.empty:
        return
    sides = [side_scores(pairs, side, scores, head) for side in ("chosen", "rejected")]
    known = ~np.isnan(sides[0] - sides[1])
    pairs, chosen, rejected = pairs[known], sides[0][known], sides[1][known]
    if pairs.empty:
        return
    lengths = [pairs[side].str.len().to_numpy(dtype=float) for side in ("chosen", "rejected")]
    margins = {MODEL: chosen - rejected, LENGTH: lengths[0] - lengths[1]}
    fitted = cross_validated.tf_idf_margins(pairs)
    values: dict[str, Interval | float | None] = {
        name: accuracy(pairs, margin) for name, margin in margins.items()
    }
    values[TF_IDF] = None if fitted is None else accuracy(pairs, fitted)
    words = f"{len(pairs):,} pairs of {pairs['group_id'].nunique():,} prompts"
    yield Figure("pair accuracy", words, {**values, CHANCE: 0.5})


def score_grades(grades: pd.DataFrame, scores: AnswerScores, head: int) -> Iterator[Figure]:
    """AUC on binary labels, and rank correlation with ratings."""
    for kind, rows in grades.groupby("kind", sort=False):
        given = side_scores(rows, "response", scores, head)
        known = ~np.isnan(given)
        rows, given = rows[known], given[known]
        if rows.empty:
            continue
        rating, groups = rows["rating"].to_numpy(dtype=float), rows["group_id"].tolist()
        texts = rows["response"].tolist()
        lengths = rows["response"].str.len().to_numpy(dtype=float)
        fitted = cross_validated.tf_idf_grades(texts, rating, groups)
        is_binary = kind == "binary"
        target = (rating >= GOOD).astype(float) if is_binary else rating
        measure = area_under_curve if is_binary else rank_correlation
        values = {
            name: agreement(measure, each, target, groups)
            for name, each in {MODEL: given, LENGTH: lengths, TF_IDF: fitted}.items()
        }
        noun = "labels" if is_binary else "ratings"
        words = f"{len(rows):,} {noun} of {len(set(groups)):,} prompts"
        yield Figure(
            "AUC" if is_binary else "rank correlation",
            words,
            {**values, CHANCE: 0.5 if is_binary else 0.0},
        )


def score_steps(steps: pd.DataFrame, scores: AnswerScores, head: int) -> Iterator[Figure]:
    """AUC over steps, accuracy of locating the first error, and F1 of first errors."""
    if steps.empty:
        return
    given = [
        scores.scores[scores.add_steps(messages, parts)][:, head].astype(float)
        for messages, parts in zip(steps["messages"], steps["steps"], strict=True)
    ]
    gold = [np.asarray(labels, dtype=float) for labels in steps["labels"]]
    groups = steps["group_id"].tolist()
    by_length = [-np.array([len(step) for step in parts], dtype=float) for parts in steps["steps"]]
    ways = {MODEL: given, LENGTH: by_length, TF_IDF: fitted_steps(steps, gold, groups)}
    words = f"{sum(int(np.isfinite(each).sum()) for each in gold):,} steps of {len(gold):,} answers"
    yield Figure("AUC of steps", words, {**areas(ways, gold, groups), CHANCE: 0.5})
    wrong = [first_error(each) >= 0 for each in gold]
    if not any(wrong):
        return
    located = {
        name: None if way is None else located_share(way, gold, groups)
        for name, way in ways.items()
    }
    prior = float(error_location(given, gold)["first_error_prior"])
    yield Figure(
        "first error found, by the largest drop",
        f"{sum(wrong):,} answers with an error; chance is their most common position",
        {**located, CHANCE: prior},
    )
    if not all(wrong):
        f1s = {name: None if way is None else f1(way, gold, groups) for name, way in ways.items()}
        yield Figure("F1 of first errors", f"{len(gold):,} answers", f1s)


def side_scores(rows: pd.DataFrame, side: str, scores: AnswerScores, head: int) -> np.ndarray:
    """The scores of a column of answers, (rows,); NaN for answers that are too long."""
    keys = [
        scores.add(messages, answer)
        for messages, answer in zip(rows["messages"], rows[side], strict=True)
    ]
    return np.array([scores.of(key, head) for key in keys])


def agreement(
    measure: Callable[[np.ndarray, np.ndarray], float],
    given: np.ndarray | None,
    target: np.ndarray,
    groups: Sequence[str],
) -> Interval | None:
    """A measure of scores against labels, with its interval."""
    if given is None:
        return None
    owner = pd.factorize(np.asarray(groups))[0]
    return clustered(lambda rows: float(measure(given[rows], target[rows])), owner, RESAMPLES, SEED)


def areas(
    ways: dict[str, list[np.ndarray] | None], gold: list[np.ndarray], groups: list[str]
) -> dict[str, Interval | float | None]:
    """AUC of each way to score steps."""
    values: dict[str, Interval | float | None] = {}
    for name, way in ways.items():
        figures = None if way is None else step_quality(way, gold, groups, RESAMPLES, SEED)
        values[name] = (
            None
            if figures is None
            else Interval(figures["auc"], figures["ci_low"], figures["ci_high"])
        )
    return values


def fitted_steps(
    steps: pd.DataFrame, gold: Sequence[np.ndarray], groups: Sequence[str]
) -> list[np.ndarray] | None:
    """Scores of steps by TF-IDF of their words, one array for each answer."""
    places = [(row, step) for row, labels in enumerate(gold) for step in range(len(labels))]
    known = [(row, step) for row, step in places if np.isfinite(gold[row][step])]
    texts = [steps["steps"].iloc[row][step] for row, step in known]
    labels = np.array([gold[row][step] for row, step in known])
    fitted = cross_validated.tf_idf_grades(texts, labels, [groups[row] for row, _ in known])
    if fitted is None:
        return None
    result = [np.full(len(labels), float(np.mean(fitted))) for labels in gold]
    for (row, step), value in zip(known, fitted, strict=True):
        result[row][step] = value
    return result


def located_share(
    way: Sequence[np.ndarray], gold: Sequence[np.ndarray], groups: Sequence[str]
) -> Interval:
    """Share of the wrong answers whose largest drop is at the first error."""
    start = float(np.mean([scores[0] for scores in way]))
    rows = [row for row, labels in enumerate(gold) if first_error(labels) >= 0]
    hits = [float(largest_drop(way[row], start) == first_error(gold[row])) for row in rows]
    return mean_interval(np.array(hits), [groups[row] for row in rows], RESAMPLES, SEED)


def f1(
    way: Sequence[np.ndarray], gold: Sequence[np.ndarray], groups: Sequence[str]
) -> Interval | None:
    """ProcessBench's F1, at thresholds that are chosen on other prompts."""

    def choose(rows: np.ndarray) -> float | None:
        return best_threshold([way[row] for row in rows], [gold[row] for row in rows])

    chosen = cross_validated.thresholds(groups, choose)
    if chosen is None or np.isnan(chosen).any():
        return None
    parts = [
        Located.of([scores], [labels], threshold)
        for scores, labels, threshold in zip(way, gold, chosen, strict=True)
    ]
    located = Located(
        np.concatenate([part.true for part in parts]),
        np.concatenate([part.predicted for part in parts]),
    )
    return located_f1(located, groups, RESAMPLES, SEED)


def steps_as_grades(steps: pd.DataFrame) -> pd.DataFrame:
    """Binary labels of whole answers from the labels of their steps: 1 if no step is wrong."""
    labels = [float(first_error(np.asarray(each, dtype=float)) < 0) for each in steps["labels"]]
    kept = steps[["group_id", "messages", "objective"]]
    return kept.assign(response=steps["steps"].map("".join), rating=labels, kind="binary")


def figures_of(content: LabelledFile, scores: AnswerScores, head: int) -> list[Figure]:
    """All figures that the labels of one objective allow."""
    figures = [
        *score_pairs(content.pairs, scores, head),
        *score_grades(content.grades, scores, head),
    ]
    if content.steps.empty:
        return figures
    if scores.trained.scores_steps:
        return [*figures, *score_steps(content.steps, scores, head)]
    return [*figures, *score_grades(steps_as_grades(content.steps), scores, head)]
