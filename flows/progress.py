"""Progress of a running stage: a progress artifact in the UI, and occasional lines in the log."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

SECONDS_BETWEEN_UPDATES = 3.0
SECONDS_BETWEEN_LINES = 20.0


class Progress:
    """Follows the progress file of one stage: JSON lines with stage, label, done, total and
    seconds_left.
    """

    def __init__(self, stage: str, log: Callable[[str], None]) -> None:
        self._key = "progress-" + re.sub(r"[^a-z0-9]+", "-", stage.lower()).strip("-")
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
        label, done, total, left = report
        self._publish(label, 100.0 * done / max(total, 1))
        if now - self._logged >= SECONDS_BETWEEN_LINES:
            self._logged = now
            time_left = "" if left is None or done >= total else f", {duration(left)} left"
            self._log(f"{label}: {done} of {total}{time_left}")

    def finish(self) -> None:
        """Sets the artifact of the stage, if any, to 100 %."""
        if self._artifact is not None:
            update_progress_artifact(self._artifact, progress=100.0)

    def _latest(self, reports: Path) -> tuple[str, int, int, float | None] | None:
        """The last complete line (label, done, total, seconds left); None without a new one."""
        if not reports.exists():
            return None
        with reports.open("rb") as file:
            file.seek(self._read)
            whole, end, _ = file.read().rpartition(b"\n")
        if not end:
            return None
        self._read += len(whole) + 1
        report = json.loads(whole.rpartition(b"\n")[2])
        return report["label"], report["done"], report["total"], report.get("seconds_left")

    def _publish(self, label: str, percent: float) -> None:
        description = f"{self._stage}: {label}"
        if self._artifact is None:
            artifact = create_progress_artifact(
                progress=percent, key=self._key, description=description
            )
            assert isinstance(artifact, UUID)
            self._artifact = artifact
        else:
            update_progress_artifact(self._artifact, progress=percent, description=description)


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
