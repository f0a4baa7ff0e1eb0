"""Progress of a stage: a bar on stderr, and JSON lines in the file $CONCORD_PROGRESS.

Both say how much time is left.
"""

import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 0.5
RECENT = 20
"""The speed is that of so many lines."""


def track(
    iterable: Iterable[T],
    total: int,
    label: str,
    start: int = 0,
    figures: Mapping[str, float] | None = None,
) -> Iterator[T]:
    """Yields the items of `iterable` and reports how many of `total` are done.

    `start` items were done before, in a run that was interrupted. The current values of `figures`,
    such as the loss, are reported too.
    """
    report = Reporter(total, label, start)
    bar = tqdm(iterable, total=total, initial=start, desc=label, file=sys.stderr, mininterval=1.0)
    for done, item in enumerate(bar, start=start + 1):
        yield item
        report(done, figures)


def count(iterable: Iterable[T], label: str, quiet: bool = False) -> Iterator[T]:
    """Yields the items of `iterable` and shows a running count, for an unknown total.

    With `quiet`, the count is shown only while the work takes longer than a second.
    """
    yield from tqdm(
        iterable,
        desc=label,
        file=sys.stderr,
        mininterval=1.0,
        unit="",
        leave=not quiet,
        delay=1.0 if quiet else 0.0,
    )


class Reporter:
    """Appends {"stage", "label", "done", "total", "seconds_left", "figures"} to the progress file.

    At most twice per second, but the last item is always reported. `start` items were done before.
    """

    def __init__(self, total: int, label: str, start: int = 0) -> None:
        self.total, self.label = total, label
        self._path = os.environ.get("CONCORD_PROGRESS")
        self._last = float("-inf")
        self._recent = deque([(time.monotonic(), start)], maxlen=RECENT)

    def __call__(self, done: int, figures: Mapping[str, float] | None = None) -> None:
        now = time.monotonic()
        if self._path is None or (now - self._last < SECONDS_BETWEEN_LINES and done < self.total):
            return
        self._last = now
        self._recent.append((now, done))
        counts = {"done": done, "total": self.total, "seconds_left": self._seconds_left()}
        line = {"stage": stage(), "label": self.label, **counts, "figures": dict(figures or {})}
        with open(self._path, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")

    def _seconds_left(self) -> float | None:
        """The time that the rest takes at the recent speed; None if nothing was done yet."""
        (began, first), (now, done) = self._recent[0], self._recent[-1]
        if done >= self.total:
            return 0.0
        return (
            round((self.total - done) * (now - began) / (done - first), 1) if done > first else None
        )


def stage() -> str:
    """DVC's name of the stage that this process runs, for example `reward_model@values`."""
    return "@".join([Path(sys.argv[0]).stem, *sys.argv[1:2]])
