"""The labeller of an objective is derived from its properties."""

from typing import Any

import pytest

from concord.objectives import Objective
from concord.rewards.process.labelling import Labelling, derive, derive_all, sampled_domains
from concord.stage.errors import ParamsError

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
def test_a_labeller_without_its_requirements_is_refused(
    objective: Objective, labelling: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        derive(objective, Labelling(**labelling))


def test_domains_with_automatic_labels_are_sampled() -> None:
    """Completions are sampled in a domain if one of its labellers needs them."""
    objectives = {
        "right": CHECKED,
        "fun": Objective(domain="math", description="", reward="values"),
        "helpful": JUDGED,
        "tutor": Objective(domain="tutoring", description="", reward="values"),
    }
    labellings = {
        "fun": Labelling(steps="none"),
        "right": Labelling(),
        "helpful": Labelling(steps="none"),
        "tutor": Labelling(labels="human"),
    }
    derived = derive_all(objectives, labellings, judges=())
    assert sampled_domains(objectives, derived) == {"math": True, "values": False}


@pytest.mark.parametrize(
    ("name", "labelling", "message"),
    [
        ("other", {}, r"process_labels\.objectives\.other: unknown objective; allowed: helpful"),
        ("helpful", {"judge": "strct"}, r"helpful\.judge: 'strct' is not in .*strict"),
        ("helpful", {"labels": "hindsight"}, r"helpful: hindsight labels need a verifier"),
    ],
)
def test_the_error_names_the_key(name: str, labelling: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        derive_all({"helpful": JUDGED}, {name: Labelling(**labelling)}, judges=["strict"])
