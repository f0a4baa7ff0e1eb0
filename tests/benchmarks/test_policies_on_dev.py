"""The table of variants, and the prompts that they answer."""

import json

import pandas as pd

from benchmarks.policies_on_dev import grid_of, prompts, table
from concord.sandbox.world import World


def rows(variant: str, seed: int, weights: list[float] | None, gold: list[float]) -> list[dict]:
    entry = {"variant": variant, "seed": seed, "domain": "math", "kl": 1.0 + seed, "scale": 1.0}
    text = None if weights is None else json.dumps(weights)
    return [
        {**entry, "weights": text, "objective": name, "gold": value}
        for name, value in zip(("right", "warm"), gold, strict=True)
    ]


def test_utilities_are_means_over_seeds() -> None:
    """A policy without heads has the same answers at all weights, and other utilities."""
    grid = [[1.0, 0.0], [0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0.0, 1.0]]
    swept = [row for seed in (0, 1) for w in grid for row in rows("heads", seed, w, [w[0], 0.4])]
    alone = [row for seed in (0, 1) for row in rows("single", seed, None, [0.2 + 0.2 * seed, 0.8])]
    lines = table(pd.DataFrame(swept + alone), "math").splitlines()
    assert lines[0] == "| math: right, warm | 1/0 | 0.75/0.25 | 0.5/0.5 | 0.25/0.75 | 0/1 |"
    assert lines[2].startswith("| heads | 1.000 (1.50) | 0.662 (1.50) | 0.450 (1.50)")
    assert lines[3].startswith("| single | 0.300 (1.50) |")
    assert lines[3].endswith("| 0.800 (1.50) |")


def test_variants_at_the_kl_of_the_first_one() -> None:
    """Accuracy alone: `far` has .4 at 1 nat and .8 at 3, so .6 at the 2 nats of `near`. `short`
    does not go as far."""
    results = pd.concat(
        pd.DataFrame(rows(variant, 0, w, [right, 0.5])).assign(scale=scale, kl=kl)
        for variant, scale, kl, right in (
            ("near", 1.0, 2.0, 0.5),
            ("far", 1.0, 3.0, 0.8),
            ("far", 0.5, 1.0, 0.4),
            ("short", 1.0, 1.5, 0.9),
        )
        for w in grid_of(["right", "warm"])
    )
    lines = table(results, "math", equal_kl=True).splitlines()
    assert [line.split("|")[1:3] for line in lines[2:]] == [
        [" near ", " 0.500 "],
        [" far ", " 0.600 "],
        [" short ", " - "],
    ]


def test_prompts_are_distinct_and_of_the_dev_world() -> None:
    asked = prompts("math", 50)
    assert len({json.dumps(prompt.messages) for prompt in asked}) == 50
    locked = {json.dumps(p.messages) for p in World.build("locked", 1).prompts("math", 200, 0)}
    assert not locked & {json.dumps(prompt.messages) for prompt in asked}
