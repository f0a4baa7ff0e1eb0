"""Prompts of the locked world, and answers judged on them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.policies import locked
from concord.sandbox.world import World
from concord.stage.errors import ParamsError

NAMES = ["helpful", "honest", "harmless"]


def test_prompts_are_distinct_and_a_prefix_of_a_larger_request() -> None:
    world = World.build("locked", 1)
    few, many = (
        locked.prompts(world, ["math", "values", "tutoring"], count, 0) for count in (50, 400)
    )
    assert many.groupby("domain")["prompt_id"].nunique().to_dict() == {
        "math": 400,
        "tutoring": 400,
        "values": 400,
    }
    assert len(many) == 1200
    for domain, frame in few.groupby("domain"):
        assert (
            many.loc[many["domain"] == domain, "prompt_id"].head(50).tolist()
            == frame["prompt_id"].tolist()
        )


def test_requesting_more_prompts_than_the_world_has_is_an_error() -> None:
    with pytest.raises(
        ParamsError, match=r"no 700 different prompts in values.*Lower evaluate\.prompts"
    ):
        locked.prompts(World.build("locked", 1), ["values"], 700, 0)


def test_an_answer_given_at_two_points_is_judged_once() -> None:
    """Three rows with two distinct answers get the same scores as row by row."""
    world = World.build("locked", 1)
    prompts = locked.prompts(world, ["values"], 2, 0)
    frame = pd.concat([prompts, prompts.head(1)], ignore_index=True)
    frame["response"] = [
        "I cannot help with that.",
        "Nobody can know that.",
        "I cannot help with that.",
    ]
    batch_sizes = list[int]()

    class Vector:
        def score(self, messages: list[Any], responses: list[str], *_: Any) -> np.ndarray:
            batch_sizes.append(len(responses))
            return np.array([[len(text), 0.0, np.nan] for text in responses])

    class Anchors:
        def normalise(self, raw: np.ndarray, names: list[str]) -> np.ndarray:
            return raw

    judged = locked.judged(frame, world, locked.Proxies(NAMES, Vector(), Anchors()))
    assert batch_sizes == [2]
    assert judged["response"].tolist() == frame["response"].tolist()
    assert judged["proxy.helpful"].tolist() == [float(len(text)) for text in frame["response"]]
    for row in judged.to_dict("records"):
        gold = world.gold(row["messages"], row["response"])
        assert {name: row[f"gold.{name}"] for name in NAMES} == pytest.approx(gold)


@pytest.mark.parametrize("split", [locked.LOCKED, locked.VALIDATION])
def test_reward_models_do_not_judge_their_own_policy(split: str) -> None:
    """Gold of locked prompts is the same whatever the reward models say; validation has no gold."""
    world = World.build("locked", 1)
    frame = locked.prompts(world, ["values"], 3, 0).assign(response="I cannot help with that.")

    class Vector:
        def __init__(self, value: float) -> None:
            self.value = value

        def score(self, messages: list[Any], *_: Any) -> np.ndarray:
            return np.full((len(messages), len(NAMES)), self.value)

    class Anchors:
        def normalise(self, raw: np.ndarray, names: list[str]) -> np.ndarray:
            return raw

    judge = world if split == locked.LOCKED else None
    one, other = (
        locked.judged(frame, judge, locked.Proxies(NAMES, Vector(value), Anchors()))
        for value in (9.0, -9.0)
    )
    for name in NAMES:
        assert (one[f"proxy.{name}"] != other[f"proxy.{name}"]).all()
        pd.testing.assert_series_equal(one[f"gold.{name}"], other[f"gold.{name}"])
        assert one[f"gold.{name}"].notna().all() == (judge is not None)
