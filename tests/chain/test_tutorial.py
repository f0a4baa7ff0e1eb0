"""The tutorial "your own data" works as written: its blocks run in a fresh copy of the project.

A block with a title is a file; a `bash` block is run. The copy has the record of the default run,
as a clone has, and an empty cache.
"""

import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from concord.stage.params import read
from tests.chain.tree import ROOT, copy_project, run

PAGE = ROOT / "docs/tutorial/own-data.md"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 900
"""Limit on a shared core; alone it takes about two minutes."""


class Block(NamedTuple):
    """A fenced block of the page."""

    language: str
    title: str | None
    """Name of the file that it is."""
    text: str


def blocks() -> list[Block]:
    """The fenced blocks, in order."""
    parts = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    titles = [re.search(r'title="([^"]+)"', info) for _, info, _ in parts]
    return [
        Block(language, title[1] if title else None, text)
        for (language, _, text), title in zip(parts, titles, strict=True)
    ]


@pytest.mark.timeout(SECONDS)
def test_the_tutorial_works_as_written(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project", tmp_path / "cache", recorded=True)
    output: dict[str, str] = {}
    for block in blocks():
        if block.title is not None:
            (project / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "bash":
            output[block.text.strip()] = run(project, "bash", "-euc", block.text)
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
