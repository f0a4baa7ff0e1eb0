"""The table of variants, and the prompts that they answer."""

import json

import pandas as pd

from benchmarks.policies_on_dev import prompts, table
from concord.sandbox.world import World


def rows(variant: str, seed: int, weights: list[float] | None, gold: list[float]) -> list[dict]:
    entry = {"variant": variant, "seed": seed, "domain": "math", "kl": 1.0 + seed, "length": 9.0}
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


def test_prompts_are_distinct_and_of_the_dev_world() -> None:
    asked = prompts("math", 50)
    assert len({json.dumps(prompt.messages) for prompt in asked}) == 50
    locked = {json.dumps(p.messages) for p in World.build("locked", 1).prompts("math", 200, 0)}
    assert not locked & {json.dumps(prompt.messages) for prompt in asked}
