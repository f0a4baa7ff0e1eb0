"""A stage killed with SIGKILL resumes from its last checkpoint, with bitwise equal results."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from concord.stage.resume import COMPLETE
from tests.chain.tree import dvc, environment, lock, python, run

STEPS = 14


def lengthen(project: Path, before: str, after: str) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    assert before in text
    (project / "params.yaml").write_text(text.replace(before, after), encoding="utf-8")


def begin(project: Path, stage: str, interpreter: str) -> subprocess.Popen[bytes]:
    """Starts the stage through DVC."""
    return subprocess.Popen(
        [interpreter, "-m", "dvc", "repro", "--single-item", stage],
        cwd=project,
        env=environment(interpreter),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_after_a_checkpoint(project: Path, stage: str) -> None:
    """Starts the stage and kills its process tree after the first complete checkpoint."""
    process = begin(project, stage, sys.executable)  # forks would not be in its tree
    deadline = time.monotonic() + 120
    while not list((project / "work").glob(f"**/checkpoint-*/{COMPLETE}")):
        assert process.poll() is None, "ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    parent = psutil.Process(
        process.pid
    )  # DVC first: killed while it notes that its stage died, it leaves half a file
    tree = [parent, *parent.children(recursive=True)]
    for member in tree:
        member.send_signal(signal.SIGKILL)
    process.wait()


def result(project: Path, stage: str) -> dict[str, str]:
    return {out["path"]: out["md5"] for out in lock(project)[stage]["outs"]}


def test_a_killed_stage_resumes(copy: Path, tmp_path: Path) -> None:
    stage = "policy@mah_dpo"
    lengthen(copy, "steps: 4, batch_size: 14", f"steps: {STEPS}, batch_size: 14")
    shutil.rmtree(copy / "work", ignore_errors=True)
    run(copy, *dvc("repro", "--single-item", "check"))
    run(tmp_path, "cp", "-a", str(copy), str(tmp_path / "undisturbed"))
    run(
        tmp_path / "undisturbed", *dvc("config", "--local", "cache.dir", str(tmp_path / "cache"))
    )  # else its run is restored
    undisturbed = begin(tmp_path / "undisturbed", stage, python())  # on the other core
    kill_after_a_checkpoint(copy, stage)
    assert undisturbed.wait(timeout=300) == 0
    assert result(copy, stage) != result(tmp_path / "undisturbed", stage)
    output = run(copy, *dvc("repro", "--single-item", stage))
    assert "resuming from step" in output
    assert result(copy, stage) == result(tmp_path / "undisturbed", stage)
    assert not list((copy / "work").glob("**/checkpoint-*"))
