"""SIGKILL of a worker between PENDING and RUNNING, when its run already holds the only slot.

The worker's command for the run is one that starts nothing, as if the machine needed very long to
start the process of the flow. The kill therefore lands while the run is pending. Another worker
starts at once, with a second run, which must complete: with the watchdog, and by Prefect's grace
period alone. The toy project of tests/flows is used, with a real server.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.torture import process_kills
from benchmarks.torture.fault_tries import Fault, require
from benchmarks.torture.process_kills import ENDS, Server, prefect, start_worker
from tests.flows.toy import link_code, wait_until

START_NOTHING = f"sleep {100_000 + os.getpid()}"
"""The command of the run whose worker is killed. No other process has it."""
GRACE = 60
"""Grace period of the deployment in this try, in seconds: the shortest that Prefect permits."""
SECONDS_AFTER_GRACE = 240.0
"""The second run must have ended so many seconds after the grace period."""


def faults(server: Server, base: Path, tries: int) -> list[Fault]:
    """The kill with and without the watchdog. A try takes minutes, so there are two at most."""
    kinds = {"": True, ", without the watchdog": False}
    return [
        Fault(
            f"SIGKILL of the worker of a pending run{kind}",
            min(tries, 2),
            lambda _, __, watchdog=watchdog: kill_pending(server, base / "toy", watchdog),
        )
        for kind, watchdog in kinds.items()
    ]


def kill_pending(server: Server, folder: Path, watchdog: bool) -> str:
    """Kills the worker of a pending run; returns what became of the slot and the next run."""
    project = process_kills.toy(folder)
    text = (project / "prefect.yaml").read_text(encoding="utf-8")
    changed = re.sub(r"grace_period_seconds: \d+", f"grace_period_seconds: {GRACE}", text)
    (project / "prefect.yaml").write_text(changed, encoding="utf-8")
    link_code(project)
    env = {name: value for name, value in server.env.items() if name != "PYTHONPATH"}
    env["PREFECT_CLIENT_MAX_RETRIES"] = "8"  # SQLite is locked now and then on a busy machine
    prefect(project, env, "work-pool", "create", "--type", "process", "--overwrite", "concord")
    prefect(project, env, "deploy", "--name", "align")
    with running_worker(project, env) as worker:
        first = _start(server, command=START_NOTHING)
        wait_until(lambda: bool(_started()), 240, lambda: _state(server, first))
        before = _state(server, first), _slots(server)
        require(before == ("PENDING", 1), f"state and slots before the kill: {before}")
        worker.send_signal(signal.SIGKILL)
        killed = time.monotonic()
    with running_worker(project, env):
        second = _start(server)
        free, ended = _wait(server, project, second, killed, watchdog)
    ending = _state(server, second)
    require(ending == "COMPLETED", f"the next run ended as {ending}")
    result = (project / "join.txt").read_text(encoding="utf-8")
    require(result == process_kills.EXPECTED, "another result")
    return (
        f"the next run had the slot {free:.0f} s and was COMPLETED {ended:.0f} s after the kill, "
        f"the killed one is {_state(server, first)}"
    )


def _wait(
    server: Server, project: Path, run: str, killed: float, watchdog: bool
) -> tuple[float, float]:
    """Seconds after the kill at which the run left the queue, and at which it ended."""
    free = 0.0
    while (state := _state(server, run)) not in ENDS:
        passed = time.monotonic() - killed
        require(passed < GRACE + SECONDS_AFTER_GRACE, f"{state} {passed:.0f} s after the kill")
        if not free and state in ("PENDING", "RUNNING"):
            free = passed
        if watchdog:
            command = [sys.executable, "-m", "flows.watchdog"]
            subprocess.run(command, cwd=project, env=server.env, capture_output=True, check=False)
        time.sleep(1)
    return free, time.monotonic() - killed


@contextlib.contextmanager
def running_worker(project: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker in the block. What it started ends with it, as on a machine that is lost."""
    worker = start_worker(project, env)
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()
        for process in [*_started(), *process_kills.of(project)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _started() -> list[psutil.Process]:
    """The process that the worker has started for the run."""
    processes = psutil.process_iter(["cmdline"])
    return [one for one in processes if one.info["cmdline"] == START_NOTHING.split()]


def _ask(server: Server, path: str, body: dict[str, Any] | None = None) -> Any:
    """The reply of the API. A busy server replies 503, or not in time: try again."""
    method = "GET" if body is None else "POST"
    while True:
        with contextlib.suppress(httpx.TimeoutException):
            reply = httpx.request(method, f"{server.url}/{path}", json=body, timeout=60)
            if reply.status_code != 503:
                return reply.raise_for_status().json()
        time.sleep(1)


def _start(server: Server, **job_variables: str) -> str:
    deployment = _ask(server, "deployments/name/align/align")["id"]
    path = f"deployments/{deployment}/create_flow_run"
    return str(_ask(server, path, {"job_variables": job_variables})["id"])


def _state(server: Server, run: str) -> str:
    return str(_ask(server, f"flow_runs/{run}")["state_type"])


def _slots(server: Server) -> int:
    limit = _ask(server, "deployments/name/align/align")["global_concurrency_limit"]["name"]
    return int(_ask(server, f"v2/concurrency_limits/{limit}")["active_slots"])
