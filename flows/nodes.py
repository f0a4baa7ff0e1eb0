"""One Prefect task per stage of DVC's graph."""

import os
from collections.abc import Collection, Iterator, Sequence
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
from flows import labels
from flows.devices import Devices, visible_devices
from flows.graph import Stage, changed
from flows.progress import Progress
from flows.repair import repair
from flows.stage import Outcome, Processes, StageError, exclusive_run, run

SECONDS_BEFORE_RETRY = 5
"""The wait before a stage that was killed runs again."""
WAITS = (10, 30, 60, 120, 300)
"""Seconds before each further attempt of a stage that could not reach a server."""


class PhaseError(ConcordError):
    """Stages of a phase failed, so the next phase cannot run."""


class Cores:
    """A limit on the number of stages that run at the same time.

    Of the waiting stages, the one with the longest path to the end of its phase starts first, so
    that no long stage or chain of stages runs alone at the end.
    """

    def __init__(self, count: int) -> None:
        self.free, self.waiting, self.changes = count, list[tuple[float, str]](), Condition()

    @contextmanager
    def slot(self, stage: Stage) -> Iterator[None]:
        """Waits for a slot and holds it in the block."""
        priority = (-stage.remaining, stage.name)
        with self.changes:
            self.waiting.append(priority)
            self.changes.wait_for(lambda: self.free > 0 and min(self.waiting) == priority)
            self.waiting.remove(priority)
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
    """The resources that the stages of one run share."""

    changed: set[str]
    """Names of the stages that may have to run."""
    forced: Collection[str]
    """Names of the stages that run in any case."""
    key: str
    """Beginning of the keys of the artifacts of this run."""
    cores: Cores
    """Limits the number of stages that run at the same time."""
    devices: Devices
    """The GPUs."""
    processes: Processes
    outcomes: list[Outcome] = field(default_factory=list)


_machine: ContextVar[Machine] = ContextVar("machine")


@contextmanager
def machine_for(stages: Sequence[Stage], forced: Collection[str] = ()) -> Iterator[Machine]:
    """The resources of this machine for a run. Each stage uses `runtime.threads` cores.

    The stages in `forced` run although nothing has changed.
    """
    log = get_run_logger()
    runtime = load(Runtime, "runtime")
    at_once = max(1, len(os.sched_getaffinity(0)) // runtime.threads)
    devices = Devices(
        [] if runtime.device == "cpu" or not any(s.meta.gpu for s in stages) else visible_devices()
    )
    with exclusive_run(log.info) as folder:
        repair(log.warning)
        work = changed(stages, forced)
        log.info(f"{len(stages)} stages, {len(work)} may have to run; at most {at_once} at a time")
        key = labels.run_key(labels.current.get())
        machine = Machine(work, forced, key, Cores(at_once), devices, Processes(folder))
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
    return Completed(
        name=outcome.status.capitalize(), message=f"{outcome.status} in {outcome.seconds:.1f} s"
    )


def _run(stage: Stage, machine: Machine) -> Outcome:
    """Runs a stage. While a server does not answer, it waits and runs it again, without a slot."""
    log = get_run_logger()
    for seconds in WAITS:
        try:
            return _attempt(stage, machine)
        except StageError as failed:
            if not failed.unreachable:
                raise
            log.warning(f"a server does not answer; the next attempt is in {seconds} s")
            if machine.processes.wait(seconds):
                raise
    return _attempt(stage, machine)


def _attempt(stage: Stage, machine: Machine) -> Outcome:
    log = get_run_logger()
    progress = Progress(stage.name, log.info, machine.key)
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
            force = stage.name in machine.forced
            outcome = run(stage, machine.processes, log.info, progress, slot, force)
        except StageError as failed:
            log.error(str(failed).partition("\n")[0])
            raise
        if outcome.status == "restored" and repair(log.warning, [stage.name]):
            outcome = run(stage, machine.processes, log.info, progress, slot)
    progress.finish()
    log.info(f"{outcome.status} in {outcome.seconds:.1f} s")
    if stage.budget is not None and outcome.seconds > stage.budget:
        log.warning(f"took {outcome.seconds:.1f} s, over its budget of {stage.budget:g} s")
    return outcome
