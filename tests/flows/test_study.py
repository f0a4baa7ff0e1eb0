"""The run of a study, with commands that write what trainings and measurements would write."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from concord.evaluation.study.measure import measured
from concord.evaluation.study.recipe import StudyParams, cells
from concord.objectives import objectives_of
from concord.stage import outputs
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import read, section
from flows import study
from tests.test_recipes import ROOT, stand_in

ENTRY = {
    "method": "dpo", "weights": "each", "pairs": "rollouts", "min_gap": 0.5, "beta": 0.1,
    "training": {"learning_rate": 1e-4, "steps": 2, "batch_size": 14, "micro_batch": 7},
}  # fmt: skip
RECIPE: dict[str, Any] = {
    "world": "dev", "world_seed": 0, "prompts": 4, "seeds": [0, 1], "scales": [0.5, 1.0],
    "steered": "heads", "rivals": ["alone"], "bootstrap": 20,
    "weights": [
        {"math_accuracy": 1, "tutor_accuracy": 1, "harmless": 1},
        {"math_engagement": 1, "tutor_engagement": 1, "helpful": 1},
    ],
    "policies": {
        "heads": {**{k: v for k, v in ENTRY.items() if k != "weights"}, "method": "mah_dpo"},
        "alone": ENTRY,
    },
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a finished run, as far as a study needs it."""
    params = read(ROOT / "params.yaml")
    stand_in(params, tmp_path)
    shutil.copytree(ROOT / "data/raw", tmp_path / "data/raw", dirs_exist_ok=True)
    YAML(typ="safe", pure=True).dump(params, tmp_path / "params.yaml")
    folders = [study.SFT, study.REWARDS]
    folders += [study.PREPARED / name for name in ("prompts", "ratings", "pairs")]
    for path in folders:
        (tmp_path / path).mkdir(parents=True)
    outputs.write_text(tmp_path / study.ANCHORS, "{}")
    return tmp_path


class Commands:
    """Writes plausible outputs, and keeps a list of what was run."""

    def __init__(self) -> None:
        self.run: list[str] = []

    def __call__(self, arguments: list[str], folder: Path, log: Path) -> float:
        self.run.append(f"{folder.name} {' '.join(arguments)}")
        module, *names = arguments
        if module.endswith("measure"):
            recipe = section(StudyParams, read(folder / study.STUDY), "study")
            params = read(folder / "params.yaml")
            assert params["policies"].keys() == {"sft", "heads", "alone_w0", "alone_w1"}
            table = self.answers(recipe, params)
            outputs.write_table(folder / measured(recipe, names[0]), table)
        return 1.5

    @staticmethod
    def answers(recipe: StudyParams, params: dict[str, Any]) -> pd.DataFrame:
        rows = [
            {
                "domain": cell.domain, "line": cell.line, "scale": scale, "kl": scale,
                "prompt_id": str(prompt), "group_id": str(prompt), "length": 5.0,
                "response": "yes", **{f"gold.{name}": 0.1 * prompt for name in cell.weights},
            }
            for cell in cells(recipe, objectives_of(params))
            for scale in recipe.scales
            for prompt in range(recipe.prompts)
        ]  # fmt: skip
        return pd.DataFrame(rows)


def write(root: Path, **changes: Any) -> Path:
    path = root / "toy.yaml"
    YAML(typ="safe", pure=True).dump({**RECIPE, **changes}, path)
    return path


def test_a_study_trains_and_measures_everything_once(root: Path) -> None:
    commands = Commands()
    folder = study.run(write(root), root, 2, commands)
    trained = sorted(line for line in commands.run if "tasks" in line)
    assert trained == [
        f"seed-{seed} tasks.{job}"
        for seed in (0, 1)
        for job in ("policy alone_w0", "policy alone_w1", "policy heads", "rollouts")
    ]
    assert sum("measure" in line for line in commands.run) == 7  # SFT once
    figures = outputs.read_json(folder / "study.json")
    assert figures["regret"]["best"]["overall"]["regret"] == 0.0
    assert "| `alone` | 2 | 3 |" in (folder / "study.md").read_text()
    assert (folder / "study.svg").read_text().startswith("<svg")
    again = Commands()
    study.run(write(root), root, 2, again)
    assert again.run == []


def test_only_what_changed_is_trained_again(root: Path) -> None:
    study.run(write(root), root, 2, Commands())
    heads = {**RECIPE["policies"]["heads"], "beta": 0.2}
    commands = Commands()
    study.run(write(root, policies={**RECIPE["policies"], "heads": heads}), root, 2, commands)
    assert sorted(commands.run) == [
        f"seed-{seed} {module} heads"
        for seed in (0, 1)
        for module in ("concord.evaluation.study.measure", "tasks.policy")
    ]
    commands = Commands()
    study.run(write(root, prompts=3), root, 2, commands)
    assert sum("measure" in line for line in commands.run) == 7
    assert not any(
        "tasks.rollouts" in line or ("alone" in line and "policy" in line) for line in commands.run
    )


def test_another_sft_model_starts_the_study_again(root: Path) -> None:
    study.run(write(root), root, 2, Commands())
    outputs.write_text(root / study.SFT / "model", "another")
    commands = Commands()
    study.run(write(root), root, 2, commands)
    assert sum("tasks." in line for line in commands.run) == 8


def test_a_failed_training_is_named_with_the_end_of_its_output(root: Path) -> None:
    """The real commands fail here, because the models are not there."""
    with pytest.raises(study.StudyError, match=r"tasks.rollouts failed in .*seed-"):
        study.run(write(root), root, 1)


def test_errors_come_before_any_work(root: Path) -> None:
    wrong = {**RECIPE["policies"], "alone": {**ENTRY, "beta": -1}}
    with pytest.raises(ParamsError, match=r"policies.alone_w0.beta"):
        study.run(write(root, policies=wrong), root, 1, Commands())
    (root / study.ANCHORS).unlink()
    with pytest.raises(DataError, match="finish a run first"):
        study.run(write(root), root, 1, Commands())
