"""One Prefect task per stage of DVC's graph."""

import os
from collections.abc import Iterable, Iterator, Sequence
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
from flows.devices import Devices, visible_devices
from flows.graph import Stage, changed
from flows.progress import Progress
from flows.stage import Outcome, Processes, StageError, exclusive_run, run

SECONDS_BEFORE_RETRY = 10
PATIENCE = 10.0
"""Seconds that a stage waits for one that should start first and does not wait for a slot yet."""


class PhaseError(ConcordError):
    """Stages of a phase failed, so the next phase cannot run."""


class Cores:
    """A limit on the number of stages that run at the same time.

    Of the stages that can start, the one with the longest path to the end of its phase starts
    first, so that no long stage or chain of stages runs alone at the end. Prefect starts tasks in
    any order, so a stage also waits for longer ones that are still to come, for `PATIENCE` seconds.
    """

    def __init__(self, count: int) -> None:
        self.free, self.waiting, self.changes = count, list[tuple[float, str]](), Condition()
        self.unfinished: dict[str, Stage] = {}
        self.arrived: set[str] = set()

    def expect(self, stages: Iterable[Stage]) -> None:
        """Announces the stages of a phase. Each takes a slot, or is finished without one."""
        with self.changes:
            self.unfinished, self.arrived = {stage.name: stage for stage in stages}, set()

    def finish(self, stage: Stage) -> None:
        """The stage has succeeded, so those that wait for it alone can start."""
        with self.changes:
            self.unfinished.pop(stage.name, None)
            self.changes.notify_all()

    @contextmanager
    def slot(self, stage: Stage) -> Iterator[None]:
        """Waits for a slot and holds it in the block."""
        priority = _priority(stage)
        with self.changes:
            self.arrived.add(stage.name)
            self.waiting.append(priority)
            self.changes.notify_all()
            ready = False
            while not ready:
                self.changes.wait_for(lambda: self._is_next(priority, []))
                self.changes.wait_for(lambda: self._is_next(priority, self._coming()), PATIENCE)
                ready = self._is_next(priority, [])
            self.waiting.remove(priority)
            self._move(-1)
        try:
            yield
            self.finish(stage)
        finally:
            with self.changes:
                self._move(1)

    def _is_next(self, priority: tuple[float, str], coming: list[tuple[float, str]]) -> bool:
        """Whether a stage may take a slot now: there is one, and no other stage is before it."""
        return self.free > 0 and min(self.waiting + coming) == priority

    def _coming(self) -> list[tuple[float, str]]:
        """The stages that can start and do not wait for a slot yet."""
        return [
            _priority(stage)
            for name, stage in self.unfinished.items()
            if name not in self.arrived and self.unfinished.keys().isdisjoint(stage.upstream)
        ]

    def _move(self, slots: int) -> None:
        self.free += slots
        self.changes.notify_all()


def _priority(stage: Stage) -> tuple[float, str]:
    return (-stage.remaining, stage.name)


@dataclass
class Machine:
    """The resources that the stages of one run share."""

    changed: set[str]
    """Names of the stages that may have to run."""
    cores: Cores
    """Limits the number of stages that run at the same time."""
    devices: Devices
    """The GPUs."""
    processes: Processes
    outcomes: list[Outcome] = field(default_factory=list)


_machine: ContextVar[Machine] = ContextVar("machine")


@contextmanager
def machine_for(stages: Sequence[Stage]) -> Iterator[Machine]:
    """The resources of this machine for a run. Each stage uses `runtime.threads` cores."""
    log = get_run_logger()
    runtime = load(Runtime, "runtime")
    at_once = max(1, len(os.sched_getaffinity(0)) // runtime.threads)
    devices = Devices(
        [] if runtime.device == "cpu" or not any(s.meta.gpu for s in stages) else visible_devices()
    )
    with exclusive_run(log.info) as folder:
        work = changed(stages)
        log.info(f"{len(stages)} stages, {len(work)} may have to run; at most {at_once} at a time")
        machine = Machine(work, Cores(at_once), devices, Processes(folder))
        token = _machine.set(machine)
        try:
            yield machine
        finally:
            _machine.reset(token)


def bring_up_to_date(stages: Sequence[Stage]) -> None:
    """Submits a task per stage and waits for all of them. Raises PhaseError if a stage failed.

    If the run is cancelled or interrupted meanwhile, the processes of its stages are terminated
    first.
    """
    futures: dict[str, PrefectFuture[Any]] = {}
    with ExitStack() as on_interrupt:
        on_interrupt.callback(_machine.get().processes.end)
        if not _machine.get().devices.count:  # else stages wait for a device before they ask
            _machine.get().cores.expect(stages)
        for stage in stages:
            upstream = [futures[name] for name in stage.upstream if name in futures]
            stage_task: Task[..., Any] = node.with_options(**_options(stage))
            futures[stage.name] = stage_task.submit(stage, wait_for=upstream)
        for future in futures.values():
            future.wait()
        on_interrupt.pop_all()
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
    """Whether the stage was killed. Only then can a retry succeed: its own errors would repeat."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, StageError) and error.killed


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retry_delay_seconds=SECONDS_BEFORE_RETRY,
    retry_condition_fn=was_killed,
)
def node(stage: Stage) -> State[None]:
    """Brings one stage of dvc.yaml up to date."""
    machine = _machine.get()
    outcome = (
        _run(stage, machine) if stage.name in machine.changed else Outcome(stage, "unchanged", 0.0)
    )
    machine.outcomes.append(outcome)
    machine.cores.finish(stage)
    return Completed(
        name=outcome.status.capitalize(), message=f"{outcome.status} in {outcome.seconds:.1f} s"
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
    log.info(f"{outcome.status} in {outcome.seconds:.1f} s")
    if stage.budget is not None and outcome.seconds > stage.budget:
        log.warning(f"took {outcome.seconds:.1f} s, over its budget of {stage.budget:g} s")
    return outcome
