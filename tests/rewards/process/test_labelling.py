"""Which maker labels the steps of an objective, by what the objective is."""

from typing import Any

import pytest

from concord.objectives import Objective
from concord.rewards.process.labelling import Labelling, derive

CHECKED = Objective(domain="math", description="", verifier="math_answer")
JUDGED = Objective(domain="values", description="", reward="values")


@pytest.mark.parametrize(
    ("objective", "labelling", "maker"),
    [
        (CHECKED, {}, "hindsight"),
        (CHECKED, {"rollouts": "expensive"}, "hindsight"),
        (CHECKED, {"labels": "human"}, "human"),
        (JUDGED, {}, "majority"),
        (JUDGED, {"rollouts": "expensive"}, "prefix"),
        (JUDGED, {"steps": "none"}, "reward"),
        (JUDGED, {"steps": "none", "labels": "majority"}, "majority"),
    ],
)
def test_the_maker_follows_from_the_objective(
    objective: Objective, labelling: dict[str, Any], maker: str
) -> None:
    assert derive(objective, Labelling(**labelling)).maker == maker


@pytest.mark.parametrize(
    ("objective", "labelling", "message"),
    [
        (JUDGED, {"labels": "hindsight"}, "hindsight labels need a verifier"),
        (CHECKED, {"steps": "none"}, "labels by reward need a judge"),
        (CHECKED, {"labels": "prefix"}, "labels by prefix need a judge"),
    ],
)
def test_a_maker_without_its_means(
    objective: Objective, labelling: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        derive(objective, Labelling(**labelling))
