"""Scorers of steps: a logistic regression on hidden states, and baselines that ignore meaning.

A scorer is fitted to the labelled steps of training solutions and returns P(correct) of every step
of the test solutions. The head on the states is that of a process reward model with frozen features
(`concord.rewards.process.step_probe_fit`), whose regularisation is chosen by the log loss on a
fifth of the training groups. The baselines are logistic regressions on
the position of a step, its length, and the TF-IDF of its words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import expit  # type: ignore[import-untyped]

from benchmarks.step_data import Steps
from benchmarks.steps.step_files import Fold
from concord.evaluation.rewards.baselines import word_features

NAME = "correct"
"""Name of the only head."""
LAST_POSITION = 20
"""Later steps share this position."""
Scorer = Callable[[Steps, np.ndarray, np.ndarray], np.ndarray]
"""Takes all steps, training rows and test rows; returns P(correct) of the test rows' steps."""


def head(chosen: np.ndarray) -> Scorer:
    """Scorer on the states. `chosen` is the L2 strength for each solution, (solutions,)."""

    def fitted(steps: Steps, fit_to: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        (l2,) = set(chosen[wanted].tolist())
        heads = steps.labelled(fit_to).fit([NAME], l2)
        states = steps.states[steps.of(wanted)].astype(float)
        return np.asarray(expit(states @ heads["weight"][0].astype(float) + heads["bias"][0]))

    return fitted


def strengths(steps: Steps, parts: Sequence[Fold]) -> np.ndarray:
    """L2 strength for each solution, (solutions,), chosen on its fold's training groups."""
    chosen = np.full(len(steps.table), np.nan)
    for train, test in parts:
        choice = steps.labelled(train).choose([NAME])
        print("\n".join(choice.lines()), flush=True)
        chosen[test] = choice.l2[0]
    return chosen


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
