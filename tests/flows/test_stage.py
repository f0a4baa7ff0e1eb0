"""One stage under the guard: its outcome, its errors, and no process left at the end."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows import guard, stage
from flows.devices import Device, Slot
from flows.graph import Meta, Stage
from flows.stage import Outcome, Processes, StageError, exclusive_run, run
from tests.flows.toy import PARAMS, alive, dvc, pids, wait_until


@pytest.fixture
def project(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(toy)
    dvc(toy, "repro", "--quiet", "start")
    return toy


def part(name: str = "part@a", timeout: float = 60.0) -> Stage:
    return Stage(name, Meta(phase="rewards", timeout=timeout), ("start",))


def run_part(lines: list[str], timeout: float = 60.0, slot: Slot | None = None) -> Outcome:
    return run(part(timeout=timeout), Processes(0), lines.append, lambda _: None, slot)


def slow(project: Path, seconds: float = 100) -> None:
    (project / "params.yaml").write_text(
        PARAMS.replace("a: {seconds: 1.0", f"a: {{seconds: {seconds}")
    )


def gone(project: Path) -> bool:
    return not any(alive(pid) for pid in pids(project, "a"))


def started(project: Path) -> bool:
    return (project / "a.pids").exists() and len(pids(project, "a")) == 2


def test_ran_unchanged_restored(project: Path) -> None:
    lines: list[str] = []
    reports: list[str] = []

    def progress(path: Path) -> None:
        if path.exists():
            reports.append(path.read_text())

    first = run(part(), Processes(0), lines.append, progress, Slot(Device("7"), 0))
    assert first.status == "ran"
    assert 1.0 < first.seconds < 60.0
    assert lines[0] == "Running stage 'part@a':"
    assert "slot 7" in lines
    assert not any("lock file" in line or "git add" in line for line in lines)
    assert json.loads(reports[-1]) == {"stage": "a", "label": "toy", "done": 1, "total": 2}
    assert run_part([]).status == "unchanged"
    (project / "parts/a").unlink()
    assert run_part([]).status == "restored"
    assert (project / "parts/a").read_text() == "hello\na\n"


@pytest.mark.parametrize("left", ["", '{"write": {"a'])
def test_an_incomplete_lock_file_is_removed(project: Path, left: str) -> None:
    """DVC cannot start until such a file is deleted."""
    (project / ".dvc/tmp/rwlock").write_text(left)
    messages = list[str]()
    with exclusive_run(messages.append):
        dvc(project, "repro", "--quiet", "--single-item", "part@b")
    assert "rwlock" in messages[0]
    complete = (project / ".dvc/tmp/rwlock").read_text()
    with exclusive_run(messages.append):
        assert (project / ".dvc/tmp/rwlock").read_text() == complete
    assert len(messages) == 1


def test_a_failure_shows_its_output(project: Path) -> None:
    (project / "params.yaml").write_text(
        PARAMS.replace("a: {seconds: 1.0, status: 0", "a: {seconds: 0.0, status: 3")
    )
    with pytest.raises(StageError, match=r"(?s)part@a failed.*what went wrong") as failed:
        run_part([])
    assert not failed.value.killed


def test_a_stage_that_explains_itself_is_quoted_and_not_its_last_lines() -> None:
    """75 is the exit status of a stage that could not reach a server."""
    after = ["ERROR: failed to reproduce 'sft': failed to run: x, exited with {}"]
    said = ["step 1", "UnreachableError: the judge does not answer;", "check its server"]
    for status, unreachable in ((75, True), (1, False)):
        with pytest.raises(StageError) as failed:
            stage._fail(part(), 255, [*said, after[0].format(status)], ended=False)
        assert str(failed.value) == (
            "part@a failed (exit status 255): UnreachableError: the judge does not answer;\n"
            "check its server"
        )
        assert (failed.value.unreachable, failed.value.killed) == (unreachable, False)
    bug = ['  File "x.py", line 1, in f', "ValueError: 3", after[0].format(1)]
    with pytest.raises(StageError, match=r'(?s)last lines of its output:.*File "x\.py"'):
        stage._fail(part(), 255, bug, ended=False)


def test_force_runs_what_is_up_to_date(project: Path) -> None:
    (project / "params.yaml").write_text(PARAMS.replace("seconds: 1.0", "seconds: 0.0"))
    statuses = [
        run(part(), Processes(0), lambda _: None, lambda _: None, force=force).status
        for force in (False, False, True)
    ]
    assert statuses == ["ran", "unchanged", "ran"]


def test_a_killed_stage_is_recognised(project: Path) -> None:
    slow(project)
    kill = threading.Thread(
        target=lambda: (wait_until(lambda: started(project), 60), _kill(pids(project, "a")[0]))
    )
    kill.start()
    with pytest.raises(StageError, match="part@a failed") as failed:
        run_part([])
    kill.join()
    assert failed.value.killed


def test_a_timeout_ends_the_whole_tree(project: Path) -> None:
    slow(project)
    with pytest.raises(StageError, match="terminated after its timeout of 5 s; raise `timeout`"):
        run_part([], timeout=5.0)
    assert gone(project)


def test_cancelling_terminates_the_tree_and_starts_no_more(project: Path) -> None:
    slow(project)
    processes = Processes(0)
    end = threading.Thread(
        target=lambda: (wait_until(lambda: started(project), 60), processes.end())
    )
    end.start()
    with pytest.raises(StageError, match="part@a was terminated with the run"):
        run(part(), processes, lambda _: None, lambda _: None)
    end.join()
    assert gone(project)
    with pytest.raises(StageError, match="not started"):
        run(part("part@b"), processes, lambda _: None, lambda _: None)


def test_the_guard_ends_the_tree_when_its_holder_is_killed(project: Path) -> None:
    slow(project)
    command = [sys.executable, guard.__file__, sys.executable, "part.py", "a", "100", "0"]
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess as s; s.Popen({command}, stdin=s.PIPE).wait()"]
    )
    try:
        wait_until(lambda: started(project), 60)
    finally:
        holder.kill()
        holder.wait()
    wait_until(lambda: gone(project), 30)


@pytest.mark.parametrize(
    ("script", "status"), [("exit 7", 7), ("kill -9 $$", 128 + signal.SIGKILL), ("true", 0)]
)
def test_the_guard_passes_on_the_exit_status(script: str, status: int) -> None:
    with subprocess.Popen(
        [sys.executable, guard.__file__, "sh", "-c", script], stdin=subprocess.PIPE
    ) as process:
        assert process.wait() == status


def test_the_guard_ends_what_its_command_leaves_behind(tmp_path: Path) -> None:
    script = f"sleep 100 & echo $! > {tmp_path}/pid; exit 0"
    with subprocess.Popen(
        [sys.executable, guard.__file__, "sh", "-c", script], stdin=subprocess.PIPE
    ) as process:
        assert process.wait() == 0
    assert not alive(int((tmp_path / "pid").read_text()))


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
