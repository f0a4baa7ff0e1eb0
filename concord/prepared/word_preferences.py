"""Which answer of a pair its words and its length speak for, as learned from labels.

The words are those of `data_figures.telling_words`. A word, and being longer, has the log-odds that
the answer with it is preferred; an answer has the sum over its words. How often labels agree with
what other labels of the objective predict is one figure in place of one per word, so that a few
labels show that they are flipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from concord.objectives import Objective
from concord.prepared.data_figures import (
    MAX_PAIRS,
    MIN_GROUPS,
    TOKEN,
    Figures,
    clustered,
    telling_words,
)


@dataclass(frozen=True)
class WordPreferences:
    """The log-odds of one objective."""

    words: Mapping[str, float]
    longer: float

    @classmethod
    def of(cls, pairs: pd.DataFrame) -> WordPreferences:
        """Learns them from pairs with the columns chosen and rejected."""
        words = {word: _log_odds(preferred) for word, _, preferred in telling_words(pairs)}
        longer = _longer(pairs)
        return cls(words, _log_odds((longer[longer != 0] + 1) / 2))

    def agreement(self, pairs: pd.DataFrame) -> np.ndarray:
        """Per pair 1 if the chosen answer is the one they speak for, 0 if not, 0.5 if neither."""
        scores = [
            np.array([self._score(text) for text in pairs[side]], dtype=np.float64)
            for side in ("chosen", "rejected")
        ]
        return np.asarray(np.heaviside(scores[0] - scores[1] + self.longer * _longer(pairs), 0.5))

    def _score(self, text: str) -> float:
        return sum(self.words.get(word, 0.0) for word in sorted(set(TOKEN.findall(text.lower()))))


def _longer(pairs: pd.DataFrame) -> np.ndarray:
    """1 if the chosen answer is longer, -1 if it is shorter, else 0."""
    lengths = [pairs[side].str.len().to_numpy(np.float64) for side in ("chosen", "rejected")]
    return np.asarray(np.sign(lengths[0] - lengths[1]))


def _log_odds(preferred: np.ndarray) -> float:
    """Of 0 and 1, with two of each added."""
    share = (preferred.sum() + 2) / (len(preferred) + 4)
    return float(np.log(share / (1 - share)))


def agreement_figures(
    known: pd.DataFrame, new: pd.DataFrame, objectives: Mapping[str, Objective]
) -> tuple[Figures, Figures]:
    """How often the labels of an objective agree with what the known labels predict.

    Args:
        known: pairs that the predictions are learned from.
        new: other pairs.
        objectives: the known objectives.

    Returns name -> figure, of the known pairs and of the new ones. Those of the known pairs are
    slightly high, because the predictions were learned from the same pairs.
    """
    figures: tuple[Figures, Figures] = {}, {}
    for name in objectives:
        sides = [pairs[pairs["objective"] == name] for pairs in (known, new)]
        sides = [
            pairs.sample(MAX_PAIRS, random_state=0) if len(pairs) > MAX_PAIRS else pairs
            for pairs in sides
        ]
        learned = WordPreferences.of(sides[0])
        for pairs, result in zip(sides, figures, strict=True):
            figure = clustered("labels", learned.agreement(pairs), pairs["group_id"])
            if figure is not None and figure.groups >= MIN_GROUPS:
                result[f"{name}: preferred as other labels predict"] = asdict(figure)
    return figures
