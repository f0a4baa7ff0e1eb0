"""Copies of the project on the tiny recipe, and what is asked of them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from concord.stage.params import read

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "tests/chain/recipe.yaml"
GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]


def copy_project(folder: Path, cache: Path) -> Path:
    """The working tree as it is, with the tiny recipe as params.yaml, committed; `cache` is DVC's."""
    listed = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
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


def environment(**more: str) -> dict[str, str]:
    """This Python first on PATH, nothing of a Prefect or a progress file of whoever runs the tests."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "CONCORD_"))
    }
    folder = str(Path(sys.executable).parent)
    return own | {"PATH": f"{folder}{os.pathsep}{own['PATH']}", "VIRTUAL_ENV": sys.prefix} | more


def run(folder: Path, *command: str, env: dict[str, str] | None = None) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(
        command, cwd=folder, env=env or environment(), stdin=subprocess.DEVNULL, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


def dvc(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dvc", *arguments]


def make() -> list[str]:
    """`make`, with this Python's environment in the place of .venv."""
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
    """Hash of every out that holds no clock times."""
    outs = {out["path"]: out["md5"] for stage in lock(folder).values() for out in stage["outs"]}
    return {path: md5 for path, md5 in outs.items() if not TIMED.match(path)}


TIMED = re.compile(r"reports/(timing/|rewards$|process_reward\.json|index\.html)")
"""What says how long a fit took."""
