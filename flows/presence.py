"""Whether the process of a flow run on this machine is alive: a lock file per run.

The kernel releases the lock when the process ends, however it ends. The server can take minutes to
notice, or never does.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from prefect.runtime import flow_run

FOLDER = Path(tempfile.gettempdir()) / f"concord-runs-{os.getuid()}"


@contextmanager
def held() -> Iterator[None]:
    """Holds the lock of this flow run in the block."""
    if flow_run.id is None:
        yield
        return
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    path = FOLDER / str(flow_run.id)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def has_died(run: UUID) -> bool:
    """Whether the run held its lock on this machine, and its process is gone.

    False for a run that never held one here: it runs on another machine, or has not begun.
    """
    try:
        with (FOLDER / str(run)).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return False
    return True


def forget(run: UUID) -> None:
    """Deletes the lock file of a run that died."""
    (FOLDER / str(run)).unlink(missing_ok=True)
