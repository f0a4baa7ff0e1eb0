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
    assert "params.yaml is valid" in output["concord check"]
    assert "Running stage 'report'" in output["dvc repro"]
    assert (project / "reports/index.html").is_file()
    every_label_is_used(project)
    answers = dict(line.split(None, 1) for line in output["python ask.py"].splitlines()[-3:])
    assert set(answers) == set(read(project / "params.yaml")["objectives"])
    assert len(answers["brief"]) < len(answers["thorough"]), f"weights had no effect: {answers}"


def every_label_is_used(project: Path) -> None:
    pairs = pd.read_parquet(project / "data/prepared/pairs/train.parquet")
    ratings = pd.read_parquet(project / "data/prepared/ratings/train.parquet")
    assert set(pairs["objective"]) == {"friendly", "thorough", "brief"}
    assert set(ratings["annotator"]) == {"ana", "ben", "cho", "dee"}
    assert pd.read_parquet(project / "data/prepared/quarantine.parquet").empty
