"""The reward vector: scorers, NaN where an objective does not apply, and names of columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from concord.objectives import Objective
from concord.rewards.vector.reward_vector import RewardVector
from concord.stage.errors import DataError, ModelError


class Counting:
    """A reward model that counts its calls; head h scores h + length of the response."""

    def __init__(self, *objectives: str) -> None:
        self.objectives = list(objectives)
        self.calls = 0

    def score(
        self, messages: Sequence[Any], responses: Sequence[str], batch_size: int = 64
    ) -> np.ndarray:
        self.calls += 1
        lengths = np.array([[len(response)] for response in responses], dtype=np.float32).reshape(
            -1, 1
        )
        return lengths + np.arange(len(self.objectives), dtype=np.float32)


def _objective(domain: str, **kwargs: Any) -> Objective:
    return Objective(domain=domain, description="", **kwargs)


KNOWN = {
    "honest": _objective("values", reward="values"),
    "accuracy": _objective("math", verifier="math_answer"),
    "overall": _objective("all", reward="overall", in_vector=False),
    "helpful": _objective("values", reward="values"),
}
ROWS: dict[str, Any] = {
    "messages": [[{"role": "user", "content": "?"}]] * 3,
    "responses": ["ab", r"\boxed{4}", "abc"],
    "domains": ["values", "math", "values"],
    "references": [None, "4", None],
}


def _vector() -> tuple[RewardVector, dict[str, Counting]]:
    models = {"values": Counting("helpful", "honest"), "overall": Counting("overall")}
    return RewardVector(KNOWN, models), models


def test_columns_follow_params_and_heads_are_identified_by_name() -> None:
    """The model's heads are helpful, honest; the vector's columns are honest, accuracy, helpful."""
    vector, models = _vector()
    assert (vector.names, vector.extra) == (["honest", "accuracy", "helpful"], ["overall"])
    nan = np.nan
    np.testing.assert_array_equal(vector.score(**ROWS), [[3, nan, 2], [nan, 1, nan], [4, nan, 3]])
    assert (models["values"].calls, models["overall"].calls) == (1, 0)


def test_score_all_includes_objectives_outside_the_vector() -> None:
    scores = _vector()[0].score_all(**ROWS)
    assert list(scores) == ["honest", "accuracy", "helpful", "overall"]
    np.testing.assert_array_equal(scores["overall"], [2, 9, 3])
    assert all(column.dtype == np.float32 for column in scores.values())


def test_the_order_of_objectives_does_not_change_a_score() -> None:
    models = {"values": Counting("helpful", "honest"), "overall": Counting("overall")}
    turned = RewardVector(dict(reversed(KNOWN.items())), models).score_all(**ROWS)
    for name, column in _vector()[0].score_all(**ROWS).items():
        np.testing.assert_array_equal(column, turned[name])


def test_a_model_without_the_head_is_an_error() -> None:
    with pytest.raises(ModelError, match="values has no head for honest, only for helpful"):
        RewardVector(KNOWN, {"values": Counting("helpful"), "overall": Counting("overall")})


def test_scoring_zero_rows() -> None:
    assert _vector()[0].score([], [], [], []).shape == (0, 3)


def test_a_response_without_a_score_is_not_taken_for_one_that_does_not_apply() -> None:
    vector, models = _vector()
    scored = models["values"].score
    models["values"].score = lambda *given: scored(*given) * [[1.0], [np.nan]]  # type: ignore[method-assign]
    with pytest.raises(DataError, match="helpful, honest cannot score 1 of 2 responses"):
        vector.score(**ROWS)
