"""The small figures of the data, and that flipped labels show in them."""

import numpy as np
import pandas as pd
import pytest

from concord.objectives import Objective
from concord.prepared.data_figures import clustered, data_figures, telling_words

OBJECTIVES = {"helpful": Objective("values", "", reward="values")}
NO_STEPS = pd.DataFrame({"objective": [], "labels": [], "group_id": []})
NO_QUARANTINE = pd.DataFrame({"source": ["a"] * 5, "reason": ["duplicate"] * 2 + ["tie"] * 3})


def pairs(count: int, right: float, seed: int = 0) -> pd.DataFrame:
    """Comparisons in which `please` is preferred to its absence with the probability `right`."""
    noise = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        better, worse = f"please do {index}", f"go do {index}"
        chosen, rejected = (better, worse) if noise.random() < right else (worse, better)
        rows.append((f"group {index // 2}", chosen, rejected))
    table = pd.DataFrame(rows, columns=["group_id", "chosen", "rejected"])
    messages = [[{"role": "user", "content": f"prompt {index}"}] for index in range(count)]
    return table.assign(
        messages=messages, objective="helpful", annotator="ada", origin="comparisons"
    )


def ratings(values: list[float], annotators: int = 1) -> pd.DataFrame:
    """Each value is a grade of one answer; annotator 2 gives one less the grade."""
    rows = []
    for index, value in enumerate(values):
        for annotator in range(annotators):
            grade = 1 - value if annotator else value
            rows.append((f"group {index}", f"answer {index}", f"person {annotator}", grade))
    table = pd.DataFrame(rows, columns=["group_id", "response", "annotator", "rating"])
    prompt = [[{"role": "user", "content": "prompt"}]] * len(table)
    return table.assign(
        messages=prompt, objective="helpful", kind="rating", scale_low=0.0, scale_high=1.0
    )


def figures(pairs_: pd.DataFrame, ratings_: pd.DataFrame) -> dict[str, dict[str, float]]:
    demonstrations = pd.DataFrame({"response": ["x" * 9] * 20, "group_id": range(20)})
    tables = {
        "pairs": pairs_,
        "ratings": ratings_,
        "steps": NO_STEPS,
        "demonstrations": demonstrations,
    }
    near = {"prompts": 200, "near_duplicates": 10}
    return data_figures(tables, OBJECTIVES, {"a": 100}, NO_QUARANTINE, near)


def test_every_kind_is_measured() -> None:
    result = figures(pairs(100, 0.9), ratings([0.2] * 30, annotators=2))
    assert {figure["kind"] for figure in result.values()} == {
        *("labels", "agreement", "coverage", "quarantine", "length", "duplicates")
    }
    assert result["helpful: mean rating"]["mean"] == pytest.approx(0.5)
    assert result["helpful: two annotators give the same grade"]["mean"] == pytest.approx(0.4)
    assert result["a: rows quarantined"]["mean"] == 0.05
    assert result["all sources: copies of other rows"]["mean"] == 0.02
    assert result["prompts with a near duplicate"]["mean"] == 0.05
    assert result["demonstrations: log of the characters of an answer"]["mean"] == pytest.approx(
        np.log(10)
    )


def test_flipped_labels_turn_the_shares_around() -> None:
    straight = pairs(400, 0.9)
    flipped = straight.rename(columns={"chosen": "rejected", "rejected": "chosen"})
    one, two = (figures(table, ratings([0.5] * 20)) for table in (straight, flipped))
    for name in ("the answer with `please` is preferred", "the longer answer is preferred"):
        mean = one[f"helpful: {name}"]["mean"]
        assert two[f"helpful: {name}"]["mean"] == pytest.approx(1 - mean)
        assert abs(mean - 0.5) > 0.3


def test_words_are_chosen_by_frequency_and_not_by_the_labels() -> None:
    straight = pairs(50, 0.7)
    flipped = straight.rename(columns={"chosen": "rejected", "rejected": "chosen"})
    assert [word for word, _, _ in telling_words(straight)][:2] == ["go", "please"]
    assert [w for w, _, _ in telling_words(straight)] == [w for w, _, _ in telling_words(flipped)]


def test_standard_errors_count_groups_and_are_never_zero() -> None:
    values, alone = np.repeat([0.0, 1.0] * 50, 4), np.arange(400)
    together = clustered("labels", values, alone // 4)
    apart = clustered("labels", values, alone)
    assert together is not None
    assert apart is not None
    assert together.error == pytest.approx(2 * apart.error, rel=0.02)
    certain = clustered("labels", np.ones(100), np.arange(100))
    assert certain is not None
    assert certain.error > 0.01
    assert clustered("labels", np.empty(0), []) is None
