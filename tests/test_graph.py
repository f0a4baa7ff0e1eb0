"""dvc.yaml: every stage depends on all the code that it can load and on no other, and says what the flow needs to know.

check -> ingest@<source> -> prepare -> sft -> reward_model@<group> -> process_labels -> process_reward
  -> anchors -> rollouts -> policy@<name> -> evaluate@<name> -> front -> select -> gate -> export -> report
"""

import ast
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flows.graph import of_phase, picture, read_graph
from tasks.check import STAGES
from tasks.policy import METHODS
from tasks.stage.closure import ROOT, local_imports
from tasks.stage.params import read

RECIPES = [
    str(path.relative_to(ROOT))
    for path in [ROOT / "params.yaml", *sorted(ROOT.glob("recipes/*.yaml"))]
    if "policies" in read(path)
]
ENTRIES: dict[str, Any] = {name: entry.get("do", entry) for name, entry in read(ROOT / "dvc.yaml")["stages"].items()}
STARTS_RUNTIME = "tasks/stage/runtime.py"


def declared(name: str) -> set[str]:
    """The files of code among a stage's deps; the method of a policy stands for each that there is."""
    found = {dep for dep in ENTRIES[name]["deps"] if dep.startswith("tasks/")}
    if "tasks/policies/${item.method}.py" in found:
        found -= {"tasks/policies/${item.method}.py"}
        found |= {path_of(module) for module in METHODS.values()}
    return found


def path_of(module: str) -> str:
    return f"{module.replace('.', '/')}.py"


def closure(name: str) -> set[str]:
    """Files that the stage's module can load, but for `__init__.py` files that hold nothing but a docstring."""
    files = local_imports(ROOT / f"tasks/{name}.py")
    if name == "policy":  # imports the module of its method by name
        files |= {file for module in METHODS.values() for file in local_imports(ROOT / path_of(module))}
    return {str(file.relative_to(ROOT)) for file in files if not holds_nothing(file)}


def holds_nothing(file: Path) -> bool:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return file.name == "__init__.py" and all(isinstance(node, ast.Expr) for node in body)


@pytest.mark.parametrize("name", [name for name in ENTRIES if name != "check"])
def test_deps_are_the_import_closure(name: str) -> None:
    code = {file for file in declared(name) if file.endswith(".py")}
    missing, needless = closure(name) - code, code - closure(name)
    assert not missing, f"dvc.yaml: add to the deps of {name}:\n" + "\n".join(f"- {file}" for file in sorted(missing))
    assert not needless, f"dvc.yaml: take out of the deps of {name}:\n" + "\n".join(sorted(needless))


def test_gold_is_seen_by_labels_and_evaluation_alone() -> None:
    seeing = {name for name in ENTRIES if any(file.startswith("tasks/sandbox/") for file in closure(name))}
    assert seeing == {"check", "ingest", "evaluate", "evaluate_rewards"}


def test_check_depends_on_all_code_and_every_param() -> None:
    assert {"tasks", "params.yaml"} <= set(ENTRIES["check"]["deps"])


@pytest.mark.parametrize("name", ENTRIES)
def test_a_stage_that_runs_models_waits_for_a_gpu(name: str) -> None:
    assert ENTRIES[name]["meta"].get("gpu", False) == (STARTS_RUNTIME in closure(name) and name != "check")


@pytest.mark.parametrize("name", ENTRIES)
def test_the_command_is_the_stages_own_module(name: str) -> None:
    assert ENTRIES[name]["cmd"] in (f"python -m tasks.{name}", f"python -m tasks.{name} ${{key}}")
    assert ENTRIES[name]["meta"]["timeout"] > 0


def test_the_listing_of_tasks_is_the_graph() -> None:
    assert {path.stem for path in (ROOT / "tasks").glob("*.py")} - {"__init__"} == set(ENTRIES)


def test_budgets_may_name_every_stage() -> None:
    assert set(STAGES) == set(ENTRIES)


def test_no_out_is_tracked_by_git() -> None:
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    outs = [out for entry in ENTRIES.values() for out in entry.get("outs", []) if isinstance(out, str)]
    places = [out.partition("${key}")[0] for out in outs]
    assert not [file for file in kept for place in places if file == place or file.startswith(place.rstrip("/") + "/")]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_makes_a_graph(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    shutil.copyfile(ROOT / recipe, tmp_path / "params.yaml")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    monkeypatch.chdir(tmp_path)
    params, stages = read(), read_graph()
    names = {stage.name for stage in stages}
    for prefix, key in (("ingest", "sources"), ("reward_model", "reward_models"), ("policy", "policies")):
        assert {f"{prefix}@{name}" for name in params[key]} <= names
    last = next(stage for stage in stages if stage.name == "report")
    assert {f"evaluate@{name}" for name in params["policies"]} <= set(last.upstream)
    assert of_phase(stages, "ingestion")[0].name == "check"


def test_the_readmes_picture_is_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"```\n{picture()}\n```" in text, "paste what `python -m flows.graph` prints into the README"
