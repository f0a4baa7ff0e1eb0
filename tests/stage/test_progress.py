"""Progress lines for the flow."""

import json
from pathlib import Path

import pytest

from concord.stage import progress


def test_items_are_yielded_and_lines_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCORD_PROGRESS", str(tmp_path / "lines"))
    monkeypatch.setattr("sys.argv", ["/x/tasks/reward_model.py", "values"])
    assert list(progress.track(range(1000), 1000, "scoring")) == list(range(1000))
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert {name: value for name, value in lines[0].items() if name != "seconds_left"} == {
        "stage": "reward_model@values",
        "label": "scoring",
        "done": 1,
        "total": 1000,
        "figures": {},
    }
    assert lines[0]["seconds_left"] > 0
    assert lines[-1]["done"] == 1000
    assert lines[-1]["seconds_left"] == 0
    assert len(lines) < 10  # two per second, not one per item


def test_figures_are_those_of_the_last_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCORD_PROGRESS", str(tmp_path / "lines"))
    figures: dict[str, float] = {}
    for step in progress.track(range(2), 2, "training", figures=figures):
        figures["loss"] = 1.0 / (step + 1)
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert [line["figures"] for line in lines] == [{"loss": 1.0}, {"loss": 0.5}]


def test_nothing_is_written_without_the_environment_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONCORD_PROGRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert list(progress.track([1], 1, "x")) == [1]
    assert not list(tmp_path.iterdir())


def test_the_time_left_follows_the_recent_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that resumes at 40 of 100 does a step in 2 s, and later one in 5 s."""
    now = [1000.0]
    monkeypatch.setenv("CONCORD_PROGRESS", str(tmp_path / "lines"))
    monkeypatch.setattr("concord.stage.progress.time.monotonic", lambda: now[0])
    report = progress.Reporter(100, "training", start=40)
    for done in range(41, 81):
        now[0] += 2.0 if done <= 60 else 5.0
        report(done)
    left = {
        line["done"]: line["seconds_left"]
        for line in map(json.loads, (tmp_path / "lines").read_text().splitlines())
    }
    assert left[41] == 59 * 2
    assert left[60] == 40 * 2
    assert left[80] == 20 * 5
