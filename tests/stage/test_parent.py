"""A stage ends with the DVC that started it, through any shell. One started by hand lives on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from concord.stage.closure import ROOT

STAGE = """
import os, time
from pathlib import Path
from concord.stage.command import command

def main() -> None:
    Path("new").write_text(str(os.getpid()))
    os.rename("new", "pid")
    time.sleep(120)

if __name__ == "__main__":
    command(main)
"""
STARTER = """
import subprocess, sys
subprocess.Popen([sys.argv[1], "-c", f"{sys.executable} stage.py"]).wait()
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    Path("stage.py").write_text(STAGE)
    yield tmp_path
    if Path("pid").exists() and psutil.pid_exists(stage := int(Path("pid").read_text())):
        os.kill(stage, signal.SIGKILL)


def start(*command: str) -> tuple[subprocess.Popen[bytes], psutil.Process]:
    """The started process, in a session of its own, and the stage below it."""
    starter = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 60
    while not Path("pid").exists():
        assert starter.poll() is None, "ended before its stage"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return starter, psutil.Process(int(Path("pid").read_text()))


def ends(process: psutil.Process, seconds: float) -> bool:
    """Whether a process ends within so many seconds."""
    deadline = time.monotonic() + seconds
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])  # a dash stays, a bash does not
def test_a_stage_ends_with_the_process_that_started_its_shell(
    project: Path, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    monkeypatch.setenv("DVC_STAGE", "stage")
    starter, stage = start(sys.executable, "-c", STARTER, shell)
    assert not ends(stage, 1.5)
    starter.kill()
    starter.wait()
    assert ends(stage, 10)


def test_a_stage_started_by_hand_outlives_its_shell(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    starter, stage = start(sys.executable, "-c", STARTER, "/bin/bash")
    starter.kill()
    starter.wait()
    assert not ends(stage, 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stage_ends_with_dvc(project: Path, number: signal.Signals) -> None:
    Path("dvc.yaml").write_text(f"stages: {{slow: {{cmd: {sys.executable} stage.py}}}}\n")
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], check=True)
    repro, stage = start(*dvc, "repro", "-q")
    repro.send_signal(number)
    repro.wait()
    assert ends(stage, 10)
