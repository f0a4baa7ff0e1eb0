"""GPU slots: a global Prefect concurrency limit per GPU, so that no two stages share a GPU.

Prefect keeps the leases of a killed run, forever if its temporary server was killed too. A slot is
therefore also a file lock on this machine, which the kernel releases when its holder dies. The
holder of the lock may reset the limit.
"""

import fcntl
import os
import platform
import queue
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefect import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.concurrency.sync import concurrency

SECONDS_BETWEEN_TRIES = 0.5


@dataclass(frozen=True)
class Device:
    """One GPU of this machine."""

    id: str
    """Its name in CUDA_VISIBLE_DEVICES."""

    @property
    def limit(self) -> str:
        """Name of its Prefect concurrency limit."""
        return f"{_limits()}{self.id}"

    @property
    def lock(self) -> Path:
        """Path of its lock file, shared by all users of the machine."""
        return Path(tempfile.gettempdir()) / f"concord-{self.limit}.lock"


@dataclass(frozen=True)
class Slot:
    """A device reserved for one stage."""

    device: Device
    descriptor: int
    """File descriptor of the lock. A process that inherits it holds the slot."""


def visible_devices() -> list[Device]:
    """The GPUs of this machine, limited by CUDA_VISIBLE_DEVICES if it is set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [Device(id.strip()) for id in visible.split(",") if id.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return [Device(id) for id in listed.stdout.split()] if listed.returncode == 0 else []


class Devices:
    """The GPUs that this run may use."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self.count = len(devices)
        self._free: queue.SimpleQueue[Device] = queue.SimpleQueue()
        for device in devices:
            self._free.put(device)

    @contextmanager
    def slot(self, cancelled: Callable[[], bool] = lambda: False) -> Iterator[Slot | None]:
        """Waits for a free device and reserves it. Yields None if `cancelled()` becomes true."""
        device = self._free.get()
        try:
            with _open_descriptor(device.lock) as descriptor:
                if not _lock(descriptor, cancelled):
                    yield None
                    return
                _reset_limit(device.limit)
                # The file lock holds even if the server loses the lease, so training continues.
                with concurrency(device.limit, strict=True, raise_on_lease_renewal_failure=False):
                    yield Slot(device, descriptor)
        finally:
            self._free.put(device)


@contextmanager
def _open_descriptor(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, cancelled: Callable[[], bool]) -> bool:
    """Waits for the file lock. Returns False if `cancelled()` becomes true first."""
    while not cancelled():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(SECONDS_BETWEEN_TRIES)
        else:
            return True
    return False


def is_unheld(limit: str) -> bool:
    """Whether `limit` is that of a GPU of this machine whose file lock nobody holds."""
    if not limit.startswith(_limits()):
        return False
    with _open_descriptor(Device(limit.removeprefix(_limits())).lock) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _limits() -> str:
    """How the limits of the GPUs of this machine begin."""
    return f"gpu-{platform.node()}-"


def _reset_limit(limit: str) -> None:
    """Creates the limit if needed, and releases the leases of a killed run."""
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(limit, limit=1)
        client.update_global_concurrency_limit(limit, GlobalConcurrencyLimitUpdate(active_slots=0))
