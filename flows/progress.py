"""Progress of a running stage: a progress artifact in the UI, and occasional lines in the log."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows.labels import key

SECONDS_BETWEEN_UPDATES = 3.0
SECONDS_BETWEEN_LINES = 20.0


class Progress:
    """Follows the progress file of one stage, in the form of `concord.stage.progress.Reporter`.

    Args:
        stage: name of the stage.
        log: called with a line now and then.
        run: identifies the run, so that its artifacts are not those of another one.
    """

    def __init__(self, stage: str, log: Callable[[str], None], run: str = "") -> None:
        self._key = key("progress", run, stage)
        self._stage, self._log = stage, log
        self._read = 0
        self._artifact: UUID | None = None
        self._updated = self._logged = time.monotonic()

    def __call__(self, reports: Path) -> None:
        """Reads the file and publishes new progress, at most every `SECONDS_BETWEEN_UPDATES`."""
        now = time.monotonic()
        if (
            now - self._updated < SECONDS_BETWEEN_UPDATES
            or (report := self._latest(reports)) is None
        ):
            return
        self._updated = now
        text = line(report)
        self._publish(text, 100.0 * report["done"] / max(report["total"], 1))
        if now - self._logged >= SECONDS_BETWEEN_LINES:
            self._logged = now
            self._log(text)

    def finish(self) -> None:
        """Sets the artifact of the stage, if any, to 100 %."""
        if self._artifact is not None:
            update_progress_artifact(self._artifact, progress=100.0)

    def _latest(self, reports: Path) -> dict[str, Any] | None:
        """The last complete line; None without a new one."""
        if not reports.exists():
            return None
        with reports.open("rb") as file:
            file.seek(self._read)
            whole, end, _ = file.read().rpartition(b"\n")
        if not end:
            return None
        self._read += len(whole) + 1
        report: dict[str, Any] = json.loads(whole.rpartition(b"\n")[2])
        return report

    def _publish(self, text: str, percent: float) -> None:
        description = f"{self._stage}: {text}"
        if self._artifact is None:
            artifact = create_progress_artifact(
                progress=percent, key=self._key, description=description
            )
            assert isinstance(artifact, UUID)
            self._artifact = artifact
        else:
            update_progress_artifact(self._artifact, progress=percent, description=description)


def line(report: Mapping[str, Any]) -> str:
    """What a report says.

    Examples:
        >>> report = {"label": "policy x", "done": 9, "total": 75, "seconds_left": 130.0}
        >>> line({**report, "figures": {"loss": 0.41237}})
        'policy x: 9 of 75, loss 0.4124, 2 min left'
    """
    parts = [f"{report['done']} of {report['total']}"]
    parts += [f"{name} {value:.4g}" for name, value in report.get("figures", {}).items()]
    left = report.get("seconds_left")
    if left is not None and report["done"] < report["total"]:
        parts.append(f"{duration(left)} left")
    return f"{report['label']}: {', '.join(parts)}"


def duration(seconds: float) -> str:
    """A time to the second, minute or five minutes.

    Examples:
        >>> [duration(value) for value in (41.6, 125, 4000)]
        ['42 s', '2 min', '1 h 05 min']
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60 // 5 * 5:02} min"
