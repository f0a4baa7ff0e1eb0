"""SIGKILL of each kind of stage at random moments, alone and followed by a power cut.

The model of a power cut: all processes of the project end at once; then every file in the project
and in the cache that was written within the last 30 seconds, and that no process of Python
synchronised (`os.fsync`), is cut at a random place with probability one half. Renames are kept, as
most file systems do, so a complete name can hold an incomplete file. Not in the model: SQLite's
databases, which synchronise themselves, git's files, and blocks that reach the disk in another
order.
"""

import os
import random
import time
from pathlib import Path

from benchmarks.torture.fault_tries import Fault, require
from benchmarks.torture.small_project import SYNCED, SmallProject, outputs_of
from tests.chain import tree

SECONDS_UNWRITTEN = 30.0


def kinds(project: SmallProject) -> dict[str, str]:
    """Kind of stage -> the stage that stands for it."""
    names = tree.lock(project.folder)
    return {name.partition("@")[0]: name for name in names}


def faults(project: SmallProject, tries: int) -> list[Fault]:
    """A fault per kind of stage. About half of the tries are followed by a power cut."""
    return [
        Fault(f"SIGKILL of {kind}", tries, lambda _, draw, stage=stage: one(project, stage, draw))
        for kind, stage in kinds(project).items()
    ]


def one(project: SmallProject, stage: str, draw: random.Random) -> str:
    """Kills a stage once, runs it again, and compares its outputs with those before."""
    expected = outputs_of(project.folder, stage)
    before = (project.folder / "dvc.lock").read_bytes()
    try:
        seen = _one(project, stage, draw, expected)
        project.complete_lock(before)
        return seen
    except BaseException:
        project.kill()
        (project.folder / "dvc.lock").write_bytes(before)
        (project.folder / ".dvc/tmp/rwlock").unlink(missing_ok=True)
        project.run("checkout", "--force")
        raise


def _one(project: SmallProject, stage: str, draw: random.Random, expected: dict[str, str]) -> str:
    power_cut = draw.random() < 0.5
    synced = project.base / "synced"
    synced.write_text("")
    project.env[SYNCED] = str(synced)
    project.forget(stage)
    began = time.time()
    process = project.begin("repro", "--single-item", stage)
    time.sleep(draw.random() * project.duration(stage))
    running = process.poll() is None
    project.kill()
    process.communicate()
    if power_cut:
        cut_files(project, began, synced, draw)
    if power_cut or not running:
        code, output = project.python("-m", "flows.repair")
        require(code == 0, f"repair: {output[-200:]}")
    again = time.monotonic()
    code, output = project.run("repro", "--single-item", stage)
    repaired = ""
    if code and "rwlock" in output:  # what the flow does before it runs
        _remove_incomplete_rwlock(project)
    elif code and "dvc.lock' is invalid" in output:  # the flow does this too
        repaired = " in the middle of dvc.lock"
        done, said = project.python("-m", "flows.repair")
        require(done == 0 and "dvc.lock was incomplete" in said, f"repair: {said[-200:]}")
    if code:
        code, output = project.run("repro", "--single-item", stage)
    require(code == 0, f"the rerun failed: {output[-300:]}")
    if running:
        project.took(stage, time.monotonic() - again)
    actual = outputs_of(project.folder, stage)
    other = sorted(path for path in expected if actual.get(path) != expected[path])
    require(not other, f"other hashes: {other}")
    what = ("power cut" if power_cut else "kill") + repaired
    if not running:
        return f"{what} after the end, same hashes"
    return f"{what}, {'resumed' if 'resuming' in output else 'run again'}, same hashes"


def _remove_incomplete_rwlock(project: SmallProject) -> None:
    code = "from pathlib import Path; from flows.stage import remove_incomplete_lock; "
    code += "print(remove_incomplete_lock(Path('.dvc/tmp/rwlock')))"
    done, output = project.python("-c", code)
    require(done == 0 and "True" in output, f"the lock: {output[-200:]}")


def cut_files(project: SmallProject, began: float, synced: Path, draw: random.Random) -> int:
    """Cuts files that may not have reached the disk; returns their number."""
    kept = {int(inode) for inode in synced.read_text().split()}
    since, count = max(began, time.time() - SECONDS_UNWRITTEN), 0
    for root in (project.folder, project.cache):
        for parent, folders, names in os.walk(root):
            folders[:] = sorted(set(folders) - {".git", "__pycache__"})
            for path in sorted(Path(parent, name) for name in names):
                if _may_be_lost(path, since, kept) and draw.random() < 0.5:
                    mode, size = path.stat().st_mode, path.stat().st_size
                    path.chmod(0o644)
                    os.truncate(path, draw.randrange(size + 1))
                    path.chmod(mode)
                    count += 1
    return count


def _may_be_lost(path: Path, since: float, kept: set[int]) -> bool:
    if path.is_symlink() or not path.is_file() or path.suffix in (".db", ".db-wal", ".db-shm"):
        return False
    return path.stat().st_mtime >= since and path.stat().st_ino not in kept
