"""How a run looks in a terminal: one line an event, headed by the stage; nothing of the machinery below warnings."""

import logging
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import prefect
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_API_HOST,
    PREFECT_SERVER_API_PORT,
    temporary_settings,
)

from flows.stage import Outcome
from tasks.report import produced

MACHINERY = str(Path(prefect.__file__).parent)


class Lines(logging.Formatter):
    """`12:03:45  policy@mah_dpo             ran in 61.2 s`."""

    def format(self, record: logging.LogRecord) -> str:
        who = getattr(record, "task_run_name", None) or getattr(record, "flow_name", record.name)
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return f"{clock}  {who:<28} {level}{record.getMessage()}"


def own(record: logging.LogRecord) -> bool:
    """Whether a record is news: the engine repeats each failure on its way up, with tracebacks of itself."""
    if not record.pathname.startswith(MACHINERY):
        return True
    return record.levelno >= logging.WARNING and not record.name.startswith(
        ("prefect.flow_runs", "prefect.task_runs")
    )


def quieten() -> None:
    """Gives the console handlers the format and the filter of this file; the API still gets every record."""
    names = ["", *logging.Logger.manager.loggerDict]
    for handler in {handler for name in names for handler in logging.getLogger(name).handlers}:
        if type(handler).__name__ == "PrefectConsoleHandler":
            handler.setFormatter(Lines())
            handler.addFilter(own)


@contextmanager
def server() -> Iterator[None]:
    """Uses the server of `make ui` where one runs and no other is configured, so that the run shows in its window."""
    if PREFECT_API_URL.value():
        yield
        return
    local = f"http://{PREFECT_SERVER_API_HOST.value()}:{PREFECT_SERVER_API_PORT.value()}/api"
    if _answers(f"{local}/health"):
        with temporary_settings({PREFECT_API_URL: local}):
            yield
    else:
        start_temporary_server()
        yield


def start_temporary_server() -> None:
    """Prefect's own for a run without a server, but out of reach of the terminal: Ctrl-C goes to all processes there at
    once, and the run, which then tells the server how it ended, would wait minutes for one that is gone. Prefect ends
    it with this process, after the last lines have been sent."""
    from prefect.server.api.server import SubprocessASGIServer  # takes seconds

    class Apart(SubprocessASGIServer):
        def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
            with patch("subprocess.Popen", partial(subprocess.Popen, start_new_session=True)):
                return super()._run_uvicorn_command()

    Apart().start()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0).is_success
    except httpx.TransportError:
        return False


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """What ran and how long it took, what was produced and where."""
    counts = [
        f"{sum(o.happened == what for o in outcomes)} {what}" for what in ("ran", "restored", "unchanged")
    ]  # fmt: skip
    lines = ["", f"{len(outcomes)} stages in {clock(seconds)}: {', '.join(counts)}"]
    for outcome in outcomes:
        if outcome.happened != "unchanged":
            lines.append(
                f"  {outcome.stage.name:<28} {outcome.happened:<9} {outcome.seconds:8.1f} s{_of(outcome)}"
            )
    lines += ["", *produced()]
    return "\n".join(lines)


def clock(seconds: float) -> str:
    """`75.3` as `1 min 15 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _of(outcome: Outcome) -> str:
    return "" if outcome.stage.budget is None else f" of {outcome.stage.budget:g} s"
