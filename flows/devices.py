"""GPUs as slots: a global concurrency limit of Prefect for each, so that no two stages share one, whoever runs them.

Leases of a limit outlive a run that was killed, and for ever where its temporary server died with it. So a slot is also
a file lock of this machine, which the kernel releases; whoever has it may take back what the limit still counts.
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
    """What CUDA_VISIBLE_DEVICES calls it."""

    @property
    def limit(self) -> str:
        """Name of its concurrency limit."""
        return f"gpu-{platform.node()}-{self.id}"

    @property
    def lock(self) -> Path:
        """Its lock, one for all users of the machine."""
        return Path(tempfile.gettempdir()) / f"concord-{self.limit}.lock"


@dataclass(frozen=True)
class Slot:
    """A device that a stage has to itself."""

    device: Device
    descriptor: int
    """Descriptor of the lock; a process that inherits it keeps the slot."""


def present() -> list[Device]:
    """This machine's GPUs that CUDA_VISIBLE_DEVICES lets through."""
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
    def slot(self, given_up: Callable[[], bool] = lambda: False) -> Iterator[Slot | None]:
        """Waits for a device that neither this run nor another has, and keeps it; None once `given_up` says so."""
        device = self._free.get()
        try:
            with _opened(device.lock) as descriptor:
                if not _locked(descriptor, given_up):
                    yield None
                    return
                _take_back(device.limit)
                with concurrency(device.limit, strict=True):
                    yield Slot(device, descriptor)
        finally:
            self._free.put(device)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int, given_up: Callable[[], bool]) -> bool:
    while not given_up():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(SECONDS_BETWEEN_TRIES)
        else:
            return True
    return False


def _take_back(limit: str) -> None:
    """Creates the limit where it is absent, and frees it of what a killed run left."""
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(limit, limit=1)
        client.update_global_concurrency_limit(limit, GlobalConcurrencyLimitUpdate(active_slots=0))
