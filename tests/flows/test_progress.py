"""Progress of a stage becomes one updated artifact and occasional log lines."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from flows.progress import Progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake_clock = Clock()
    monkeypatch.setattr("flows.progress.time.monotonic", fake_clock)
    return fake_clock


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Calls of Prefect: (what, percent, key or id)."""
    calls: list[tuple[Any, ...]] = []

    def create(progress: float, key: str, description: str) -> UUID:
        calls.append(("create", progress, key))
        return uuid4()

    def update(artifact: UUID, progress: float, description: str = "") -> None:
        calls.append(("update", progress, description))

    monkeypatch.setattr("flows.progress.create_progress_artifact", create)
    monkeypatch.setattr("flows.progress.update_progress_artifact", update)
    return calls


def report(path: Path, done: int) -> None:
    with path.open("a") as file:
        line = {"stage": "sft", "label": "training", "done": done, "total": 40}
        more = {"seconds_left": (40 - done) * 5.0, "figures": {"loss": done / 8}}
        file.write(json.dumps({**line, **more}) + "\n")


def test_one_artifact_follows_the_newest_report(
    tmp_path: Path, clock: Clock, artifacts: list[tuple[Any, ...]]
) -> None:
    path, lines = tmp_path / "progress", []
    progress = Progress("policy@mah_dpo", lines.append, "tiny helpful=0.6-1a2b3c4d")
    clock.now += 5
    progress(path)
    report(path, 9)
    report(path, 10)
    progress(path)
    clock.now += 1
    report(path, 11)
    progress(path)  # too soon
    clock.now += 19
    with path.open("a") as file:
        file.write('{"stage": "sft", "label": "tra')  # an incomplete line
    progress(path)
    progress.finish()
    assert artifacts == [
        ("create", 25.0, "progress-tiny-helpful-0-6-1a2b3c4d-policy-mah-dpo"),
        ("update", 27.5, "policy@mah_dpo: training: 11 of 40, loss 1.375, 2 min left"),
        ("update", 100.0, ""),
    ]
    assert lines == ["training: 11 of 40, loss 1.375, 2 min left"]


def test_a_stage_that_reports_nothing_has_no_artifact(
    tmp_path: Path, clock: Clock, artifacts: list[tuple[Any, ...]]
) -> None:
    progress = Progress("gate", print)
    clock.now += 5
    progress(tmp_path / "progress")
    progress.finish()
    assert artifacts == []
