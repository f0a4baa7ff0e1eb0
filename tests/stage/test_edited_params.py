"""A run during which its values in params.yaml were edited is not recorded."""

import re
import subprocess
from pathlib import Path

import pytest

from concord.stage.closure import ROOT
from concord.stage.edited_params import edited, params_text
from concord.stage.params import read
from tests.chain.tree import dvc, environment

GRAPH = """
stages:
  check:
    cmd: python stage.py
    deps: [params.yaml]
  policy:
    foreach: ${policies}
    do:
      cmd: python stage.py ${key}
      params: [seeds, "policies.${key}"]
      outs: ["${key}.txt"]
"""
PARAMS = "seeds: 1\npolicies: {mah: {steps: 2}, grpo: {steps: 3}}\n"
STAGE = """
from pathlib import Path
from concord.stage.errors import command

def main(name: str) -> None:
    file = Path("params.yaml")
    Path(f"{name}.txt").write_text(file.read_text())
    file.write_text(file.read_text().replace("steps: 3", "steps: 4"))

command(main)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in {"dvc.yaml": GRAPH, "params.yaml": PARAMS, "stage.py": STAGE}.items():
        Path(name).write_text(text)
    return tmp_path


def edit(monkeypatch: pytest.MonkeyPatch, stage: str, old: str, new: str) -> str | None:
    """What a stage says during which params.yaml was edited."""
    monkeypatch.setenv("DVC_STAGE", stage)
    before = params_text()
    Path("params.yaml").write_text(PARAMS.replace(old, new))
    return edited(before)


@pytest.mark.parametrize(
    ("stage", "old", "new", "message"),
    [
        ("policy@mah", "steps: 2", "steps: 5", r"policies\.mah .*'steps': 2.* to .*'steps': 5"),
        ("policy@mah", "seeds: 1\n", "", "seeds .* from 1 to nothing"),
        ("dvc.yaml:policy@grpo", "3}", "3, beta: 1}", r"policies\.grpo was edited"),
        ("check", "steps: 3", "steps: 4", r"^params\.yaml was edited"),
        ("policy@mah", "seeds: 1", "seeds: [", "seeds was edited .* to nothing"),
    ],
)
def test_an_edit_of_a_declared_value_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, stage: str, old: str, new: str, message: str
) -> None:
    assert re.search(message, edit(monkeypatch, stage, old, new) or "")


@pytest.mark.parametrize(
    ("old", "new"), [("steps: 3", "steps: 4"), ("seeds: 1", "seeds:   1  # the same")]
)
def test_other_edits_are_allowed(
    project: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    assert edit(monkeypatch, "policy@mah", old, new) is None


def test_a_stage_that_was_started_by_hand_may_be_edited(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    before = params_text()
    Path("params.yaml").write_text("seeds: 2\n")
    assert edited(before) is None


def test_dvc_records_nothing(project: Path) -> None:
    """The stage edits policies.grpo while it runs: an edit of its own value, or of another's."""
    subprocess.run(dvc("init", "--quiet", "--no-scm"), check=True, env=environment())
    outcomes = []
    for name in ("grpo", "mah"):
        Path("params.yaml").write_text(PARAMS)
        command = dvc("repro", "--single-item", f"policy@{name}")
        env = environment(PYTHONPATH=str(ROOT))
        outcomes.append(
            subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        )
        assert "steps: 4" in Path("params.yaml").read_text()
    assert [done.returncode for done in outcomes] == [255, 0], outcomes
    assert "ParamsError: policies.grpo was edited while the stage ran" in outcomes[0].stderr
    assert list(read("dvc.lock")["stages"]) == ["policy@mah"]
