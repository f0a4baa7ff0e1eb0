"""A fault and what became of it: tries, those that survived, and the figures that were seen."""

import random
import time
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class UnsurvivedError(Exception):
    """A fault that neither recovered nor ended in a clear error."""


@dataclass
class Row:
    """What became of one fault."""

    fault: str
    wanted: int
    """Tries that were planned."""
    tries: int = 0
    failures: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    """What happened in each try that survived, in words."""
    seconds: float = 0.0

    @property
    def survived(self) -> int:
        return self.tries - len(self.failures)

    def summary(self) -> str:
        """The kinds of outcomes with their counts."""
        counts = {text: self.seen.count(text) for text in dict.fromkeys(self.seen)}
        failed = {text: self.failures.count(text) for text in dict.fromkeys(self.failures)}
        parts = [f"{text} ({count})" for text, count in counts.items()]
        parts += [f"**{text}** ({count})" for text, count in failed.items()]
        return "; ".join(parts)


def attempt(row: Row, one_try: Callable[[random.Random], str], deadline: float) -> Row:
    """Runs the planned tries of a row until the deadline. `one_try` returns what happened."""
    began = time.monotonic()
    for number in range(row.wanted):
        if time.monotonic() > deadline:
            break
        draw = random.Random(zlib.crc32(f"{row.fault} {number}".encode()))
        row.tries += 1
        try:
            row.seen.append(one_try(draw))
        except Exception as error:  # noqa: BLE001 - every failure is a figure of the table
            row.failures.append(f"{type(error).__name__}: {_short(error)}")
            traceback.print_exc()
    row.seconds = time.monotonic() - began
    return row


def require(condition: Any, message: str) -> None:
    """Raises UnsurvivedError with the message unless the condition holds."""
    if not condition:
        raise UnsurvivedError(message)


def clear_error(code: int, output: str) -> str:
    """What a failed command said. Raises UnsurvivedError for success or a traceback of Python."""
    require(code != 0, "ended well, although it could not")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    require("Traceback (most recent call last)" not in output, f"traceback: {lines[-1][:200]}")
    return next((line for line in lines if "Error:" in line), lines[-1])[:160]


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return " ".join([lines[0], *lines[-1:]] if len(lines) > 1 else lines)[:300]
