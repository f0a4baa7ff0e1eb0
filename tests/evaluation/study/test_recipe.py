"""The recipe of a study: errors before work starts, and the trainings that it stands for."""

from pathlib import Path
from typing import Any

import pytest

from concord.evaluation.study.recipe import StudyParams, cells, tree_params, variants
from concord.objectives import Objective, objectives_of
from concord.stage.errors import ParamsError
from concord.stage.params import read, section
from tasks import check

ROOT = Path(__file__).parents[3]
RECIPES = sorted((ROOT / "recipes/studies").glob("*.yaml"))
AFTER = {
    "smollm2": "recipes/smollm2-cpu.yaml",
    "smollm2-h100": "recipes/smollm2-h100.yaml",
}
"""Study -> the recipe that it follows; params.yaml for the others."""
OBJECTIVES = {
    name: Objective(domain=domain, description="", reward="all")
    for name, domain in (("right", "math"), ("warm", "math"), ("kind", "chat"))
}


def recipe(**changes: Any) -> dict[str, Any]:
    return {
        "world": "dev", "world_seed": 0, "prompts": 10, "seeds": [0, 1], "scales": [0.5, 1.0],
        "steered": "heads", "rivals": ["alone"],
        "weights": [{"right": 1, "kind": 1}, {"right": 3, "warm": 1, "kind": 1}],
        "policies": {
            "heads": {"method": "mah_dpo"}, "alone": {"method": "dpo", "weights": "each"},
        },
        **changes,
    }  # fmt: skip


def test_a_specialist_is_trained_for_each_weight_vector() -> None:
    study = section(StudyParams, recipe(), "study")
    assert [variant.name for variant in variants(study)] == ["heads", "alone_w0", "alone_w1"]
    assert variants(study)[2].entry["weights"] == {"right": 3, "warm": 1, "kind": 1}


def test_weights_are_normalised_in_each_domain_and_equal_ones_measured_once() -> None:
    study = section(StudyParams, recipe(), "study")
    assert [tuple(cell) for cell in cells(study, OBJECTIVES)] == [
        ("math", 0, {"right": 1.0, "warm": 0.0}),
        ("chat", 0, {"kind": 1.0}),
        ("math", 1, {"right": 0.75, "warm": 0.25}),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": [0.5, 0.8]}, "must contain 1"),
        ({"scales": [1.0, 0.5]}, "ascending"),
        ({"seeds": [1, 1]}, "without duplicates"),
        ({"steered": "head"}, "'head' is not in policies; did you mean heads"),
        ({"rivals": ["best"]}, "'best' is not in policies"),
        ({"world": None}, "`sandbox` needs `world: dev`"),
        ({"protocol": "likelihood"}, "`likelihood` has no world"),
        ({"policies": {"sft": {}, "heads": {}, "alone": {}}}, "always measured"),
    ],
)
def test_a_wrong_recipe_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        section(StudyParams, recipe(**changes), "study")


def test_weights_need_a_positive_weight_in_every_domain() -> None:
    study = section(StudyParams, recipe(weights=[{"right": 1}]), "study")
    with pytest.raises(ParamsError, match=r"weights\[0\]: no objective of domain chat"):
        cells(study, OBJECTIVES)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid(path: Path) -> None:
    params = read(ROOT / AFTER.get(path.stem, "params.yaml"))
    study = section(StudyParams, read(path), path.stem)
    assert cells(study, objectives_of(params))
    assert not list(check.section_problems(tree_params(params, study, seed=3)))
