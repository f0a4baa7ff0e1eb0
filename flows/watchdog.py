"""Frees the slots of runs that are gone, so that later scheduled runs start.

    python -m flows.watchdog       # once, for the deployments with the tag `concord`

prefect.yaml also deploys it on a schedule. A deployment with `concurrency_limit: 1` has one slot. A
worker takes it before the run starts. If the worker dies then, or if the server loses its leases in
a restart, nothing returns the slot, and every later run waits or is cancelled. The watchdog

- ends runs that are pending for longer than the grace period of their deployment, and runs whose
  process on this machine has died;
- sets a deployment's slots in use to the number of its active runs;
- resets the slots of GPUs of this machine that no stage holds.

The flow's own lock on its folder does not depend on any of this: two runs never work in one folder.
"""

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from prefect import flow, get_client, get_run_logger
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.states import Cancelled, Crashed

from concord.stage.errors import ConcordError
from flows import devices, presence, terminal

ACTIVE = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
GRACE = 300.0
"""Seconds that a run may be pending, if its deployment has no grace period."""
SETTLE = 5.0
"""Seconds between two looks at a slot: a run may just have started or ended."""


@flow(persist_result=False)
def watchdog() -> list[str]:
    """Frees stale slots; returns what it did, a sentence each."""
    log = get_run_logger()
    with get_client(sync_client=True) as client:
        done = list(free(client))
    for text in done:
        log.warning(text)
    return done


def free(client: SyncPrefectClient, settle: float = SETTLE) -> Iterator[str]:
    """Frees stale slots of all deployments with the tag `concord`; yields what it did."""
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=["concord"]))
    for deployment in client.read_deployments(deployment_filter=tagged):
        yield from _end_runs(client, deployment)
        yield from _release(client, deployment, settle)
    yield from _reset_devices(client)


def _end_runs(client: SyncPrefectClient, deployment: DeploymentResponse) -> Iterator[str]:
    """Ends the active runs that are gone. Prefect then releases their slots."""
    options = deployment.concurrency_options
    grace = (options.grace_period_seconds if options else None) or GRACE
    for run in _active(client, deployment):
        reason = _why_gone(run, timedelta(seconds=grace))
        if reason is None:
            continue
        cancelled = run.state_type == StateType.CANCELLING
        state: State[None] = (Cancelled if cancelled else Crashed)(message=reason)
        client.set_flow_run_state(run.id, state, force=True)
        presence.forget(run.id)
        yield f"{deployment.name}: ended the run {run.name}: {reason}"


def _active(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[FlowRun]:
    types = FlowRunFilterStateType(any_=list(ACTIVE))
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]),
            state=FlowRunFilterState(type=types),
        )
    )


def _why_gone(run: FlowRun, grace: timedelta) -> str | None:
    if presence.has_died(run.id):
        return "its process died"
    began = run.state.timestamp if run.state else datetime.now(UTC)
    if run.state_type == StateType.PENDING and datetime.now(UTC) - began > grace:
        return f"it was pending for more than {grace.total_seconds():g} s; its worker died"
    return None


def _release(
    client: SyncPrefectClient, deployment: DeploymentResponse, settle: float
) -> Iterator[str]:
    """Releases slots that no active run holds, if two looks agree."""
    limit = deployment.global_concurrency_limit
    if limit is None or _unheld(client, deployment, limit.name) <= 0:
        return
    time.sleep(settle)
    if (stale := _unheld(client, deployment, limit.name)) > 0:
        runs = len(_active(client, deployment))
        client.update_global_concurrency_limit(
            limit.name, GlobalConcurrencyLimitUpdate(active_slots=runs)
        )
        yield f"{deployment.name}: released {stale} slot(s) that no run holds"


def _unheld(client: SyncPrefectClient, deployment: DeploymentResponse, limit: str) -> int:
    """Slots in use without an active run. The slots are read first: a run takes its slot later."""
    slots = client.read_global_concurrency_limit_by_name(limit).active_slots
    return slots - len(_active(client, deployment))


def _reset_devices(client: SyncPrefectClient) -> Iterator[str]:
    for limit in client.read_global_concurrency_limits(limit=200):
        if limit.active_slots and devices.is_unheld(limit.name):
            client.update_global_concurrency_limit(
                limit.name, GlobalConcurrencyLimitUpdate(active_slots=0)
            )
            yield f"{limit.name}: released the slot, which no stage holds"


def main() -> int:
    """Frees stale slots once; returns the exit status."""
    try:
        with terminal.server(), terminal.explain_loss(), get_client(sync_client=True) as client:
            done = list(free(client))
    except ConcordError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(done) or "no stale slots")
    return 0


if __name__ == "__main__":
    sys.exit(main())
