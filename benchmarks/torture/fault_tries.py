"""Faults, tries, and the table of what became of them.

Every try is a line of a JSONL file, so a run adds to the tries of earlier runs.
"""

import json
import random
import time
import traceback
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class UnsurvivedError(Exception):
    """A fault that neither recovered nor ended in a clear error."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault."""

    name: str
    wanted: int
    """Tries that are planned, over all runs."""
    one_try: Callable[[int, random.Random], str]
    """Called with the number of the try, from 0, and its random numbers; says what happened."""


@dataclass(frozen=True)
class Try:
    """What became of one try."""

    group: str
    fault: str
    number: int
    wanted: int
    survived: bool
    seen: str
    """What happened, in words."""
    seconds: float
    date: str
    revision: str
    """The commit of the code."""


def attempt(group: str, fault: Fault, number: int, revision: str) -> Try:
    """Makes a try. Every exception is a figure of the table."""
    draw = random.Random(zlib.crc32(f"{fault.name} {number}".encode()))
    began = time.monotonic()
    try:
        survived, seen = True, fault.one_try(number, draw)
    except Exception as error:  # noqa: BLE001 - every failure is a figure of the table
        survived, seen = False, f"{type(error).__name__}: {_short(error)}"
        traceback.print_exc()
    date = datetime.now(UTC).isoformat(timespec="seconds")
    seconds = round(time.monotonic() - began, 1)
    return Try(group, fault.name, number, fault.wanted, survived, seen, seconds, date, revision)


def next_fault(faults: Sequence[Fault], tries: Iterable[Try]) -> tuple[Fault, int] | None:
    """The fault with the smallest share of its tries made, and the number of the next one."""
    made = [one.fault for one in tries]
    left = [fault for fault in faults if made.count(fault.name) < fault.wanted]
    if not left:
        return None
    chosen = min(left, key=lambda fault: made.count(fault.name) / fault.wanted)
    return chosen, made.count(chosen.name)


def load(path: Path) -> list[Try]:
    """The tries of a file; none if it does not exist."""
    if not path.is_file():
        return []
    return [Try(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def append(path: Path, one: Try) -> None:
    """Adds a try to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(one)) + "\n")


def table(tries: Sequence[Try], group: str) -> str:
    """The tries of a group in Markdown, a row per fault."""
    head = "| fault | tries | not survived | seconds per try | what happened (tries) |"
    tries = [one for one in tries if one.group == group]
    names = dict.fromkeys(one.fault for one in tries)
    rows = [_row([one for one in tries if one.fault == name]) for name in names]
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def _row(tries: Sequence[Try]) -> str:
    wanted = max(one.wanted for one in tries)
    count = f"{len(tries)}" + (f" of {wanted}" if len(tries) < wanted else "")
    failures = sum(not one.survived for one in tries)
    seconds = sum(one.seconds for one in tries) / len(tries)
    seen = [one.seen if one.survived else f"**{one.seen}**" for one in tries]
    what = "; ".join(f"{text} ({seen.count(text)})" for text in sorted(set(seen)))
    return f"| {tries[0].fault} | {count} | {failures} | {seconds:.0f} | {what} |"


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
