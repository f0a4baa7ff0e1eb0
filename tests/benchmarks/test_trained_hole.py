"""A reward with a hole: it pays for the length of an answer on one objective alone."""

from typing import Any

import numpy as np

from benchmarks.trained_hole import WithHole


class Constant:
    """Scores 2 on `kind`, and 5 on `right`, which does not apply to the second answer."""

    names = ("kind", "right")

    def score(self, messages: Any, responses: Any, domains: Any, references: Any) -> np.ndarray:
        assert len(messages) == len(responses) == len(domains) == len(references) == 2
        return np.array([[2.0, 5.0], [2.0, np.nan]])


def test_length_is_paid_on_one_objective() -> None:
    """3 words pay 0.5 ln 4, and an empty answer pays nothing."""
    given = [[], []], ["one two  three", ""], ["values"] * 2, [None] * 2
    kind = WithHole(Constant(), "kind", 0.5).score(*given)
    np.testing.assert_allclose(kind, [[2 + 0.5 * np.log(4), 5.0], [2.0, np.nan]])
    right = WithHole(Constant(), "right", 0.5).score(*given)
    np.testing.assert_allclose(right, [[2.0, 5 + 0.5 * np.log(4)], [2.0, np.nan]])


def test_without_a_hole_the_scores_are_unchanged() -> None:
    given = [[], []], ["one two", "three"], ["values"] * 2, [None] * 2
    plain = WithHole(Constant(), "kind", 0.0).score(*given)
    np.testing.assert_array_equal(plain, [[2.0, 5.0], [2.0, np.nan]])
