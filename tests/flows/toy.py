"""A toy project of six stages whose graph has a fan-out and a fan-in.

                +-> part@a --+
start (params) -+            +-> join -> report
                +-> part@b --+
                (and `apart`, on which no stage depends)
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from flows.graph import Stage
from tests.chain.tree import python

ROOT = Path(__file__).resolve().parents[2]
GRAPH = """
stages:
  start:
    cmd: echo ${word} > start.txt
    outs: [start.txt]
    meta: {phase: ingestion}
  part:
    foreach: ${parts}
    do:
      cmd: mkdir -p parts && python part.py ${key} ${item.seconds} ${item.status}
      deps: [part.py, start.txt]
      outs:
        - parts/${key}
      meta: {phase: rewards, gpu: true, timeout: 60}
  apart:
    cmd: echo apart > apart.txt
    deps: [start.txt]
    outs: [apart.txt]
    meta: {phase: rewards}
  join:
    cmd: cat parts/* > join.txt
    deps: [parts]
    outs: [join.txt]
    meta: {phase: evaluation}
  report:
    cmd:
      - mkdir -p reports/policies && cp join.txt reports/index.html
      - cp policy.json reports/policies/a.json
    deps: [join.txt]
    outs:
      - reports/index.html: {cache: false}
    meta: {phase: evaluation}
"""
PARAMS = """
runtime: {threads: 1, device: cpu, dtype: float32}
budget: {part@a: 0.01}
word: hello
policies: {a: {method: reference}}
parts:
  a: {seconds: 1.0, status: 0}
  b: {seconds: 1.0, status: 0}
"""
PART = """
import json, os, subprocess, sys, time
name, seconds, status = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
print("slot", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
child = subprocess.Popen(["sleep", str(seconds)], start_new_session=True)  # like a launcher
with open(f"{name}.pids", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
with open(os.environ.get("CONCORD_PROGRESS", os.devnull), "a") as file:
    file.write(json.dumps({"stage": name, "label": "toy", "done": 1, "total": 2}) + "\\n")
began = time.time()
child.wait()
with open("times", "a") as file:
    file.write(f"{name} {began} {time.time()}\\n")
if status:
    print("what went wrong", file=sys.stderr)
    sys.exit(status)
with open(f"parts/{name}", "w") as file:
    file.write(open("start.txt").read() + name + "\\n")
"""


POLICY = '{"measure": "gold mean", "objectives": {"helpful": {"gold_mean": 0.25}}}'


def make_toy(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, text in {
        "dvc.yaml": GRAPH,
        "params.yaml": PARAMS,
        "part.py": PART,
        "policy.json": POLICY,
    }.items():
        (folder / name).write_text(text)
    for name in (".dvcignore", "pyproject.toml", "prefect.yaml"):
        shutil.copyfile(ROOT / name, folder / name)
    (folder / ".dvc").mkdir()
    shutil.copyfile(ROOT / ".dvc/config", folder / ".dvc/config")
    (folder / ".gitignore").write_text(".dvc/cache\n.dvc/tmp\n")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running_server(environment: dict[str, str], log: Path) -> Iterator[dict[str, str]]:
    """A Prefect server; yields an environment in which it is found like that of `make ui`."""
    port = free_port()
    env = environment | {"PREFECT_SERVER_API_PORT": str(port)}
    command = [sys.executable, "-m", "prefect", "server", "start"]
    with (
        log.open("w") as file,
        subprocess.Popen(command, env=env, cwd=ROOT, stdout=file, stderr=file) as process,
    ):
        url = f"http://127.0.0.1:{port}/api"
        try:
            wait_until(lambda: answers(f"{url}/health"), 300, log.read_text)
            yield env | {"TOY_API": url}
        finally:
            process.terminate()


def wait_until(condition: Callable[[], bool], seconds: float, why: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"timed out after {seconds} s: {why()}"
        time.sleep(0.05)


def start_align(project: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flows.align"]
    return subprocess.Popen(
        command, cwd=project, env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, process_group=0,
    )  # fmt: skip


def align(project: Path, env: dict[str, str]) -> tuple[int, str]:
    """Exit status and output of `python -m flows.align`."""
    process = start_align(project, env)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def dvc(project: Path, *arguments: str) -> str:
    command = [python(), "-m", "dvc", *arguments]
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=project, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pids(project: Path, part: str) -> list[int]:
    """The process ids of a part and its child."""
    return [int(pid) for pid in (project / f"{part}.pids").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def names_of(stages: Sequence[Stage]) -> list[str]:
    return [stage.name for stage in stages]


def link_code(project: Path) -> None:
    """Links the code of this project into the toy project, as in a checkout."""
    for name in ("flows", "tasks", "concord"):
        (project / name).symlink_to(ROOT / name)
