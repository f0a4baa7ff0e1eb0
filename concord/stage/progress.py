"""Progress of a stage: a bar on stderr, and JSON lines in the file $CONCORD_PROGRESS."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 0.5


def track(iterable: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yields the items of `iterable` and reports how many of `total` are done."""
    report = Reporter(total, label)
    for done, item in enumerate(
        tqdm(iterable, total=total, desc=label, file=sys.stderr, mininterval=1.0), start=1
    ):
        yield item
        report(done)


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
    """Appends {"stage", "label", "done", "total"} to the progress file, at most twice per second.

    The last item is always reported.
    """

    def __init__(self, total: int, label: str) -> None:
        self.total, self.label = total, label
        self._path = os.environ.get("CONCORD_PROGRESS")
        self._last = float("-inf")

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if self._path is None or (now - self._last < SECONDS_BETWEEN_LINES and done < self.total):
            return
        self._last = now
        line = {"stage": stage(), "label": self.label, "done": done, "total": self.total}
        with open(self._path, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")


def stage() -> str:
    """DVC's name of the stage that this process runs, for example `reward_model@values`."""
    return "@".join([Path(sys.argv[0]).stem, *sys.argv[1:2]])
