"""DVC's file of read and write locks, which a killed process can leave incomplete."""

from __future__ import annotations

import json
from pathlib import Path

LOCK = Path(".dvc/tmp/rwlock")


def remove_incomplete_lock(path: Path) -> bool:
    """Removes DVC's lock file at `path` if a killed process left it incomplete.

    DVC cannot start with an incomplete lock file. Returns whether the file was removed.
    """
    if _is_complete(path):
        return False
    from dvc.lock import make_lock  # type: ignore[import-untyped]

    # With this lock, no other process can be writing the file.
    with make_lock(str(path.with_name("rwlock.lock")), tmp_dir=str(path.parent)):
        incomplete = not _is_complete(path)
        if incomplete:
            path.unlink()
    return incomplete


def _is_complete(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True
