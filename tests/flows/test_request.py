"""What a run is to do: recipes, weights and stages, checked before any work."""

from pathlib import Path
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema

from concord.stage.errors import ConcordError
from flows import labels
from flows.align import align
from flows.clone import CloneError
from flows.graph import Meta, Stage
from flows.request import RequestError, chosen, folder_of
from tests.flows.test_clone import git
from tests.flows.toy import PARAMS

META = Meta(phase="rewards")
STAGES = [
    Stage("check", META, ()),
    Stage("sft", META, ("check",)),
    Stage("policy@a", META, ("sft",)),
    Stage("policy@b", META, ("sft",)),
    Stage("front", META, ("policy@a", "policy@b")),
]
WEIGHED = PARAMS + "select: {policy: a, weights: {helpful: 0.5, honest: 0.5}}\n"


@pytest.fixture
def project(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy project with weights, committed."""
    (toy / ".gitignore").write_text(".dvc/cache\n.dvc/tmp\n.dvc/config.local\n/runs/\n")
    (toy / "params.yaml").write_text(WEIGHED)
    (toy / "recipes").mkdir()
    (toy / "recipes/other.yaml").write_text(WEIGHED.replace("word: hello", "word: goodbye"))
    git(toy, "add", "--all")
    git(toy, "commit", "--quiet", "--message", "toy")
    monkeypatch.chdir(toy)
    return toy


def test_the_form_has_a_typed_field_for_each_parameter() -> None:
    fields: dict[str, Any] = parameter_schema(align.fn).properties
    assert {name: field["type"] for name, field in fields.items()} == {
        "recipe": "string",
        "weights": "object",
        "stages": "array",
        "force": "boolean",
    }
    assert fields["weights"]["additionalProperties"] == {"type": "number", "minimum": 0}
    assert fields["stages"]["items"] == {"type": "string"}
    assert [field["default"] for field in fields.values()] == ["params.yaml", {}, [], False]
    assert all(len(field["description"]) > 30 for field in fields.values())


@pytest.mark.parametrize(
    ("names", "todo", "named"),
    [
        ([], ["check", "sft", "policy@a", "policy@b", "front"], None),
        (["sft"], ["check", "sft"], {"sft"}),
        (["policy@b"], ["check", "sft", "policy@b"], {"policy@b"}),
        (["policy"], ["check", "sft", "policy@a", "policy@b"], {"policy@a", "policy@b"}),
    ],
)
def test_stages_are_chosen_with_what_they_depend_on(
    names: list[str], todo: list[str], named: set[str] | None
) -> None:
    stages, chosen_names = chosen(STAGES, names)
    assert [stage.name for stage in stages] == todo
    assert chosen_names == (named or {stage.name for stage in STAGES})


def test_an_unknown_stage_is_one_sentence() -> None:
    with pytest.raises(RequestError, match=r"'polisy' is not in dvc\.yaml; did you mean policy"):
        chosen(STAGES, ["polisy"])


def test_the_project_itself_needs_no_clone(project: Path) -> None:
    with folder_of("params.yaml", {}) as folder:
        assert folder == project == Path.cwd()
    assert not (project / "runs").exists()


def test_a_recipe_with_weights_runs_in_its_clone(project: Path) -> None:
    with folder_of("recipes/other.yaml", {"helpful": 0.75}) as folder:
        assert folder == project / "runs/other-helpful-0.75" == Path.cwd()
        text = (folder / "params.yaml").read_text()
    assert Path.cwd() == project
    assert "helpful: 0.75" in text
    assert "honest: 0.5" in text
    assert "word: goodbye" in text
    assert (project / "params.yaml").read_text() == WEIGHED


@pytest.mark.parametrize(
    ("recipe", "weights", "error", "message"),
    [
        ("recipes/none.yaml", {}, CloneError, r"none\.yaml does not exist; recipes here: .*other"),
        ("params.yaml", {"helpfull": 1.0}, RequestError, "no weight for 'helpfull'; did you mean"),
        ("params.yaml", {"helpful": -1.0}, RequestError, "helpful is -1, but a weight is finite"),
        ("params.yaml", {"helpful": float("nan")}, RequestError, "helpful is nan"),
        ("params.yaml", {"helpful": 0.0, "honest": 0.0}, RequestError, "weights: all are 0"),
    ],
)
def test_invalid_parameters_are_one_sentence_and_cost_no_work(
    project: Path, recipe: str, weights: dict[str, float], error: type[ConcordError], message: str
) -> None:
    with pytest.raises(error, match=message) as raised, folder_of(recipe, weights):
        pass
    assert "\n" not in str(raised.value)
    assert not (project / "runs").exists()


def test_two_recipes_have_different_artifacts() -> None:
    folder = Path("/project")
    one = labels.label("recipes/tiny.yaml", {"helpful": 0.6}, folder)
    two = labels.label("recipes/tiny.yaml", {"helpful": 0.7}, folder)
    assert (one, two) == ("tiny helpful=0.6", "tiny helpful=0.7")
    assert labels.key("results", one) == "results-tiny-helpful-0-6" != labels.key("results", two)
    assert labels.label("params.yaml", {}, folder / "runs/minimal") == "minimal"
    assert labels.label("params.yaml", {}, folder) == "params"
