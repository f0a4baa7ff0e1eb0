"""Stale slots are freed on a real server, and those of live runs are not."""

import fcntl
import platform
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
)
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, State
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Pending, Running

from flows import presence, watchdog
from flows.devices import Device
from tests.flows.toy import free_port


@pytest.fixture(scope="module")
def client(server: dict[str, str]) -> Iterator[SyncPrefectClient]:
    with (
        temporary_settings({PREFECT_API_URL: server["TOY_API"]}),
        get_client(sync_client=True) as client,
    ):
        yield client


class Deployment:
    """A deployment with one slot, which cancels runs that come too early."""

    def __init__(self, client: SyncPrefectClient, name: str) -> None:
        self.client = client
        options = ConcurrencyOptions(
            collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW, grace_period_seconds=60
        )
        self.id: UUID = client.create_deployment(
            flow_id=client.create_flow_from_name("toy"),
            name=name,
            tags=["concord"],
            concurrency_limit=1,
            concurrency_options=options,
        )
        limit = client.read_deployment(self.id).global_concurrency_limit
        assert limit is not None
        self.limit: str = limit.name

    def run(self, *states: State[Any]) -> tuple[UUID, str]:
        """A run to which a worker and a flow gave these states; its id, and its state now."""
        run = self.client.create_flow_run_from_deployment(self.id)
        for state in states:
            self.client.set_flow_run_state(run.id, state)
        return run.id, self.state(run.id)

    def state(self, run: UUID) -> str:
        state = self.client.read_flow_run(run).state
        assert state is not None
        return state.name

    @property
    def slots(self) -> int:
        return self.client.read_global_concurrency_limit_by_name(self.limit).active_slots


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Moves the watchdog's clock."""
    clock = SimpleNamespace(now=lambda zone: datetime.now(zone) + timedelta(seconds=seconds))
    monkeypatch.setattr(watchdog, "datetime", clock)
    assert clock.now(UTC) > datetime.now(UTC)


def free(client: SyncPrefectClient, name: str) -> list[str]:
    """What the watchdog does to the deployment `name`."""
    return [text for text in watchdog.free(client, settle=0.1) if text.startswith(f"{name}: ")]


def test_a_worker_that_died_before_the_run_started(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot of the first run is stuck, so the second is cancelled, and after the watchdog, the
    third starts."""
    deployment = Deployment(client, "pending")
    first, state = deployment.run(Pending())
    assert (state, deployment.slots) == ("Pending", 1)
    assert deployment.run(Pending())[1] == "Cancelled"
    assert free(client, "pending") == [], "the grace period has not passed"
    later(monkeypatch, 61)
    (text,) = free(client, "pending")
    assert "it was pending for more than 60 s; its worker died" in text
    assert (deployment.state(first), deployment.slots) == ("Crashed", 0)
    assert deployment.run(Pending())[1] == "Pending"
    assert deployment.slots == 1


def test_a_slot_without_a_run(client: SyncPrefectClient) -> None:
    """As after a restart of a server that keeps its leases in memory."""
    deployment = Deployment(client, "lost")
    client.update_global_concurrency_limit(
        deployment.limit, GlobalConcurrencyLimitUpdate(active_slots=1)
    )
    assert deployment.run(Pending())[1] == "Cancelled"
    assert free(client, "lost") == ["lost: released 1 slot(s) that no run holds"]
    assert (deployment.slots, free(client, "lost")) == (0, [])


def test_the_run_of_a_process_that_died(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running run is left alone while its process holds its lock, and where it never had one."""
    monkeypatch.setattr(presence, "FOLDER", tmp_path / "runs")
    deployment = Deployment(client, "running")
    run, state = deployment.run(Pending(), Running())
    later(monkeypatch, 10_000)
    assert (state, free(client, "running")) == ("Running", []), "it runs on another machine"
    monkeypatch.setattr(presence, "flow_run", SimpleNamespace(id=str(run)))
    with presence.held():
        assert free(client, "running") == []
        lock = tmp_path / "runs" / str(run)
        lock.rename(tmp_path / "kept")
    (tmp_path / "kept").rename(lock)  # what a killed process leaves behind
    (text,) = free(client, "running")
    assert text.endswith("its process died")
    assert (deployment.state(run), deployment.slots) == ("Crashed", 0)
    assert not lock.exists()


def test_the_slot_of_a_gpu_that_no_stage_holds(client: SyncPrefectClient) -> None:
    device, other = Device("97"), "gpu-another-machine-0"
    for name in (device.limit, other):
        client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name=name, limit=1, active_slots=1)
        )
    assert device.limit == f"gpu-{platform.node()}-97"
    with device.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert free(client, device.limit) == []
    assert free(client, device.limit) == [
        f"{device.limit}: released the slot, which no stage holds"
    ]
    assert client.read_global_concurrency_limit_by_name(other).active_slots == 1


def test_a_server_that_is_gone_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        assert watchdog.main() == 1
    assert "no Prefect server answers there" in capsys.readouterr().err
