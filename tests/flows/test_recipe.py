"""Short recipes: completed, explained, refused, and run in a clone with their own graph."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from concord.stage.closure import ROOT
from concord.stage.errors import ParamsError
from concord.stage.params import read
from concord.stage.stage_graph import is_short
from flows.clone import CloneError, complete_text
from flows.recipe import ORDER, complete
from tasks import check

MINIMAL = ROOT / "recipes/minimal.yaml"
FULL = [ROOT / "params.yaml", ROOT / "recipes/tiny.yaml", ROOT / "recipes/smollm2-h100.yaml"]
GRAPH = ROOT / "dvc.yaml"


def loaded(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def edited(path: str, value: Any) -> dict[str, Any]:
    """The minimal recipe with one key set, or removed if the value is `...`."""
    params = copy.deepcopy(read(MINIMAL))
    *parents, last = path.split("/")
    mapping = params
    for key in parents:
        mapping = mapping.setdefault(key, {})
    if value is ...:
        del mapping[last]
    else:
        mapping[last] = value
    return params


def test_the_minimal_recipe_is_short_and_complete_after_completion() -> None:
    lines = [line for line in MINIMAL.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 25
    recipe = complete(read(MINIMAL), ROOT)
    assert is_short(read(MINIMAL), GRAPH)
    assert set(recipe.left_out) == {"process_labels", "process_reward", "rollouts"}
    assert set(recipe.params) == set(ORDER) - {*recipe.left_out, "budget", "checks", "retrain"}
    assert recipe.params["select"]["policy"] == "steered"
    assert recipe.params["policies"]["sft"] == {"method": "reference"}
    assert recipe.params["evaluate"]["protocol"] == "judged"
    assert {s["prompts"] for s in recipe.params["sources"].values()} == {"plants"}


@pytest.mark.parametrize("path", [*FULL, MINIMAL], ids=lambda path: path.stem)
def test_the_explanation_can_be_pasted(path: Path) -> None:
    """It says the same as the recipe, and completing it again changes nothing."""
    recipe = complete(read(path), ROOT)
    pasted = loaded(recipe.text(path.name))
    assert pasted == json.loads(json.dumps(recipe.params))
    again = complete(pasted, ROOT)
    assert again.params == recipe.params
    assert again.left_out == recipe.left_out
    for key, content in read(path).items():
        assert _includes(recipe.params[key], content), key


def _includes(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return all(key in whole and _includes(whole[key], value) for key, value in part.items())
    return bool(whole == part)


def test_every_line_of_the_explanation_says_where_the_value_comes_from() -> None:
    text = complete(read(MINIMAL), ROOT).text("minimal.yaml")
    values = [line for line in text.splitlines() if not line.startswith("#")]
    leaves = [line for line in values if not line.partition("#")[0].rstrip().endswith(":")]
    assert len(leaves) > 100
    assert not [line for line in leaves if "# given" not in line and "# default" not in line]
    given = [line for line in leaves if "# given" in line]
    assert any(line.strip().startswith("path: data/raw/plants/pairs.csv") for line in given)
    (seed,) = [line for line in leaves if line.strip().startswith("sampling:")]
    assert seed.endswith("# default: Seed for sampling from models.")
    without = [line for line in leaves if line.rstrip().endswith(("# given", "# default"))]
    assert all(line.strip().startswith("method:") for line in without), without


def test_given_values_stay() -> None:
    params = edited("evaluate/sweep", 3)
    params["objectives"]["friendly"]["reward"] = "mine"
    params["reward_models"] = {"mine": {"objectives": {"friendly": {}}, "architecture": "probe"}}
    whole = complete(params, ROOT).params
    assert whole["evaluate"]["sweep"] == 3
    assert whole["objectives"]["friendly"]["reward"] == "mine"
    assert list(whole["reward_models"]) == ["mine"]
    with pytest.raises(ParamsError, match=r"thorough\.reward: unknown reward model 'plants'"):
        check.run(whole, ROOT)


def test_a_training_may_be_given_in_part() -> None:
    params = edited("sft/training", {"batch_size": 6, "epochs": 1})
    params["policies"]["steered"]["training"] = {"learning_rate": 1.0e-3}
    whole = complete(params, ROOT).params
    sft, steered = whole["sft"]["training"], whole["policies"]["steered"]["training"]
    assert (sft["batch_size"], sft["micro_batch"], sft["epochs"]) == (6, None, 1.0)
    assert (sft["steps"], sft["learning_rate"]) == (None, 1e-4)
    assert (steered["learning_rate"], steered["steps"], steered["batch_size"]) == (1e-3, 75, 42)


def test_a_verifier_needs_no_reward_model() -> None:
    params = edited(
        "objectives", {"right": {"domain": "d", "description": "", "verifier": "math_answer"}}
    )
    recipe = complete(params, ROOT)
    assert {"reward_models", "evaluate_rewards"} <= set(recipe.left_out)
    assert recipe.params["anchors"]["prompts"] > 0


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model", ..., r"model\.name is missing|model is missing"),
        ("sources", ..., "sources is missing; add it"),
        ("policies", ..., "policies is missing; add it"),
        ("objectives", 3, "objectives must be a mapping"),
        ("objectives/friendly/domian", "x", r"objectives\.friendly\.domian is an unknown key; did"),
        ("policies/steered/method", "mah_dqo", "'mah_dqo' is unknown; did you mean mah_dpo"),
        ("polices", {}, "polices is an unknown key; did you mean policies"),
        ("sft", {"steps": 3}, r"sft\.steps is an unknown key"),
        ("sft", 3, r"sft: "),
        ("model", None, r"model: "),
        ("sources", {"a": None}, r"sources\.a: "),
        ("sources", {"a": {"format": ["table"], "path": "a.csv"}}, r"sources\.a\.format: "),
        ("policies", ["dpo"], r"policies must be a mapping with at least one name"),
        (
            "policies/steered",
            {"method": ["dpo"]},
            r"policies\.steered\.method: \['dpo'\] is unknown",
        ),
        ("objectives/friendly/domain", {}, r"objectives\.friendly\.domain: "),
        ("evaluate", [], r"evaluate: "),
        ("prepare/test", 0.9, r"leave no data to train on"),
        ("evaluate/protocol", "likelyhood", r"evaluate\.protocol: .*'likelihood'"),
    ],
)
def test_mistakes_are_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(ParamsError, match=message) as error:
        complete(edited(path, value), ROOT, "mine.yaml")
    assert str(error.value).startswith("mine.yaml is invalid:")


def test_a_missing_section_that_a_stage_needs_is_named() -> None:
    params = read(ROOT / "params.yaml")
    del params["anchors"]
    with pytest.raises(ParamsError, match=r"anchors is missing, and policies\.\w+ needs it"):
        check.run(params, ROOT)
    del params["process_labels"]
    with pytest.raises(ParamsError, match=r"process_labels, anchors: missing, and dvc\.yaml reads"):
        check.run(params, ROOT, graph=GRAPH)


def test_changes_of_a_short_recipe() -> None:
    text = complete_text(MINIMAL, ROOT, ["evaluate.protocol=likelihood", "sft.training.epochs=1"])
    params = loaded(text)
    assert params["sft"]["training"]["epochs"] == 1.0
    assert "anchors" not in params
    with pytest.raises(CloneError, match=r"no key evaluate\.protocoll"):
        complete_text(MINIMAL, ROOT, ["evaluate.protocoll=likelihood"])


def test_the_command_checks_and_explains(tmp_path: Path) -> None:
    for name in ("models", "templates"):
        (tmp_path / name).symlink_to(ROOT / name)
    plants = tmp_path / "data/raw/plants"
    plants.mkdir(parents=True)
    (plants / "pairs.csv").write_text("question,first,second,better\nWhy?,Yes.,No.,a\n")
    (plants / "ratings.jsonl").write_text(
        '{"question": "Why?", "answer": "So.", "person": "ann", "objective": "friendly", '
        '"rating": 4}'
    )
    shutil.copy(MINIMAL, tmp_path / "mine.yaml")
    command = [sys.executable, "-m", "flows.recipe", "mine.yaml"]
    env = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mine.yaml is valid")
    done = subprocess.run(
        [*command, "--explain"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert loaded(done.stdout)["model"]["files"] == "models/base"
    (plants / "pairs.csv").unlink()
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "sources.pairs.path: data/raw/plants/pairs.csv does not exist" in done.stderr
