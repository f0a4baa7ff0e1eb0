"""GPUs as slots: a global concurrency limit of Prefect for each, so that no two stages share one, whoever runs them."""

import os
import platform
import queue
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from prefect import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists


@dataclass(frozen=True)
class Device:
    """One GPU."""

    id: str
    """What CUDA_VISIBLE_DEVICES calls it."""

    @property
    def limit(self) -> str:
        """Name of its concurrency limit."""
        return f"gpu-{platform.node()}-{self.id}"


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
            _create(device.limit)
            self._free.put(device)

    @contextmanager
    def slot(self) -> Iterator[Device]:
        """Waits for a device that neither this run nor another has, and keeps it."""
        device = self._free.get()
        try:
            with concurrency(device.limit, strict=True):
                yield device
        finally:
            self._free.put(device)


def _create(name: str) -> None:
    with get_client(sync_client=True) as client:
        try:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
        except ObjectAlreadyExists:
            return
