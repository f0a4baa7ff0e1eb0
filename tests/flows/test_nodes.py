"""Which waiting stage starts next."""

import threading

import pytest

from flows.graph import Meta, Stage
from flows.nodes import Cores
from flows.stage import StageError
from tests.flows.toy import wait_until


def test_the_longest_budget_goes_first() -> None:
    cores, order = Cores(1), list[str]()
    budgets = {"short": 5.0, "none": None, "long": 300.0, "middle": 60.0}
    stages = [Stage(name, Meta(phase="rewards"), (), budget) for name, budget in budgets.items()]

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
    assert order == ["long", "middle", "short", "none"]


def test_a_failed_stage_releases_its_slot() -> None:
    cores = Cores(2)

    def fail() -> None:
        with cores.slot(Stage("fails", Meta(phase="rewards"), (), 1.0)):
            assert cores.free == 1
            raise StageError("it failed", killed=False)

    with pytest.raises(StageError):
        fail()
    assert (cores.free, cores.waiting) == (2, [])
