"""A stage whose parameters or deps were edited while it ran fails, so that DVC records nothing."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from concord.stage import recorded_inputs
from concord.stage.closure import ROOT
from concord.stage.errors import ChangedInputError, ParamsError
from concord.stage.params import read
from concord.stage.recorded_inputs import IGNORED, SMALL, RecordedInputs, unchanged_inputs
from concord.stage.stage_graph import ABSENT, declared, value_at

PARAMS = "policies:\n  mah_dpo: {beta: 0.1, steps: 4}\nrollouts: {samples: 4}\nseeds: {data: 0}\n"
GRAPH = f"""
stages:
  policy:
    foreach: ${{policies}}
    do:
      cmd: {sys.executable} stage.py ${{key}}
      deps: [data]
      params: [seeds, "policies.${{key}}"]
      outs: ["out_${{key}}"]
"""
STAGE = """
from pathlib import Path
from concord.stage.command import command
from concord.stage.params import read

def main(name: str) -> None:
    Path(f"out_{name}").write_text(str(read()["policies"][name]["beta"]))
    if (edit := Path("edit")).exists():
        Path("params.yaml").write_text(edit.read_text())
        edit.unlink()

if __name__ == "__main__":
    command(main)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a project whose stage `policy@mah_dpo` is about to run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "policy@mah_dpo")
    Path("params.yaml").write_text(PARAMS)
    Path("dvc.yaml").write_text(GRAPH)
    Path("data").mkdir()
    Path("data/rows").write_text("one\n")
    Path("data/large").write_bytes(bytes(SMALL + 1))
    return tmp_path


def edit(old: str, new: str) -> None:
    text = Path("params.yaml").read_text()
    assert old in text
    Path("params.yaml").write_text(text.replace(old, new))


def test_dvc_records_nothing_of_a_run_with_edited_params(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_STAGE")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    Path("stage.py").write_text(STAGE)
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], check=True)
    Path("edit").write_text(PARAMS.replace("0.1", "0.2"))
    first = subprocess.run([*dvc, "repro"], capture_output=True, text=True, check=False)
    assert first.returncode != 0
    assert "ChangedInputError: policies.mah_dpo.beta (0.1 -> 0.2) was edited" in first.stderr
    assert "Traceback" not in first.stderr
    assert not Path("dvc.lock").exists()
    assert not Path(".dvc/cache/runs").exists()
    assert Path("out_mah_dpo").read_text() == "0.1"
    subprocess.run([*dvc, "repro"], capture_output=True, check=True)
    recorded = read("dvc.lock")["stages"]["policy@mah_dpo"]["params"]["params.yaml"]
    assert recorded["policies.mah_dpo"]["beta"] == 0.2
    assert Path("out_mah_dpo").read_text() == "0.2"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("beta: 0.1", "beta: 0.2", r"policies\.mah_dpo\.beta \(0\.1 -> 0\.2\) was edited"),
        (", steps: 4", "", r"policies\.mah_dpo\.steps \(4 -> absent\) was"),
        ("data: 0", "data: false", r"seeds\.data \(0 -> False\) was"),
        ("steps: 4", "steps: 4, x: y", r"policies\.mah_dpo\.x \(absent -> 'y'\) was"),
        ("mah_dpo: {beta: 0.1, steps: 4}", "grpo: {}", r"policies\.mah_dpo \(.* -> absent\) was"),
    ],
)
def test_an_edited_parameter_is_named(project: Path, old: str, new: str, named: str) -> None:
    sentence = f"^{named}.*, so nothing was recorded; run again$"
    with pytest.raises(ChangedInputError, match=sentence), unchanged_inputs():
        edit(old, new)


def test_other_edits_of_params_are_no_reason_to_fail(project: Path) -> None:
    with unchanged_inputs():
        edit("samples: 4", "samples: 3")  # of another stage
        edit("beta: 0.1, steps: 4", "steps: 4, beta: 1.0e-1")
        edit("seeds:", "# a comment\nseeds:")


def test_params_that_are_half_saved(project: Path) -> None:
    with pytest.raises(ParamsError, match="not valid YAML"), unchanged_inputs():
        edit("steps: 4}", "steps:")


def test_edited_added_and_removed_files_are_named(project: Path) -> None:
    inputs = RecordedInputs("policy@mah_dpo")
    Path("data/rows").write_text("two\n")
    Path("data/new").touch()
    os.utime("data/large", (1, 1))  # its content is not read
    assert inputs.changes() == ["data/large", "data/new", "data/rows"]


def test_many_edits_are_counted(project: Path) -> None:
    inputs = RecordedInputs("policy@mah_dpo")
    for name in "abcd":
        Path("data", name).touch()
    with pytest.raises(ChangedInputError, match=r"^data/a, data/b, data/c and 1 more were edited"):
        inputs.require_unchanged()


def test_the_same_content_written_again_is_no_edit(project: Path) -> None:
    inputs = RecordedInputs("policy@mah_dpo")
    Path("data/rows").write_text("one\n")
    os.utime("data/rows", (1, 1))
    Path("data/__pycache__").mkdir()
    Path("data/__pycache__/x.pyc").touch()
    Path("data/.gitignore").touch()
    assert inputs.changes() == []


def test_a_removed_dep_is_named(project: Path) -> None:
    inputs = RecordedInputs("policy@mah_dpo")
    (project / "data").rename("gone")
    assert inputs.changes() == ["data/large", "data/rows"]


def test_the_error_of_a_stage_is_more_important(project: Path) -> None:
    with pytest.raises(ZeroDivisionError), unchanged_inputs():
        1 / Path("data/new").write_text("")  # an edit, and an error


def test_a_stage_started_by_hand_records_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_STAGE")
    with unchanged_inputs():
        edit("beta: 0.1", "beta: 0.2")


def test_an_edit_is_printed_while_the_stage_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recorded_inputs, "SECONDS", 0.01)
    printed = ""
    with unchanged_inputs():
        edit("beta: 0.1", "beta: 0.2")
        deadline = time.monotonic() + 20
        while not printed and time.monotonic() < deadline:
            time.sleep(0.01)
            printed = capsys.readouterr().err
        edit("beta: 0.2", "beta: 0.1")  # in time
    assert "warning: policies.mah_dpo.beta (0.1 -> 0.2) was edited" in printed


def test_what_the_graph_declares() -> None:
    graph, params = read(ROOT / "dvc.yaml"), read(ROOT / "params.yaml")
    keys, deps = declared("policy@mah_dpo", graph, params)
    assert {"seeds", "policies.mah_dpo"} <= {*keys}
    assert "data/code/policy@mah_dpo" in deps
    source, entry = next(iter(params["sources"].items()))
    assert entry["path"] in declared(f"ingest@{source}", graph, params)[1]
    assert params["model"]["files"] in declared("../dvc.yaml:sft", graph, params)[1]
    assert declared("another", graph, params) == ([], [])


def test_every_declared_parameter_of_the_default_recipe_exists() -> None:
    graph, params = read(ROOT / "dvc.yaml"), read(ROOT / "params.yaml")
    for name, stage in graph["stages"].items():
        items = params[stage["foreach"].strip("${}")] if "foreach" in stage else [""]
        for item in items:
            keys, deps = declared(f"{name}@{item}" if item else name, graph, params)
            assert not [key for key in keys if value_at(params, key) is ABSENT]
            assert not [dep for dep in deps if "$" in dep or dep == str(ABSENT)]


def test_what_dvc_ignores_everywhere() -> None:
    lines = (ROOT / ".dvcignore").read_text(encoding="utf-8").splitlines()
    assert {line for line in lines if line[:1] not in ("", "#", "/")} <= IGNORED
