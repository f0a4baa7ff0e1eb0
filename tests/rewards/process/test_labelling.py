"""The labeller of an objective is derived from its properties."""

from typing import Any

import pytest

from concord.objectives import Objective
from concord.rewards.process.labelling import Labelling, derive

CHECKED = Objective(domain="math", description="", verifier="math_answer")
JUDGED = Objective(domain="values", description="", reward="values")


@pytest.mark.parametrize(
    ("objective", "labelling", "labeller"),
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
def test_the_labeller_is_derived_from_the_objective(
    objective: Objective, labelling: dict[str, Any], labeller: str
) -> None:
    assert derive(objective, Labelling(**labelling)).labeller == labeller


@pytest.mark.parametrize(
    ("objective", "labelling", "message"),
    [
        (JUDGED, {"labels": "hindsight"}, "hindsight labels need a verifier"),
        (CHECKED, {"steps": "none"}, "reward labels need a judge"),
        (CHECKED, {"labels": "prefix"}, "prefix labels need a judge"),
    ],
)
def test_a_labeller_without_its_requirements(
    objective: Objective, labelling: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        derive(objective, Labelling(**labelling))
