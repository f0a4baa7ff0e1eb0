"""Agreement, conflict and length bias, compared with values computed by hand."""

from typing import Any

import pandas as pd
import pytest

from concord.prepared.agreement import agreement, conflict, length_bias, survey

PROMPT = [{"role": "user", "content": "q"}]


def _pairs(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """Rows of (chosen, rejected, objective, annotator)."""
    names = ["chosen", "rejected", "objective", "annotator"]
    frame = pd.DataFrame(rows, columns=names, dtype=object)
    return frame.assign(messages=[PROMPT] * len(frame), origin="comparisons")


def _grades(*rows: tuple[str, float, str], **columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["response", "rating", "annotator"])
    frame = frame.assign(
        messages=[PROMPT] * len(frame), kind="rating", scale_low=0.0, scale_high=1.0, objective="o"
    )
    return frame.assign(**columns)


def test_agreement_on_pairs_by_hand() -> None:
    """Two annotators with the values 1 1 | 0 0 | 1 0: 3 of 6 values are 1.

    Observed disagreement 2 / 6, expected 2 * 3 * 3 / (6 * 5) = .6; alpha = 1 - (1/3) / .6 = 4/9.
    Pairs with one annotator are ignored.
    """
    pairs = _pairs(
        ("a", "b", "o", "x"), ("a", "b", "o", "y"), ("d", "c", "o", "x"), ("d", "c", "o", "y"),
        ("e", "f", "o", "x"), ("f", "e", "o", "y"), ("g", "h", "o", "x"),
    )  # fmt: skip
    result = agreement(pairs, _grades())["comparisons"]
    assert result == {"alpha": pytest.approx(4 / 9), "units": 3, "labels": 6}


def test_alpha_is_1_for_full_agreement_and_none_for_a_single_annotator() -> None:
    agreed = _grades(("a", 0.0, "x"), ("a", 0.0, "y"), ("b", 1.0, "x"), ("b", 1.0, "y"))
    assert agreement(_pairs(), agreed)["grades"] == {
        "alpha": pytest.approx(1.0),
        "units": 2,
        "labels": 4,
    }
    alone = _grades(("a", 0.0, "x"), ("b", 1.0, "x"))
    assert agreement(_pairs(), alone)["grades"] == {"alpha": None, "units": 0, "labels": 0}


def test_grades_on_different_scales_are_not_compared() -> None:
    """A response graded on two scales is not a common unit of two annotators."""
    one = _grades(("a", 0.0, "x"), ("b", 1.0, "x"))
    other = _grades(("a", 0.5, "y"), ("b", 0.2, "y"), scale_high=5.0)
    assert agreement(_pairs(), pd.concat([one, other]))["grades"]["alpha"] is None


def test_conflict_is_the_share_of_opposed_pairs() -> None:
    """Both objectives judged ab and ef: they agree on ab and disagree on ef.

    On ef, two of three annotators consider e kinder, and the majority counts. On gh, kind is tied,
    so the pair is ignored. Only one objective judged cd.
    """
    pairs = _pairs(
        ("a", "b", "kind", "x"), ("a", "b", "true", "x"), ("c", "d", "kind", "x"),
        ("e", "f", "kind", "x"), ("e", "f", "kind", "y"), ("f", "e", "kind", "z"),
        ("f", "e", "true", "x"),
        ("g", "h", "kind", "x"), ("h", "g", "kind", "y"), ("g", "h", "true", "x"),
    )  # fmt: skip
    assert conflict(pairs, ["true", "kind", "new"]) == {
        "true/kind": {"objectives": ["true", "kind"], "opposed": 0.5, "pairs": 2}
    }


def test_length_bias_by_hand() -> None:
    """Longer, shorter and equal once each: (1 + 0 + .5) / 3, and (2 - 1 + 0) / 3 characters."""
    result = length_bias(
        _pairs(("aaa", "b", "o", "x"), ("a", "bb", "o", "x"), ("a", "b", "o", "x"))
    )
    assert result == {
        "longer_chosen": pytest.approx(0.5),
        "mean_characters_more": pytest.approx(1 / 3),
    }


def test_survey_of_empty_tables() -> None:
    result = survey(_pairs(), _grades(), ["o"])
    assert result["conflict"] == {}
    assert result["agreement"]["o"]["comparisons"]["alpha"] is None
    assert result["length_bias"]["o"] == {"longer_chosen": None, "mean_characters_more": None}
