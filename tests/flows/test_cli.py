"""The console command: what each command starts, what it says, and how errors end it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows import cli
from flows.status import describe
from tests.flows.toy import ROOT, dvc

LISTING = "1111111111111111  concord/a.py\n2222222222222222  concord/b.py\n"
EDITED = LISTING.replace("2222222222222222", "3333333333333333")
EDITED += "4444444444444444  concord/c.py\n"
GRAPH = """
stages:
  check:
    cmd: python -m tasks.check
    deps: [params.yaml]
    outs: [data/code]
    meta: {phase: ingestion}
  prepare:
    cmd: cat data/code/prepare > prepared.txt
    deps: [data/code/prepare, words.txt]
    params: [word]
    outs: [prepared.txt]
    meta: {phase: ingestion}
  sft:
    cmd: cat prepared.txt > sft.txt
    deps: [prepared.txt]
    outs: [sft.txt]
    meta: {phase: rewards}
"""
CHECK = """
from pathlib import Path
Path("data/code").mkdir(parents=True, exist_ok=True)
Path("data/code/prepare").write_text(Path("listing.txt").read_text())
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Records the modules that a command starts, with arguments and folder; none runs."""
    calls: list[tuple[str, ...]] = []

    def record(module: str, *arguments: str, folder: Path | None = None) -> None:
        calls.append((module, *arguments, *([str(folder)] if folder else [])))

    monkeypatch.setattr(cli, "_python", record)
    return calls


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like the root of the project."""
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text("word: hello\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three stages that depend on a listing of code, all up to date."""
    (toy / "dvc.yaml").write_text(GRAPH)
    (toy / "words.txt").write_text("words\n")
    (toy / "listing.txt").write_text(LISTING)
    (toy / "tasks").mkdir()
    (toy / "tasks/check.py").write_text(CHECK)
    monkeypatch.chdir(toy)
    dvc(toy, "repro", "--quiet")
    return toy


def concord(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments))


def clones(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[tuple[str, list[str]]]:
    """Recipes and changes that are cloned, in place of cloning them."""
    calls: list[tuple[str, list[str]]] = []

    def clone(recipe: Path, _root: Path, changes: list[str]) -> Path:
        calls.append((str(recipe), list(changes)))
        return folder

    monkeypatch.setattr(cli, "clone", clone)
    return calls


def test_help_lists_the_commands_without_loading_models() -> None:
    output = concord("--help").output
    for name in ("check", "run", "demo", "status", "report", "regrade"):
        assert f"  {name} " in output
    loaded = "import flows.cli, sys; print({'torch', 'pandas', 'prefect'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_check(project: Path, started: list[tuple[str, ...]]) -> None:
    result = concord("check")
    assert result.exit_code == 0
    assert started == [("tasks.check",)]
    assert "params.yaml is valid" in result.output


def test_run_works_here_on_params_yaml(project: Path, started: list[tuple[str, ...]]) -> None:
    assert concord("run").exit_code == 0
    assert started == [("tasks.check", str(project)), ("flows.align", str(project))]


@pytest.mark.parametrize(
    ("arguments", "cloned"),
    [
        (["recipes/x.yaml"], ("recipes/x.yaml", [])),
        (["recipes/x.yaml", "a.b=1", "c=2"], ("recipes/x.yaml", ["a.b=1", "c=2"])),
        (["a.b=1", "c=2"], ("params.yaml", ["a.b=1", "c=2"])),
        (["params.yaml", "a.b=1"], ("params.yaml", ["a.b=1"])),
    ],
)
def test_run_of_another_recipe_works_in_a_clone(
    project: Path,
    started: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    cloned: tuple[str, list[str]],
) -> None:
    calls = clones(monkeypatch, project / "runs/x")
    result = concord("run", *arguments)
    assert result.exit_code == 0
    assert calls == [cloned]
    assert {call[-1] for call in started} == {str(project / "runs/x")}
    assert f"in {project / 'runs/x'}" in result.output


def test_a_short_params_yaml(
    project: Path, started: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run` works in a clone; what needs DVC says what to do; `use` does it."""
    (project / "dvc.yaml").write_text("stages: {sft: {cmd: x, params: [seeds]}}\n")
    calls = clones(monkeypatch, project / "runs/params")
    output = concord("run").output
    assert "params.yaml is a short recipe, so it runs in a clone. `concord use params" in output
    assert calls == [("params.yaml", [])]
    started.clear()
    for command in ("status", "report"):
        result = concord(command)
        assert result.exit_code == 1
        assert "which DVC cannot read. `concord use params.yaml` writes every" in result.stderr
    assert concord("check").exit_code == 0
    assert concord("use", "params.yaml").exit_code == 0
    assert started == [("flows.recipe", "params.yaml"), ("flows.use_recipe", "params.yaml")]


def test_demo_runs_the_tiny_recipe_and_ends_with_the_page(
    project: Path, started: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = clones(monkeypatch, project / "runs/tiny")
    result = concord("demo")
    assert calls == [("recipes/tiny.yaml", [])]
    assert (ROOT / "recipes/tiny.yaml").is_file()
    assert [call[0] for call in started] == ["tasks.check", "flows.align"]
    assert result.output.splitlines()[-1].endswith(f"{project}/runs/tiny/reports/index.html")


def test_report_and_regrade_start_their_modules(
    project: Path, started: list[tuple[str, ...]]
) -> None:
    (project / "reports/samples").mkdir(parents=True)
    for name in ("front.json", "samples/a.parquet"):
        (project / "reports" / name).write_text("{}")
    assert concord("report").exit_code == 0
    assert concord("regrade", "reports/samples/a.parquet").exit_code == 0
    module = "concord.evaluation.policies.regrade"
    assert started == [("tasks.report",), (module, "reports/samples/a.parquet")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "recipes/none.yaml"], "recipes/none.yaml"),
        (["report"], "holds no results to show"),
        (["regrade", "none.parquet"], "none.parquet does not exist"),
    ],
)
def test_errors_are_one_block_without_a_traceback(
    project: Path, arguments: list[str], message: str
) -> None:
    result = concord(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Error: " in result.stderr
    assert "Traceback" not in result.output


def test_outside_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = concord("check")
    assert result.exit_code == 1
    assert "Change to the root of the project" in result.stderr


def test_a_failing_module_ends_the_command_with_its_status(project: Path) -> None:
    (project / "tasks").mkdir()
    (project / "tasks/check.py").write_text("import sys\nsys.exit('ParamsError: seeds is missing')")
    result = concord("check")
    assert result.exit_code == 1
    assert "is valid" not in result.output


def test_an_unchanged_project_would_rerun_nothing(small: Path) -> None:
    result = concord("status")
    assert result.exit_code == 0, result.output
    assert result.output.strip() == "Everything is up to date: nothing would rerun."


def test_status_says_which_file_of_code_and_which_param_changed(small: Path) -> None:
    (small / "listing.txt").write_text(EDITED)
    text = (small / "params.yaml").read_text()
    (small / "params.yaml").write_text(text.replace("word: hello", "word: goodbye"))
    (small / "words.txt").write_text("other words\n")
    lines = concord("status").output.splitlines()
    assert lines[0] == "prepare"
    assert set(lines[1:5]) == {
        "    code: concord/b.py changed",
        "    code: concord/c.py changed",
        "    params.yaml: word changed",
        "    words.txt changed",
    }
    assert lines[-1] == "1 of 3 stages would run."
    assert "    sft" in lines[lines.index("") :]


def test_status_of_stages_that_never_ran_or_lost_an_output(small: Path) -> None:
    (small / "sft.txt").unlink()
    assert "its output sft.txt is missing" in describe(small)
    lock = small / "dvc.lock"
    lock.unlink()
    assert describe(small).count("has not run yet") == 2


def test_status_without_the_old_listing_still_names_the_code(small: Path) -> None:
    (small / "data/code/prepare").unlink()
    (small / "data/code/prepare").write_text(EDITED)
    for file in (small / ".dvc/cache/files/md5").rglob("*"):
        if file.is_file():
            os.chmod(file, 0o644)
            file.unlink()
    assert "code: a file changed" in describe(small)


def test_inspect_and_score_pass_their_options_on(started: list[tuple[str, ...]]) -> None:
    options = ("--option", "objective=brief", "--option", "scale=[1, 5]")
    assert concord("inspect", "a b.csv", "--format", "trl", *options).exit_code == 0
    given = '{"objective": "brief", "scale": [1, 5]}'
    assert concord("score", "models/x", "f.jsonl", "--objective", "brief").exit_code == 0
    assert started == [
        ("concord.annotations.inspection.inspect_file", "a b.csv", "trl", given),
        ("concord.evaluation.rewards.score_file", "models/x", "f.jsonl", "brief", "", "{}", ""),
    ]


@pytest.mark.parametrize("option", ["objective", "=3", "scale=[1"])
def test_options_that_are_no_assignment_are_refused(option: str) -> None:
    result = concord("inspect", "x.csv", "--option", option)
    assert result.exit_code == 1
    assert f"CommandError: --option {option}" in result.output
