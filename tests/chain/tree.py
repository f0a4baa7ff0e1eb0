"""Copies of the project, and commands that run in them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from concord.stage.params import read
from tests.chain.forks import SOCKET

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/tiny.yaml"
FORKED = "FORKED_PYTHON"
"""Environment variable: path of the Python that forks."""
GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]


def copy_project(folder: Path, cache: Path, recorded: bool = False) -> Path:
    """The working tree as it is, committed, on the DVC cache `cache`.

    Its params.yaml is the tiny recipe, and it has no record of a run. With `recorded` it is as a
    clone is: with the default recipe and its record.
    """
    listed = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    if not recorded:
        for record in ("dvc.lock", "reports"):
            forget(folder / record)
        shutil.copyfile(RECIPE, folder / "params.yaml")
    run(folder, "git", "init", "--quiet")
    run(folder, *dvc("config", "--local", "cache.dir", str(cache)))
    commit(folder, "the project")
    return folder


def forget(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def python() -> str:
    """The Python that forks (`tests.chain.forks`) if it is running, else this one."""
    forked = os.environ.get(FORKED, "")
    running = bool(forked) and Path(forked).with_name(SOCKET).exists()
    return forked if running else sys.executable


def environment(interpreter: str | None = None, **more: str) -> dict[str, str]:
    """An environment with `python()`, or another, first on PATH, without Prefect's settings."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "CONCORD_"))
    }
    folders = [Path(interpreter or python()).parent, Path(sys.executable).parent]
    path = os.pathsep.join([*map(str, folders), inherited["PATH"]])
    return inherited | {"PATH": path, "VIRTUAL_ENV": sys.prefix} | more


def run(folder: Path, *command: str, env: dict[str, str] | None = None) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=env or environment(),
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


def dvc(*arguments: str) -> list[str]:
    return [python(), "-m", "dvc", *arguments]


def make() -> list[str]:
    """`make` with this Python's environment instead of .venv."""
    return ["make", f"BIN={Path(sys.prefix) / 'bin'}", "--old-file=.venv/.installed"]


def commit(folder: Path, message: str) -> str:
    """Commits everything; returns the revision."""
    run(folder, *GIT, "add", "--all")
    run(folder, *GIT, "commit", "--quiet", "--allow-empty", "--message", message)
    return run(folder, "git", "rev-parse", "HEAD").strip()


def lock(folder: Path) -> dict[str, Any]:
    """dvc.lock: stage -> deps, params, outs."""
    return dict(read(folder / "dvc.lock")["stages"])


def hashes(folder: Path) -> dict[str, str]:
    """Output -> hash, for outputs without run times."""
    outs = {out["path"]: out["md5"] for stage in lock(folder).values() for out in stage["outs"]}
    return {path: md5 for path, md5 in outs.items() if not TIMED.match(path)}


TIMED = re.compile(r"reports/(timing/|rewards$|process_reward\.json|index\.html)")
"""Outputs that contain run times."""
