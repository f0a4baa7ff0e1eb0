"""Faults of a run: edited params, two runs at once, a wrong clock, locks, a lost remote."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import psutil

from benchmarks.torture.fault_tries import Fault, clear_error, require
from benchmarks.torture.small_project import CANARY, SmallProject, outputs_of
from flows import guard
from tests.chain import tree
from tests.flows.toy import wait_until


def faults(project: SmallProject, tries: int) -> list[Fault]:
    """The faults of this module. Their number of tries is fixed."""
    del tries
    return [
        Fault("the guard of a stage killed", 3, lambda *_: killed_guard(project)),
        Fault("a lock left behind", 4, lambda number, _: lock_left(project, whole=number % 2 == 0)),
        Fault("the clock set back", 2, lambda *_: clock_back(project)),
        Fault("two runs in one tree", 3, lambda *_: two_runs(project)),
        Fault("params edited during a run", 3, lambda _, draw: edited_params(project, draw)),
        Fault(
            "the remote gone in the middle of a push", 3, lambda _, draw: lost_remote(project, draw)
        ),
        Fault("secrets in files, logs or reports", 1, lambda *_: secrets(project)),
    ]


def up_to_date(project: SmallProject, before: dict[str, str]) -> None:
    """Raises UnsurvivedError unless `dvc repro` ends with the hashes `before`."""
    code, output = project.run("repro")
    require(code == 0, f"the next run failed: {output[-300:]}")
    require(tree.hashes(project.folder) == before, "other hashes")


def killed_guard(project: SmallProject) -> str:
    """SIGKILL to the guard (flows/guard.py) of a stage: DVC and the stage must not stay."""
    stage, before = "rollouts", tree.hashes(project.folder)
    project.forget(stage)
    env = tree.environment(sys.executable)  # forks have another parent
    process = subprocess.Popen(
        [sys.executable, guard.__file__, sys.executable, "-m", "dvc", "repro", "-s", stage],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=project.folder,
        env=env,
        start_new_session=True,
    )
    parent = psutil.Process(process.pid)
    wait_until(lambda: _runs_a_stage(parent), 120, lambda: "the stage")
    children = parent.children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, left = psutil.wait_procs(children, timeout=15)
    names = [" ".join(one.cmdline()[-3:]) for one in left if one.is_running()]
    project.kill()
    project.python("-m", "flows.repair")
    up_to_date(project, before)
    require(not left, f"stayed: {names}")
    return f"its {len(children)} processes ended within 15 s, then the same hashes"


def _runs_a_stage(parent: psutil.Process) -> bool:
    commands = [one.cmdline() for one in parent.children(recursive=True)]
    return any(command[-2:] == ["-m", "tasks.rollouts"] for command in commands)


def lock_left(project: SmallProject, whole: bool) -> str:
    """Leaves DVC's lock files as a killed process does, whole or cut."""
    before = tree.hashes(project.folder)
    held = {str(project.folder / "params.yaml"): [{"pid": 999_999, "cmd": "dvc repro"}]}
    text = json.dumps({"read": held, "write": {}})
    (project.folder / ".dvc/tmp/rwlock").write_text(text if whole else text[:20])
    (project.folder / ".dvc/tmp/lock").touch()
    code, output = project.python("-m", "flows.repair")
    require(code == 0, output[-300:])
    up_to_date(project, before)
    return f"{'whole' if whole else 'incomplete'} lock, the next run works"


def clock_back(project: SmallProject) -> str:
    """Files of the project from the future, as after a clock that was set back by a year."""
    before = tree.hashes(project.folder)
    future = time.time() + 365 * 86_400
    for path in sorted(project.folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and ".git" not in path.parts:
            os.utime(path, (future, future))
    up_to_date(project, before)
    stage = "rollouts"
    project.forget(stage)
    code, output = project.run("repro", "--single-item", stage)
    require(code == 0, output[-300:])
    require(tree.hashes(project.folder) == before, "other hashes")
    return "nothing reruns, a forgotten stage gives the same hashes"


def two_runs(project: SmallProject) -> str:
    """Starts the same stage twice at once."""
    stage = "anchors"
    expected = outputs_of(project.folder, stage)
    project.forget(stage)
    both = [project.begin("--wait-for-lock", "repro", "--single-item", stage) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    codes = [process.returncode for process in both]
    for code, output in zip(codes, outputs, strict=True):
        if code:
            clear_error(code, output)
    require(0 in codes, f"both failed: {outputs[0][-200:]}")
    require(outputs_of(project.folder, stage) == expected, "other hashes")
    return "both end well" if codes == [0, 0] else "one ends well, one with a clear error"


def edited_params(project: SmallProject, draw: random.Random) -> str:
    """Edits a value that the running stage reads; the record must not be that of the new value."""
    stage, path = "rollouts", project.folder / "params.yaml"
    expected, text = outputs_of(project.folder, stage), path.read_text()
    before = tree.hashes(project.folder)
    project.forget(stage)
    process = project.begin("repro", "--single-item", stage)
    time.sleep(1 + draw.random() * 4)
    require("samples: 4" in text, "the value to edit is not there")
    path.write_text(text.replace("samples: 4", "samples: 3"))
    try:
        process.communicate(timeout=300)
        recorded = tree.lock(project.folder).get(stage)
        if process.returncode == 0 and recorded is not None:
            rollouts = recorded["params"]["params.yaml"]["rollouts"]
            same = outputs_of(project.folder, stage) == expected
            require(same == (rollouts["samples"] == 4), "the record has the wrong params")
    finally:
        path.write_text(text)
        process.kill()
    up_to_date(project, before)
    return "the record names the params that made it; the next run gives the same hashes"


def lost_remote(project: SmallProject, draw: random.Random) -> str:
    """Takes the remote away during `dvc push`; after it is back, a push must complete it."""
    remote = project.base / "remote"
    shutil.rmtree(remote, ignore_errors=True)
    remote.mkdir()
    project.run("remote", "add", "--local", "--force", "--default", "torture", str(remote))
    process = project.begin("push")
    deadline = time.monotonic() + 60
    wanted = draw.randrange(1, 30)
    while process.poll() is None and time.monotonic() < deadline:
        if sum(1 for _ in remote.glob("files/md5/*/*")) >= wanted:
            break
        time.sleep(0.005)
    during = process.poll() is None
    remote.rename(remote.with_name("gone"))
    remote.write_text("a mount point that is gone")
    output, _ = process.communicate(timeout=300)
    remote.unlink()
    remote.with_name("gone").rename(remote)
    if during and process.returncode:
        clear_error(process.returncode, output)
    code, output = project.run("push")
    require(code == 0, f"the next push: {output[-300:]}")
    code, output = project.run("status", "--cloud")
    require(code == 0 and "in sync" in output, f"not complete: {output[-300:]}")
    shutil.rmtree(remote)
    if not during:
        return "after the end"
    return "clear error, the next push completes it" if process.returncode else "was complete"


def secrets(project: SmallProject) -> str:
    """Searches every file of the project for the values of `SECRETS` in its environment."""
    checked, shown = 0, []
    for root in (project.folder, project.cache, project.base / "output"):
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            if path.is_file():
                checked += 1
                if CANARY.encode() in path.read_bytes() and path.stem != "small_project":
                    shown.append(str(path.relative_to(project.base)))
    require(not shown, f"in {shown[:3]}")
    return f"in none of {checked} files"
