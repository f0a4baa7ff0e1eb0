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
    assert lines[0] == {
        "stage": "reward_model@values",
        "label": "scoring",
        "done": 1,
        "total": 1000,
    }
    assert lines[-1]["done"] == 1000
    assert len(lines) < 10  # two per second, not one per item


def test_nothing_is_written_without_the_environment_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONCORD_PROGRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert list(progress.track([1], 1, "x")) == [1]
    assert not list(tmp_path.iterdir())
