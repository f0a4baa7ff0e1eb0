"""Which waiting stage starts next."""

import logging
import threading
from typing import Any

import pytest

from flows import nodes
from flows.graph import Meta, Stage, with_remaining
from flows.nodes import Cores
from flows.stage import Outcome, Processes, StageError
from tests.flows.toy import wait_until


def test_the_longest_path_goes_first() -> None:
    """`short` is the start of a chain of 315 seconds; `later` does not wait for it."""
    cores, order, meta = Cores(1), list[str](), Meta(phase="rewards")
    budgets = {"short": 5.0, "none": None, "long": 300.0, "middle": 60.0}
    chain = [
        Stage("after", meta, ("short",), 310.0),
        Stage("later", Meta(phase="policies"), ("none", "after"), 900.0),
    ]
    alone = [Stage(name, meta, (), budget) for name, budget in budgets.items()]
    everything = with_remaining([*alone, *chain])
    assert [stage.remaining for stage in everything] == [315.0, 0.0, 300.0, 60.0, 310.0, 900.0]
    stages = everything[: len(alone)]

    def take(stage: Stage) -> None:
        with cores.slot(stage):
            order.append(stage.name)

    threads = [threading.Thread(target=take, args=[stage]) for stage in stages]
    with cores.slot(Stage("first", Meta(phase="rewards"), (), None)):
        for thread in threads:
            thread.start()
        wait_until(lambda: len(cores.waiting) == len(stages), 10)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == ["short", "long", "middle", "none"]


def test_a_failed_stage_releases_its_slot() -> None:
    cores = Cores(2)

    def fail() -> None:
        with cores.slot(Stage("fails", Meta(phase="rewards"), (), 1.0)):
            assert cores.free == 1
            raise StageError("it failed", killed=False)

    with pytest.raises(StageError):
        fail()
    assert (cores.free, cores.waiting) == (2, [])


@pytest.mark.parametrize(
    ("failures", "cancelled", "attempts", "outcome"),
    [
        (["unreachable", "unreachable"], False, 3, "ran"),
        (["unreachable"] * 9, False, 4, StageError),
        (["bad input"], False, 1, StageError),
        (["unreachable"], True, 1, StageError),
    ],
)
def test_only_a_server_that_does_not_answer_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
    failures: list[str],
    cancelled: bool,
    attempts: int,
    outcome: Any,
) -> None:
    """The first attempt, and one after each of three waits; none in a run that is cancelled."""
    stage, calls, processes = Stage("sft", Meta(phase="rewards"), ()), list[int](), Processes(0)
    machine = nodes.Machine(set(), (), "key", Cores(1), nodes.Devices([]), processes)

    def attempt(one: Stage, _: nodes.Machine) -> Outcome:
        calls.append(1)
        if len(calls) <= len(failures):
            kind = failures[len(calls) - 1]
            raise StageError(kind, killed=False, unreachable=kind == "unreachable")
        return Outcome(one, "ran", 1.0)

    monkeypatch.setattr(nodes, "_attempt", attempt)
    monkeypatch.setattr(nodes, "WAITS", (0, 0, 0))
    monkeypatch.setattr(nodes, "get_run_logger", lambda: logging.getLogger("test"))
    if cancelled:
        processes.end()
    if outcome is StageError:
        with pytest.raises(StageError):
            nodes._run(stage, machine)
    else:
        assert nodes._run(stage, machine).status == outcome
    assert len(calls) == attempts
