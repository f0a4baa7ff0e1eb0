"""SIGKILL of a worker between PENDING and RUNNING, when its run already holds the only slot.

    python -m benchmarks.torture.pending_kills [--tries 2] [--grace 60 | --grace 600]

The worker's command for the run is one that starts nothing, as if the machine needed very long to
start the process of the flow. The kill therefore lands while the run is pending. Another worker
starts at once, with a second run, which must complete: with the watchdog, and by Prefect's grace
period alone. The toy project of tests/flows is used, with a real server. Works in
runs/torture/pending.
"""

import argparse
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
from benchmarks.torture.process_kills import ENDS, Server, prefect, start_worker
from tests.flows.toy import ROOT, link_code, wait_until

START_NOTHING = f"sleep {100_000 + os.getpid()}"
"""The command of the run whose worker is killed. No other process has it."""
SECONDS_AFTER_GRACE = 240.0
"""The second run must have ended so many seconds after the grace period."""


def kill_pending(server: Server, folder: Path, grace: int, watchdog: bool) -> str:
    """Kills the worker of a pending run; returns what became of the slot and the next run.

    Raises AssertionError if the next run did not complete.
    """
    project = process_kills.toy(folder)
    text = (project / "prefect.yaml").read_text(encoding="utf-8")
    changed = re.sub(r"grace_period_seconds: \d+", f"grace_period_seconds: {grace}", text)
    (project / "prefect.yaml").write_text(changed, encoding="utf-8")
    link_code(project)
    env = {name: value for name, value in server.env.items() if name != "PYTHONPATH"}
    env["PREFECT_CLIENT_MAX_RETRIES"] = "8"  # SQLite is locked now and then on a busy machine
    prefect(project, env, "work-pool", "create", "--type", "process", "--overwrite", "concord")
    prefect(project, env, "deploy", "--name", "align")
    with running_worker(project, env) as worker:
        first = _start(server, command=START_NOTHING)
        wait_until(lambda: bool(_started()), 240, lambda: _state(server, first))
        assert (_state(server, first), _slots(server)) == ("PENDING", 1)
        worker.send_signal(signal.SIGKILL)
        killed = time.monotonic()
    with running_worker(project, env):
        second = _start(server)
        free, ended = _wait(server, project, second, killed, grace, watchdog)
    assert _state(server, second) == "COMPLETED", _state(server, second)
    result = (project / "join.txt").read_text(encoding="utf-8")
    assert result == process_kills.EXPECTED, "another result"
    return (
        f"killed while PENDING with the slot taken; the next run had the slot {free:.0f} s and was "
        f"COMPLETED {ended:.0f} s after the kill; the killed run is {_state(server, first)}"
    )


def _wait(
    server: Server, project: Path, run: str, killed: float, grace: int, watchdog: bool
) -> tuple[float, float]:
    """Seconds after the kill at which the run left the queue, and at which it ended."""
    free = 0.0
    while (state := _state(server, run)) not in ENDS:
        passed = time.monotonic() - killed
        assert passed < grace + SECONDS_AFTER_GRACE, f"{state} {passed:.0f} s after the kill"
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
    """The reply of the API. While SQLite is locked, the server replies 503: try again."""
    method = "GET" if body is None else "POST"
    while True:
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


def main() -> int:
    """Runs the tries, and prints what became of each; returns 1 if one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=2, help="of each kind")
    parser.add_argument("--grace", type=int, default=60, help="seconds, at least 60")
    parser.add_argument("--only", choices=("watchdog", "grace"))
    given = parser.parse_args()
    base = ROOT / "runs/torture/pending"
    server, failed = Server(base), 0
    server.start()
    try:
        for kind in [given.only] if given.only else ["watchdog", "grace"]:
            for number in range(given.tries):
                try:
                    text = kill_pending(server, base / "toy", given.grace, kind == "watchdog")
                except Exception as error:  # noqa: BLE001 - a failure is a figure too
                    failed, text = 1, f"not survived: {type(error).__name__}: {error}"
                print(f"{kind} {number + 1}, grace {given.grace} s: {text}", flush=True)
    finally:
        server.kill()
    return failed


if __name__ == "__main__":
    sys.exit(main())
