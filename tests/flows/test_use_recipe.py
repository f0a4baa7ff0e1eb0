"""`concord use`: a short recipe becomes params.yaml with every value, and dvc.yaml its graph."""

import re
import shutil
from pathlib import Path

import pytest

from concord.release.repository import Repository
from concord.stage.errors import ParamsError
from concord.stage.params import read
from concord.stage.stage_graph import OPTIONAL_STAGES, absent_keys
from flows.clone import clone
from flows.graph import GraphError
from flows.use_recipe import UseError, use
from tests.flows.test_clone import git
from tests.flows.toy import ROOT

ROLLOUTS = "policies:\n  steered: {method: mah_dpo, pairs: rollouts}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of the project as far as `use` reads it, committed, with the data of the recipe."""
    for name in ("dvc.yaml", "params.yaml", "dvc.lock"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    for name in ("models", "templates", "concord", "tasks"):
        (tmp_path / name).symlink_to(ROOT / name)
    plants = tmp_path / "data/raw/plants"
    plants.mkdir(parents=True)
    (plants / "pairs.csv").write_text("question,first,second,better\nWhy?,Yes.,No.,a\n")
    (plants / "ratings.jsonl").write_text(
        '{"question": "Why?", "answer": "So.", "person": "ann", "objective": "friendly", '
        '"rating": 4}\n'
    )
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/front.json").write_text("{}\n")
    (tmp_path / "short.yaml").write_text((ROOT / "recipes/minimal.yaml").read_text())
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "the project")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def optional(project: Path) -> set[str]:
    """The optional stages in dvc.yaml."""
    return set(OPTIONAL_STAGES.values()) & set(read(project / "dvc.yaml")["stages"])


def test_a_short_recipe_and_back(project: Path) -> None:
    """What DVC reads is there, the record is gone, and no stage is lost for good."""
    assert "every value of short.yaml" in use(Path("short.yaml"), project)
    assert not absent_keys(read(project / "params.yaml"), project / "dvc.yaml")
    assert read(project / "params.yaml")["objectives"]["friendly"]["domain"] == "plants"
    assert optional(project) == {"reward_model", "anchors", "evaluate_rewards"}
    assert not (project / "dvc.lock").exists()
    assert not (project / "reports").exists()
    assert "nothing was changed" in use(Path("params.yaml"), project)

    git(project, "commit", "--all", "--quiet", "--message", "short")
    text = (project / "short.yaml").read_text()
    (project / "other.yaml").write_text(text[: text.index("policies:")] + ROLLOUTS)
    with pytest.raises(GraphError, match=r"no stage rollouts, which other\.yaml needs") as error:
        use(Path("other.yaml"), project)
    (command,) = re.findall(r"git (checkout \w+ -- dvc\.yaml)", str(error.value))
    with pytest.raises(GraphError, match=r"no stage rollouts, which other\.yaml needs"):
        clone(Path("other.yaml"), project)
    git(project, *command.split())
    git(project, "commit", "--all", "--quiet", "--message", "all stages")
    use(Path("other.yaml"), project)
    assert "rollouts" in optional(project)


def test_what_is_not_committed_is_not_replaced(project: Path) -> None:
    """The recipe itself may be params.yaml, before it was ever committed."""
    shutil.copyfile(project / "short.yaml", project / "params.yaml")
    with pytest.raises(UseError, match=r"^params\.yaml: changes that are not committed would be"):
        use(Path("short.yaml"), project)
    (project / "reports/front.json").write_text("[]\n")
    with pytest.raises(UseError, match=r"^reports/front\.json: changes .* commit them first"):
        use(Path("params.yaml"), project)
    assert (project / "dvc.lock").exists()
    git(project, "checkout", "reports")
    use(Path("params.yaml"), project)
    assert Repository(project).git("status", "--porcelain").split() == [
        *("D", "dvc.lock", "M", "dvc.yaml", "M", "params.yaml", "D", "reports/front.json")
    ]


def test_an_invalid_recipe_changes_nothing(project: Path) -> None:
    (project / "data/raw/plants/pairs.csv").unlink()
    with pytest.raises(ParamsError, match=r"short\.yaml is invalid:\nsources\.pairs\.path: .* not"):
        use(Path("short.yaml"), project)
    assert Repository(project).git("status", "--porcelain") == "D data/raw/plants/pairs.csv"
