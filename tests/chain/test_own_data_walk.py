"""From three files to a page with answers: a new user's walk, by a recipe of 25 lines.

`concord run` completes the recipe in a clone and runs every stage that it needs, as processes, with
the flow.
"""

import json
import re
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from concord.stage.params import read
from tests.chain import own_data
from tests.chain.tree import copy_project, dvc, environment, lock, run

LINES = 25
SECONDS = 360
"""Most CPU time, which other work on the machine does not change; two cores need less time."""


MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
sys.exit(code)
"""
"""Runs a command, and prints the CPU time of its processes, in seconds."""


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clone in which the recipe has run; `rows.json` has the rows of each file."""
    folder = tmp_path_factory.mktemp("walk")
    project = copy_project(folder / "project", folder / "cache")
    rows = own_data.write(project, "tea.yaml")
    env = environment(PREFECT_HOME=str(folder / "prefect"), CI="true")
    wall = time.monotonic()
    command = [sys.executable, "-m", "flows.cli", "run", "tea.yaml"]
    output = run(project, sys.executable, "-c", MEASURED, *command, env=env)
    cpu = float(output.splitlines()[-1])
    print(f"the walk took {cpu:.0f} s of CPU time, {time.monotonic() - wall:.0f} s in all")
    assert cpu < SECONDS
    (folder / "rows.json").write_text(json.dumps(rows))
    return project / "runs/tea"


def test_the_recipe_is_short() -> None:
    assert len([line for line in own_data.RECIPE.splitlines() if line.strip()]) <= LINES


def test_every_row_is_counted(walk: Path) -> None:
    rows = json.loads((walk.parents[2] / "rows.json").read_text())
    sources = json.loads((walk / "reports/data.json").read_text())["sources"]
    assert {name: report["read"] for name, report in sources.items()} == rows
    assert {name: report["quarantined"] for name, report in sources.items()} == dict.fromkeys(
        rows, 0
    )


def test_only_what_is_needed_has_run(walk: Path) -> None:
    ran = {name.partition("@")[0] for name in lock(walk)}
    assert ran.isdisjoint({"process_labels", "process_reward", "rollouts"})
    assert {"ingest", "sft", "reward_model", "anchors", "policy", "evaluate", "report"} <= ran
    assert json.loads(run(walk, *dvc("status", "--json"))) == {}
    assert read(walk / "params.yaml")["evaluate"]["protocol"] == "judged"


def test_the_weights_move_the_answers(walk: Path) -> None:
    samples = pd.read_parquet(walk / "reports/samples/steered.parquet")
    held_out = samples[samples["split"] == "test"]
    brief, warm = (held_out[held_out["point"] == f"warm={weight}"] for weight in ("0.000", "1.000"))
    assert len(brief) > 5
    assert brief["length"].mean() < warm["length"].mean()
    greets = [frame["response"].str.startswith("Welcome").mean() for frame in (brief, warm)]
    assert greets[0] < greets[1]
    assert brief["gold.brief"].mean() > warm["gold.brief"].mean()
    assert brief["gold.warm"].mean() < warm["gold.warm"].mean()


def test_the_page_shows_answers_at_three_weights(walk: Path) -> None:
    page = (walk / "reports/index.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="example">') :]
    section = section[: section.index("</section>")]
    weights = re.findall(
        r'head weights</div>\s*<div class="bar "><span>warm</span>.*?<span>([\d.]+)</span></div>',
        section,
        re.DOTALL,
    )
    answers = re.findall(r'<div class="text">(.+?)</div>', section, re.DOTALL)
    assert (
        weights == ["1.00", "0.50", "0.00"] * 2
    )  # the prompt of the largest effect, and the median one
    assert len(answers) == 6
    assert "My " in section
    assert len(set(answers)) > 1, answers
    assert section.count("the judge") == 6


def test_the_words_of_the_page_follow_the_protocol(walk: Path) -> None:
    page = (walk / "reports/index.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]*>", " ", re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL))
    assert not re.search(r"\bgold\b", text, re.IGNORECASE)
    assert "chance is 0.5" in text
    for part in ("Step labels", "Process reward model", "locked"):
        assert part not in text
