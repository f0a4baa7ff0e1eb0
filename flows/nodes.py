"""One Prefect task per node of DVC's graph."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Condition
from typing import Any

from prefect import Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.states import Completed

from concord.stage.errors import ConcordError
from concord.stage.params import Runtime, load
from flows.devices import Devices, present
from flows.graph import Stage, changed
from flows.progress import Progress
from flows.stage import Outcome, Processes, StageError, alone, run

SECONDS_BEFORE_RETRY = 10


class PhaseError(ConcordError):
    """Stages of a phase failed, so that those after it cannot run."""


class Cores:
    """So many stages at once; of those that wait, the one with the longest budget comes first, so that no long one is
    left to run alone at the end."""

    def __init__(self, count: int) -> None:
        self.free, self.waiting, self.changes = count, list[tuple[float, str]](), Condition()

    @contextmanager
    def slot(self, stage: Stage) -> Iterator[None]:
        """Waits for a turn, and keeps a slot in the block."""
        own = (-(stage.budget or 0.0), stage.name)
        with self.changes:
            self.waiting.append(own)
            self.changes.wait_for(lambda: self.free > 0 and min(self.waiting) == own)
            self.waiting.remove(own)
            self._move(-1)
        try:
            yield
        finally:
            with self.changes:
                self._move(1)

    def _move(self, slots: int) -> None:
        self.free += slots
        self.changes.notify_all()


@dataclass
class Machine:
    """What the stages of one run share."""

    changed: set[str]
    """Stages that may have work to do."""
    cores: Cores
    """As many slots as stages may run at once."""
    devices: Devices
    """The GPUs."""
    processes: Processes
    outcomes: list[Outcome] = field(default_factory=list)


_machine: ContextVar[Machine] = ContextVar("machine")


@contextmanager
def machine_for(stages: Sequence[Stage]) -> Iterator[Machine]:
    """What this machine offers to the stages of a run in the block: a stage takes `runtime.threads` of its cores."""
    log = get_run_logger()
    runtime = load(Runtime, "runtime")
    at_once = max(1, len(os.sched_getaffinity(0)) // runtime.threads)
    devices = Devices(
        [] if runtime.device == "cpu" or not any(s.meta.gpu for s in stages) else present()
    )
    with alone(log.info) as folder:
        work = changed(stages)
        log.info(
            f"{len(stages)} stages, {len(work)} may have work to do; at most {at_once} at once"
        )
        machine = Machine(work, Cores(at_once), devices, Processes(folder))
        token = _machine.set(machine)
        try:
            yield machine
        finally:
            _machine.reset(token)


def bring_up_to_date(stages: Sequence[Stage]) -> None:
    """Submits a task for each stage, after those it reads from, and waits for all. Raises PhaseError.

    A run that is cancelled, interrupted or terminated while it waits ends its stages' processes first.
    """
    futures: dict[str, PrefectFuture[Any]] = {}
    with ExitStack() as unless_done:
        unless_done.callback(_machine.get().processes.end)
        for stage in stages:
            upstream = [futures[name] for name in stage.upstream if name in futures]
            own_node: Task[..., Any] = node.with_options(**_options(stage))
            futures[stage.name] = own_node.submit(stage, wait_for=upstream)
        for future in futures.values():
            future.wait()
        unless_done.pop_all()
    states = {name: future.state for name, future in futures.items()}
    failed = {
        name: state for name, state in states.items() if state.is_failed() or state.is_crashed()
    }
    if failed:
        raise PhaseError("\n".join(_reason(name, state) for name, state in failed.items()))


def _reason(name: str, state: State[Any]) -> str:
    error = state.result(raise_on_failure=False)
    return str(error) if isinstance(error, ConcordError) else f"{name}: {state.message}"


def _options(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "task_run_name": stage.name,
        "tags": ["gpu"] if stage.meta.gpu else [],
        "retries": stage.meta.retries,
    }


def was_killed(task: Any, run: TaskRun, state: State[Any]) -> bool:
    """Whether a second try can pass: an error of the stage itself would only come again."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, StageError) and error.killed


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retry_delay_seconds=SECONDS_BEFORE_RETRY,
    retry_condition_fn=was_killed,
)
def node(stage: Stage) -> State[None]:
    """One stage of dvc.yaml, brought up to date."""
    machine = _machine.get()
    outcome = (
        _run(stage, machine) if stage.name in machine.changed else Outcome(stage, "unchanged", 0.0)
    )
    machine.outcomes.append(outcome)
    return Completed(
        name=outcome.happened.capitalize(), message=f"{outcome.happened} in {outcome.seconds:.1f} s"
    )


def _run(stage: Stage, machine: Machine) -> Outcome:
    log = get_run_logger()
    progress = Progress(stage.name, log.info)
    devices = machine.devices if stage.meta.gpu and machine.devices.count else None
    with (
        devices.slot(lambda: machine.processes.ended) if devices else nullcontext() as slot,
        machine.cores.slot(stage),
    ):
        log.info(
            f"started with slot {slot.device.limit} on device {slot.device.id}"
            if slot
            else "started"
        )
        try:
            outcome = run(stage, machine.processes, log.info, progress, slot)
        except StageError as failed:
            log.error(str(failed).partition("\n")[0])
            raise
    progress.finish()
    log.info(f"{outcome.happened} in {outcome.seconds:.1f} s")
    if stage.budget is not None and outcome.seconds > stage.budget:
        log.warning(f"took {outcome.seconds:.1f} s, over its budget of {stage.budget:g} s")
    return outcome
