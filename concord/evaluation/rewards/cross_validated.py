"""TF-IDF baselines that are fitted to the very labels that are scored, by cross-validation.

The groups of prompts are divided into folds. The labels of a fold are predicted by a fit to the
labels of the other folds, so no prompt is predicted from itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from concord.evaluation.policies.answer_judge import fold_of
from concord.evaluation.rewards.baselines import bradley_terry, word_features

FOLDS = 5
LEAST = 20
"""Fewer labels than this are not fitted."""
ALPHA = 1.0
"""Strength of the ridge penalty."""
Fit = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Rows to fit, rows to predict -> predictions."""


def across_folds(groups: Sequence[str], fit: Fit) -> np.ndarray | None:
    """Predictions, (rows,), of each fold by a fit to the others; None for too few rows or groups.

    Args:
        groups: the group of each row.
        fit: fits some rows and predicts others; both are arrays of indices.
    """
    if len(groups) < LEAST or len(set(groups)) < FOLDS:
        return None
    number_of = fold_of(groups, FOLDS)
    fold = np.array([number_of[group] for group in groups])
    predictions = np.full(len(groups), np.nan)
    for number in range(FOLDS):
        inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        predictions[inside] = fit(outside, inside)
    return predictions


def tf_idf_margins(pairs: pd.DataFrame) -> np.ndarray | None:
    """Predicted margins, (pairs,), of pairs with the columns chosen, rejected and group_id."""

    def fit(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        model = bradley_terry(pairs.iloc[train], word_features, "chosen", "rejected")
        return np.asarray(model(pairs.iloc[test]))

    return across_folds(pairs["group_id"].tolist(), fit)


def tf_idf_grades(
    texts: Sequence[str], grades: np.ndarray, groups: Sequence[str]
) -> np.ndarray | None:
    """Predicted grades, (texts,), of texts by ridge regression."""
    from sklearn.linear_model import Ridge

    def fit(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        known, unknown = [texts[row] for row in train], [texts[row] for row in test]
        encoder = word_features(known)
        model = Ridge(alpha=ALPHA).fit(encoder.transform(known), grades[train])
        return np.asarray(model.predict(encoder.transform(unknown)))

    return across_folds(groups, fit)


def thresholds(
    groups: Sequence[str], choose: Callable[[np.ndarray], float | None]
) -> np.ndarray | None:
    """A threshold for each row, (rows,), chosen on the rows of the other folds.

    `choose` may return None for rows on which no threshold is better than another.
    """

    def fit(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        chosen = choose(train)
        return np.full(len(test), np.nan if chosen is None else chosen)

    return across_folds(groups, fit)
