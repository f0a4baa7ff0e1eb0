"""DVC as the store of a release's data and checkpoints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from concord.release.repository import ReleaseError


def dvc(folder: Path, *arguments: str) -> str:
    """The output of a DVC command in `folder`. Raises ReleaseError if it fails."""
    python = Path(sys.executable)
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)])
    done = subprocess.run(
        [str(python), "-m", "dvc", "--wait-for-lock", *arguments],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(
            f"`dvc {arguments[0]}` failed in {folder}: {_reason(done.stderr)} "
            "Nothing was published."
        )
    return done.stdout


def _reason(stderr: str) -> str:
    """The errors that DVC printed, as one line."""
    lines = [line.removeprefix("ERROR: ").strip() for line in stderr.splitlines()]
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if "ERROR" in line]
    return "; ".join(errors or [line for line in lines if line] or ["no message"])
