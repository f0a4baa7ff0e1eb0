"""A missing prompt, demonstration or label is an error that says what to add."""

import pandas as pd
import pytest

from concord.objectives import Objective
from concord.prepared.requirements import require_labels, require_prompts
from concord.prepared.splits import SPLITS
from concord.stage.errors import DataError, ParamsError

OBJECTIVES = {
    "fun": Objective("math", "", reward="r"),
    "overall": Objective("chat", "", reward="r", in_vector=False),
}


def _parts(pairs: int, grades: list[float]) -> dict[str, dict[str, pd.DataFrame]]:
    """The same number of pairs and the same grades of `fun` in every split."""
    rating = {"objective": "fun", "kind": "rating", "scale_low": 0.0, "scale_high": 1.0}
    columns = [*rating, "rating"]
    ratings = pd.DataFrame([{**rating, "rating": grade} for grade in grades], columns=columns)
    return {
        "pairs": dict.fromkeys(SPLITS, pd.DataFrame({"objective": ["fun"] * pairs})),
        "ratings": dict.fromkeys(SPLITS, ratings),
    }


def _prompts(train: int, demonstrations: int) -> dict[str, dict[str, pd.DataFrame]]:
    one = pd.DataFrame({"domain": ["math"]})
    prompts = {"train": pd.DataFrame({"domain": ["math"] * train}), "validation": one, "test": one}
    demonstration = pd.DataFrame({"response": ["a"] * demonstrations})
    return {"prompts": prompts, "demonstrations": {"train": demonstration}}


def test_every_domain_of_the_reward_vector_needs_prompts() -> None:
    """The domain `chat` has no objective in the reward vector, so it needs none."""
    require_prompts(_prompts(train=1, demonstrations=1), OBJECTIVES)
    with pytest.raises(DataError, match=r"the domain math has \{'train': 0"):
        require_prompts(_prompts(train=0, demonstrations=1), OBJECTIVES)
    with pytest.raises(DataError, match="there are no demonstrations"):
        require_prompts(_prompts(train=1, demonstrations=0), OBJECTIVES)


@pytest.mark.parametrize(("pairs", "grades"), [(1, []), (0, [0.0, 1.0]), (1, [1.0])])
def test_pairs_or_different_grades_are_enough(pairs: int, grades: list[float]) -> None:
    require_labels(_parts(pairs, grades), OBJECTIVES, {"r": ["fun"]}, ())


@pytest.mark.parametrize(
    ("grades", "implied", "message"),
    [
        ([], (), r"fun has \{'train': 0.* labels.*remove the objective"),
        ([0.0, 1.0], ("r",), r"fun has \{'train': 0.* pairs.*or set labels: given"),
        ([1.0, 1.0], (), r"all train labels of the objective fun have the same value"),
    ],
)
def test_labels_that_are_not_enough(
    grades: list[float], implied: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        require_labels(_parts(0, grades), OBJECTIVES, {"r": ["fun"]}, implied)


def test_an_unknown_objective_is_an_error() -> None:
    with pytest.raises(ParamsError, match=r"reward_models\.r\.objectives\.funny: unknown"):
        require_labels(_parts(1, []), OBJECTIVES, {"r": ["funny"]}, ())
