"""Runs the stages of the workspace, by its own code and in processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from concord.stage.errors import ConcordError
from concord.stage.paths import REPORTS
from flows import guard
from flows.graph import environment

LAST_LINES = 15
Say = Callable[[str], None]


class RetrainError(ConcordError):
    """The stages of a run failed."""


def align(folder: Path, command: Sequence[str], held: int, say: Say) -> None:
    """Brings all stages of the workspace up to date. Its processes end with this one."""
    env = {name: value for name, value in environment().items() if not name.startswith("PREFECT__")}
    with subprocess.Popen(
        [sys.executable, str(Path(guard.__file__)), *command],
        cwd=folder,
        env=env | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=[held],
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        last: list[str] = []
        try:
            for line in process.stdout:
                say(line.rstrip())
                last = [*last[1 - LAST_LINES :], line.rstrip()]
        finally:
            process.stdin.close()  # the guard then ends what still runs
    if process.returncode:
        text = "\n".join(f"    {line}" for line in last)
        raise RetrainError(
            f"the stages failed in {folder} (exit status {process.returncode}); the last lines:\n"
            f"{text}\nNothing was published; the next run resumes from here."
        )


def verdict(folder: Path) -> dict[str, Any]:
    path = folder / REPORTS / "gate.json"
    if not path.is_file():
        raise RetrainError(f"The stages wrote no {path}, so nothing was published; run `gate`.")
    return dict(json.loads(path.read_text(encoding="utf-8")))
