"""Which waiting stage starts next."""

import threading

import pytest

from flows.graph import Meta, Stage, with_remaining
from flows.nodes import Cores
from flows.stage import StageError
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
