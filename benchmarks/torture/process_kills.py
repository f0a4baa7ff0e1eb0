"""SIGKILL of the flow, of the worker and of the server, on the toy project of tests/flows."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from benchmarks.torture.fault_tries import Fault, require
from tests.chain.tree import environment
from tests.flows.toy import (
    PARAMS,
    ROOT,
    align,
    answers,
    link_code,
    make_toy,
    start_align,
    wait_until,
)

EXPECTED = "hello\na\nhello\nb\n"
SECONDS = 4.0
"""How long each part of the toy project takes."""
SECONDS_TO_END = 20.0
"""Processes of a killed flow must have ended within so many seconds."""


SECONDS_TO_FREE = 720.0
"""A slot of a lost worker must be free again, and the next run have ended, within so many seconds:
the grace period in prefect.yaml, and a run."""


class Server:
    """A Prefect server with its own home."""

    def __init__(self, base: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.home, self.url = base / "prefect", f"http://127.0.0.1:{port}/api"
        folder = str(Path(sys.executable).parent)
        self.env = environment(
            sys.executable,
            PREFECT_HOME=str(self.home),
            PREFECT_SERVER_API_PORT=str(port),
            PREFECT_API_URL=self.url,
            PREFECT_WORKER_QUERY_SECONDS="1",
            PREFECT_CLIENT_MAX_RETRIES="2",
            PYTHONPATH=str(ROOT),
            PATH=f"{folder}{os.pathsep}{os.environ['PATH']}",
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        self.home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "prefect", "server", "start"]
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.env, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: answers(f"{self.url}/health"), 300, lambda: "the server")

    def kill(self) -> None:
        """SIGKILL to the server and its children."""
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        for one in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait()


def toy(folder: Path) -> Path:
    """A new toy project."""
    shutil.rmtree(folder, ignore_errors=True)
    project = make_toy(folder)
    text = PARAMS.replace("seconds: 1.0", f"seconds: {SECONDS}")
    (project / "params.yaml").write_text(text)
    return project


def of(project: Path) -> list[psutil.Process]:
    """The running processes that work in a project."""
    running = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            inside = Path(process.cwd()).is_relative_to(project)
            if inside and process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
    return running


def faults(server: Server, base: Path, tries: int) -> list[Fault]:
    """A fault for each kind of process."""
    kinds: dict[str, Callable[[Server, Path, random.Random], str]] = {
        "the flow": kill_flow,
        "the server": kill_server,
        "the worker": kill_worker,
    }
    return [
        Fault(
            f"SIGKILL of {kind}", tries, lambda _, draw, kill=kill: kill(server, base / "toy", draw)
        )
        for kind, kill in kinds.items()
    ]


def kill_flow(server: Server, folder: Path, draw: random.Random) -> str:
    """Kills the flow alone; its stages must end, and the next run must finish."""
    project = toy(folder)
    process = start_align(project, server.env)
    wait_until(lambda: (project / "start.txt").exists(), 120, lambda: "the first stage")
    time.sleep(draw.random() * 3 * SECONDS)
    running = process.poll() is None
    process.kill()
    killed = time.monotonic()
    process.communicate()
    wait_until(lambda: not of(project), SECONDS_TO_END, lambda: f"left: {of(project)}")
    took = time.monotonic() - killed
    finish(server, project)
    ended = "5 s" if took < 5 else f"{SECONDS_TO_END:g} s"
    return f"stages ended within {ended}, same result" if running else "after the end"


def finish(server: Server, project: Path) -> None:
    """Runs the flow to its end. Raises UnsurvivedError for another result."""
    code, output = align(project, server.env)
    require(code == 0, f"the next run failed: {output[-400:]}")
    require((project / "join.txt").read_text() == EXPECTED, "another result")


def kill_server(server: Server, folder: Path, draw: random.Random) -> str:
    """Kills the server during a run; the run ends well, or says why it could not."""
    project = toy(folder)
    process = start_align(project, server.env)
    wait_until(lambda: (project / "start.txt").exists(), 120, lambda: "the first stage")
    time.sleep(draw.random() * 2 * SECONDS)
    server.kill()
    try:
        output, _ = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    finally:
        server.start()
    wait_until(lambda: not of(project), SECONDS_TO_END, lambda: f"left: {of(project)}")
    finish(server, project)
    if process.returncode == 0:
        return "the run finished without it"
    lines = [line for line in output.strip().splitlines() if line.strip()]
    if "Traceback" in output:
        return f"the run ended with a traceback of {len(lines)} lines; the next run finished"
    return "the run ended with a clear error; the next run finished"


def kill_worker(server: Server, folder: Path, draw: random.Random) -> str:
    """Kills the worker alone at any moment from its start on; another worker then finishes."""
    project = toy(folder)
    link_code(project)
    env = {name: value for name, value in server.env.items() if name != "PYTHONPATH"}
    prefect(project, env, "work-pool", "create", "--type", "process", "--overwrite", "concord")
    prefect(project, env, "deploy", "--all")
    worker = start_worker(project, env)
    run = _id(prefect(project, env, "deployment", "run", "align/align"))
    time.sleep(draw.random() * 25)
    state = _state(env, run)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    for process in of(project):  # a lost machine takes the run with it
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    worker = start_worker(project, env)
    try:
        run = _id(prefect(project, env, "deployment", "run", "align/align"))
        _wait_with_watchdog(project, env, run)
        ended = _state(env, run)
        require(ended == "COMPLETED", f"killed in {state}, the next run ended as {ended}")
        require((project / "join.txt").read_text() == EXPECTED, "another result")
    finally:
        worker.kill()
        worker.wait()
    return f"killed while the run was {state}, the next run completed"


ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def start_worker(project: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Starts a worker of the pool."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "concord"]
    with Path(env["PREFECT_HOME"], "worker.log").open("ab") as log:
        return subprocess.Popen(
            command, env=env, cwd=project, stdout=log, stderr=log, start_new_session=True
        )


def prefect(project: Path, env: dict[str, str], *arguments: str) -> str:
    """The output of a Prefect command, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
        cwd=project,
        env=env | {"PWD": str(project)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    require(done.returncode == 0, f"prefect {arguments[0]}: {(done.stdout + done.stderr)[-300:]}")
    return done.stdout


def _wait_with_watchdog(project: Path, env: dict[str, str], run: str) -> None:
    """Waits for a run, and runs the watchdog meanwhile, as its schedule does."""
    deadline = time.monotonic() + SECONDS_TO_FREE
    while _state(env, run) not in ENDS:
        require(time.monotonic() < deadline, f"the next run was {_state(env, run)} at the end")
        command = [sys.executable, "-m", "flows.watchdog"]
        subprocess.run(command, cwd=project, env=env, capture_output=True, check=False)
        time.sleep(5)


def _id(output: str) -> str:
    return next(word for word in output.split() if len(word) == 36 and word.count("-") == 4)


def _state(env: dict[str, str], run: str) -> str:
    reply = httpx.get(f"{env['PREFECT_API_URL']}/flow_runs/{run}", timeout=30)
    return str(reply.raise_for_status().json()["state_type"])
