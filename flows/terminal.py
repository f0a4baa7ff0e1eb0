"""Terminal output of a run: one line per event, without Prefect's own messages below warnings."""

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
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

from concord.release.logins import without_logins
from concord.stage.errors import ConcordError
from flows.stage import Outcome
from tasks.report import produced

MACHINERY = str(Path(prefect.__file__).parent)


class ServerError(ConcordError):
    """The Prefect server that is configured does not answer."""


class Lines(logging.Formatter):
    """`12:03:45  policy@mah_dpo             ran in 61.2 s`."""

    def format(self, record: logging.LogRecord) -> str:
        who = getattr(record, "task_run_name", None) or getattr(record, "flow_name", record.name)
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return f"{clock}  {who:<28} {level}{record.getMessage()}"


def is_relevant(record: logging.LogRecord) -> bool:
    """Whether to show a record. Prefect's engine repeats every failure with its own traceback."""
    if not record.pathname.startswith(MACHINERY):
        return True
    return record.levelno >= logging.WARNING and not record.name.startswith(
        ("prefect.flow_runs", "prefect.task_runs")
    )


def quieten() -> None:
    """Sets format and filter of the console handlers. The Prefect API still gets every record."""
    names = ["", *logging.Logger.manager.loggerDict]
    for handler in {handler for name in names for handler in logging.getLogger(name).handlers}:
        if type(handler).__name__ == "PrefectConsoleHandler":
            handler.setFormatter(Lines())
            handler.addFilter(is_relevant)


def shorten_errors() -> None:
    """Removes the traceback from the log of a flow run that ends with a ConcordError.

    Prefect would log its own engine's frames. The message says what to do.
    """
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if _shorten not in logger.filters:
            logger.addFilter(_shorten)


def _shorten(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, ConcordError):
        record.exc_info, record.msg, record.args = None, str(error), ()
    return True


@contextmanager
def server() -> Iterator[None]:
    """Uses the server of `make ui` if it is running and no other server is configured.

    Otherwise starts a temporary server. Raises ServerError if a configured server does not answer.
    """
    if configured := PREFECT_API_URL.value():
        if not _is_reachable(configured):
            raise ServerError(
                f"PREFECT_API_URL is {without_logins(configured)}, but no Prefect server answers "
                "there; start it, or unset PREFECT_API_URL (and `prefect config unset "
                "PREFECT_API_URL`)"
            )
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
    """Starts Prefect's temporary server in its own session, where Ctrl-C does not reach it.

    Ctrl-C goes to all processes of a terminal at once. The run still has to report its end to the
    server, and would wait minutes for a server that is gone. Prefect stops the server with this
    process. Raises ServerError if it does not start in time.
    """
    from prefect.server.api.server import SubprocessASGIServer  # importing it takes seconds

    class DetachedServer(SubprocessASGIServer):
        def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
            with patch("subprocess.Popen", partial(subprocess.Popen, start_new_session=True)):
                return super()._run_uvicorn_command()

    try:
        DetachedServer().start()
    except RuntimeError as error:
        seconds, why = PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, str(error).split("\n")[0]
        raise ServerError(
            f"Prefect's temporary server did not start within {seconds.value()} s ({why}). If the "
            f"machine is busy, run the command again, set {seconds.name} to more seconds, or start "
            "a server with `make ui`"
        ) from None


@contextmanager
def explain_loss() -> Iterator[None]:
    """Raises ServerError in one sentence if the server stops answering in the block."""
    try:
        yield
    except httpx.TransportError as error:
        address = without_logins(str(PREFECT_API_URL.value()))
        raise ServerError(
            f"the Prefect server at {address} stopped answering ({type(error).__name__}); finished "
            "stages are kept: start the server and run again"
        ) from error


def _is_reachable(url: str) -> bool:
    """Whether anything answers, if only to say that a login is missing."""
    try:
        httpx.get(url, timeout=5.0)
    except (httpx.TransportError, httpx.InvalidURL):
        return False
    return True


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0).is_success
    except httpx.TransportError:
        return False


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """The stages that ran with their run times, and the paths of the results."""
    counts = [
        f"{sum(outcome.status == status for outcome in outcomes)} {status}"
        for status in ("ran", "restored", "unchanged")
    ]
    lines = ["", f"{len(outcomes)} stages in {clock(seconds)}: {', '.join(counts)}"]
    for outcome in outcomes:
        if outcome.status != "unchanged":
            lines.append(
                f"  {outcome.stage.name:<28} {outcome.status:<9} {outcome.seconds:8.1f} s"
                f"{_budget(outcome)}"
            )
    lines += ["", *produced()]
    return "\n".join(lines)


def clock(seconds: float) -> str:
    """Formats seconds.

    Examples:
        >>> clock(75.3)
        '1 min 15 s'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _budget(outcome: Outcome) -> str:
    return "" if outcome.stage.budget is None else f" of {outcome.stage.budget:g} s"
