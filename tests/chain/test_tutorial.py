"""The tutorial "your own data" works as written, in a fresh copy of the project.

The copy has the record of the default run, as a clone has, and an empty cache. It is made in the
background (`tests.chain.finished`).
"""

import json
from pathlib import Path

import pandas as pd

from concord.stage.params import read
from tests.chain.finished import Runs


def test_the_tutorial_works_as_written(runs: Runs) -> None:
    tutorial = runs.wait_for("tutorial")
    project, output = tutorial.folder, json.loads(tutorial.output)
    assert {path.suffix for path in (project / "data/raw/plants").iterdir()} == {
        ".csv",
        ".jsonl",
        ".parquet",
    }
    checked = next(text for block, text in output.items() if block.startswith("concord check"))
    assert "plants.yaml is valid" in checked
    assert "# default: Seed for sampling from models." in checked
    run = project / "runs/plants"
    page = (run / "reports/index.html").read_text(encoding="utf-8")
    assert "Same prompt, three weights" in page
    assert not (run / "models/process_reward").exists()
    every_label_is_used(run)
    answers = dict(line.split(None, 1) for line in output["python ask.py"].splitlines()[-3:])
    assert set(answers) == set(read(project / "plants.yaml")["objectives"])
    assert len(answers["brief"]) < len(answers["thorough"]), f"weights had no effect: {answers}"


def every_label_is_used(project: Path) -> None:
    pairs = pd.read_parquet(project / "data/prepared/pairs/train.parquet")
    ratings = pd.read_parquet(project / "data/prepared/ratings/train.parquet")
    assert set(pairs["objective"]) == {"friendly", "thorough", "brief"}
    assert set(ratings["annotator"]) == {"ana", "ben", "cho", "dee"}
    quarantined = pd.read_parquet(project / "data/prepared/quarantine.parquet")
    assert set(quarantined["reason"]) == {"duplicate_prompt"}  # the files share their questions
