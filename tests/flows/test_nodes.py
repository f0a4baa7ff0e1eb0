"""Which waiting stage starts next."""

import threading

import pytest

from flows import nodes
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


def test_a_stage_waits_for_a_longer_one_that_is_still_to_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`short` asks first. `long` is still to come, and then `after`, which needs it."""
    monkeypatch.setattr(nodes, "PATIENCE", 60.0)
    cores, order, meta = Cores(1), list[str](), Meta(phase="rewards")
    chain = [
        Stage("short", meta, (), 5.0),
        Stage("long", meta, (), 300.0),
        Stage("after", meta, ("long",), 900.0),
    ]
    short, long, after = with_remaining(chain)
    cores.expect([short, long, after])

    def take(stage: Stage) -> None:
        with cores.slot(stage):
            order.append(stage.name)

    threads = [threading.Thread(target=take, args=[stage]) for stage in (short, long, after)]
    threads[0].start()
    wait_until(lambda: len(cores.waiting) == 1, 10)
    assert order == []
    threads[1].start()
    threads[1].join()
    threads[2].start()
    for thread in threads:
        thread.join()
    assert order == ["long", "after", "short"]


def test_a_stage_does_not_wait_for_ever_for_one_that_never_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nodes, "PATIENCE", 0.1)
    cores, meta = Cores(1), Meta(phase="rewards")
    short, long = with_remaining([Stage("short", meta, (), 5.0), Stage("long", meta, (), 300.0)])
    cores.expect([short, long])
    with cores.slot(short):
        assert cores.free == 0


def test_a_failed_stage_releases_its_slot() -> None:
    cores = Cores(2)

    def fail() -> None:
        with cores.slot(Stage("fails", Meta(phase="rewards"), (), 1.0)):
            assert cores.free == 1
            raise StageError("it failed", killed=False)

    with pytest.raises(StageError):
        fail()
    assert (cores.free, cores.waiting) == (2, [])
