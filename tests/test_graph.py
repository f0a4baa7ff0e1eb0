"""dvc.yaml: every stage depends on its code listing, and has the settings that the flow needs.

check -> ingest@<source> -> prepare -> sft -> reward_model@<group> -> process_labels
  -> process_reward -> anchors -> rollouts -> policy@<name> -> evaluate@<name> -> front -> select
  -> gate -> export -> report
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from concord import code
from concord.stage.closure import ROOT
from concord.stage.params import read
from concord.stage.stage_graph import absent_keys, graph_of, is_short, write_graph
from flows.graph import Stage, of_phase, picture, read_graph
from flows.recipe import complete
from tasks.check import STAGES

RECIPES = [
    str(path.relative_to(ROOT))
    for path in [ROOT / "params.yaml", *sorted(ROOT.glob("recipes/*.yaml"))]
    if "policies" in read(path)
]
SHORT: dict[str, Any] = {
    "model": {"name": "models/base", "chat_template": "templates/sandbox.jinja"},
    "sources": {"mine": {"format": "concord", "path": "mine.jsonl"}},
    "objectives": {
        "kind": {"domain": "mine", "description": "is kind"},
        "brief": {"domain": "mine", "description": "is short"},
    },
    "policies": {"steered": {"method": "mah_dpo", "pairs": "annotations"}},
}
"""A short recipe that scores nothing while it trains."""
RESTORED = {
    *("prepare", "sft", "reward_model", "process_labels", "process_reward"),
    *("anchors", "rollouts", "policy"),
}
"""Stages that a clone must not repeat."""
ENTRIES: dict[str, Any] = {
    name: entry.get("do", entry) for name, entry in read(ROOT / "dvc.yaml")["stages"].items()
}
REPEATED = {name for name, entry in read(ROOT / "dvc.yaml")["stages"].items() if "do" in entry}
LISTINGS = code.listings(
    read(ROOT / "params.yaml"), {name: key for name, key in STAGES.items() if name != "check"}, ROOT
)
STARTS_RUNTIME = "concord/stage/runtime.py"


def closure(name: str) -> set[str]:
    """Code files that a stage of the default recipe runs."""
    listings = {stage: text for stage, text in LISTINGS.items() if stage.partition("@")[0] == name}
    return {path for text in listings.values() for path in code.read_listing(text)}


def test_dvc_yaml_is_short_and_lists_no_code_files() -> None:
    lines = (ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 300
    assert not [line for line in lines if line.strip().endswith(".py")]


@pytest.mark.parametrize("name", [name for name in ENTRIES if name != "check"])
def test_a_stage_depends_on_its_listing(name: str) -> None:
    listing = f"data/code/{name}@${{key}}" if name in REPEATED else f"data/code/{name}"
    assert [dep for dep in ENTRIES[name]["deps"] if dep.startswith("data/code")] == [listing]
    assert {stage.partition("@")[0] for stage in LISTINGS} == ENTRIES.keys() - {"check"}


def test_package_files_outside_the_listings_are_deps() -> None:
    """These are the files of the package that are not Python."""
    others = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "concord").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    deps = {dep for entry in ENTRIES.values() for dep in entry["deps"]}
    assert others
    assert set(others) <= deps


def test_only_ingestion_and_evaluation_read_gold() -> None:
    stages_with_gold = {
        name
        for name in ENTRIES
        if any(file.startswith("concord/sandbox/") for file in closure(name))
    }
    assert stages_with_gold == {"ingest", "evaluate", "candidate", "evaluate_rewards"}


def test_check_depends_on_all_code_and_every_param() -> None:
    assert {"tasks", "concord", "params.yaml"} <= set(ENTRIES["check"]["deps"])


@pytest.mark.parametrize("name", [name for name in ENTRIES if name != "check"])
def test_a_stage_that_runs_models_waits_for_a_gpu(name: str) -> None:
    assert ENTRIES[name]["meta"].get("gpu", False) == (STARTS_RUNTIME in closure(name))


@pytest.mark.parametrize("name", ENTRIES)
def test_the_command_runs_the_module_of_the_stage(name: str) -> None:
    command = f"python -m tasks.{code.MODULES.get(name, name)}"
    assert ENTRIES[name]["cmd"] in (command, f"{command} ${{key}}")
    assert ENTRIES[name]["meta"]["timeout"] > 0


def test_tasks_has_one_file_per_stage() -> None:
    modules = {path.stem for path in (ROOT / "tasks").glob("*.py")} - {"__init__"}
    assert modules == {code.MODULES.get(name, name) for name in ENTRIES}


def test_no_file_hides_a_module_of_the_standard_library() -> None:
    """Python started in a folder looks for modules there first."""
    for room in ("tasks", "flows", "docs", "benchmarks", "."):
        names = {path.stem for path in (ROOT / room).glob("*.py")}
        assert not names & sys.stdlib_module_names


def test_every_stage_can_have_a_budget() -> None:
    assert set(STAGES) == set(ENTRIES)


def test_no_output_is_tracked_by_git() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    outs = [out for entry in ENTRIES.values() for out in entry.get("outs", [])]
    folders = [out.partition("${key}")[0].rstrip("/") for out in outs if isinstance(out, str)]
    assert not [
        file
        for file in listed.stdout.split()
        for folder in folders
        if file == folder or file.startswith(f"{folder}/")
    ]


def graph_in(folder: Path, params: dict[str, Any]) -> list[Stage]:
    """The flow's stages in `folder`, the working directory, of the graph that `params` have.

    DVC itself parses the graph.
    """
    text = complete(params, ROOT).text("recipe") if is_short(params, ROOT / "dvc.yaml") else None
    (folder / "params.yaml").write_text(text or json.dumps(params))
    graph = graph_of((ROOT / "dvc.yaml").read_text(encoding="utf-8"), read(folder / "params.yaml"))
    (folder / "dvc.yaml").write_text(graph)
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    return read_graph()


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, {"process_labels", "process_reward", "rollouts"}),
        (
            {"evaluate": {"protocol": "likelihood"}},
            {
                *("process_labels", "process_reward", "rollouts", "anchors"),
                *("reward_model", "evaluate_rewards"),
            },
        ),
        (
            {"evaluate": {"protocol": "likelihood"}, "reward_models": {"mine": {
                "objectives": {"kind": {}}, "architecture": "probe"}}},
            {"process_labels", "process_reward", "rollouts", "anchors"},
        ),
        ({"policies": {"steered": {"method": "mah_dpo"}}}, {"process_labels", "process_reward"}),
        (
            {"policies": {"rl": {"method": "grpo", "process_rewards": {"kind": "mean"}}}},
            set(),
        ),
        ({"process_labels": {}}, {"rollouts"}),
    ],
)  # fmt: skip
def test_stages_that_nothing_needs_do_not_run(
    changes: dict[str, Any], missing: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stages = graph_in(tmp_path, SHORT | changes)
    assert {stage.name.partition("@")[0] for stage in stages} == ENTRIES.keys() - missing
    assert not absent_keys(read(), tmp_path / "dvc.yaml")
    graph = read("dvc.yaml")["stages"]
    listed = code.listings(read(), {n: k for n, k in STAGES.items() if n in graph}, ROOT)
    assert {stage.partition("@")[0] for stage in listed} == ENTRIES.keys() - missing
    made = [out for name in missing for out in outputs_of(ENTRIES[name])]
    left = [out for entry in graph.values() for out in outputs_of(entry.get("do", entry))]
    for name, entry in graph.items():
        for dep in entry.get("do", entry)["deps"]:
            assert not within(dep, made) or within(dep, left), f"{name} waits for {dep}"
    waits = "models/process_reward" in graph["policy"]["do"]["deps"]
    assert waits == any(
        "process_rewards" in entry for entry in (SHORT | changes)["policies"].values()
    )


def outputs_of(entry: dict[str, Any]) -> list[str]:
    """The outputs of a stage, without the name of an item."""
    outs = [out for kind in ("outs", "metrics") for out in entry.get(kind, [])]
    names = [out if isinstance(out, str) else next(iter(out)) for out in outs]
    return [name.partition("/${")[0] for name in names]


def within(path: str, outputs: list[str]) -> bool:
    return any(f"{path}/".startswith(f"{out}/") or out.startswith(f"{path}/") for out in outputs)


def test_the_graph_of_a_complete_recipe_is_dvc_yaml() -> None:
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert graph_of(text, read(ROOT / "params.yaml")) == text


def test_functions_of_the_user_are_deps_of_check(tmp_path: Path) -> None:
    """With what they import. Nothing else of dvc.yaml changes, and a deleted file is no dep."""
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    (tmp_path / "my_judges.py").write_text("from my_words import POLITE\n")
    (tmp_path / "my_words.py").write_text("POLITE = ['please']\n")
    judge = {"kind": "function", "function": "my_judges:polite"}
    plain = read(ROOT / "params.yaml")
    params = plain | {"evaluate": plain["evaluate"] | {"judge": {"judges": {"helpful": judge}}}}
    assert write_graph(tmp_path, params)
    before, after = ((folder / "dvc.yaml").read_text() for folder in (ROOT, tmp_path))
    added = ["      - my_judges.py", "      - my_words.py"]
    assert [line for line in after.splitlines() if line not in before.splitlines()] == added
    assert after.replace("\n".join([*added, ""]), "") == before
    assert not write_graph(tmp_path, params)
    (tmp_path / "my_judges.py").unlink()
    (tmp_path / "my_words.py").unlink()
    assert write_graph(tmp_path, plain)
    assert (tmp_path / "dvc.yaml").read_text() == before


def test_the_run_cache_restores_what_is_expensive() -> None:
    """DVC's run cache leaves out stages with an uncached output that is no metric and no plot.

    Other stages have plain outputs: every value of a metrics file is a column of `dvc exp show`.
    """
    plain = {
        name
        for name, entry in ENTRIES.items()
        if any(options.get("cache") is False for options in settings_of(entry))
    }
    assert plain.isdisjoint(RESTORED)
    assert {name for name, entry in ENTRIES.items() if entry.get("metrics")} <= {
        *RESTORED,
        "report",
    }


def settings_of(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The settings of the plain outputs of a stage that have any."""
    return [next(iter(out.values())) for out in entry.get("outs", []) if isinstance(out, dict)]


def test_what_dvc_draws_is_ignored() -> None:
    done = subprocess.run(["git", "check-ignore", "dvc_plots/index.html"], cwd=ROOT, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_gives_a_graph(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stages = graph_in(tmp_path, read(ROOT / recipe))
    params = read()
    names = {stage.name for stage in stages}
    repeated = {"ingest": "sources", "reward_model": "reward_models", "policy": "policies"}
    for prefix, key in repeated.items():
        assert {f"{prefix}@{name}" for name in params.get(key, {})} <= names
    last = next(stage for stage in stages if stage.name == "report")
    assert {f"evaluate@{name}" for name in params["policies"]} <= set(last.upstream)
    assert of_phase(stages, "ingestion")[0].name == "check"


def test_the_diagram_in_the_readme_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"```\n{picture()}\n```" in text, (
        "paste what `python -m flows.graph` prints into the README"
    )
