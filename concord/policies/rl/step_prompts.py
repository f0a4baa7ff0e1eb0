"""The prompts of all steps of a training, in order, and the weights that are drawn for them."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.policies.job import ROLLOUTS
from concord.stage.errors import DataError
from concord.stage.params import FORBID

if TYPE_CHECKING:
    import pandas as pd

WEIGHTS = "head_weights"
"""Column with the weights that are drawn for a prompt, one per objective."""


@dataclass(frozen=True, config=FORBID)
class WeightDraws:
    """How the weights of a prompt are drawn. They cover the objectives of its domain."""

    dirichlet: Annotated[float, Field(gt=0)] = 1.0
    """Concentration of the Dirichlet distribution of the weights: 1 is uniform over all mixes, less
    is nearer to single objectives, more is nearer to equal weights."""
    corners: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the prompts with all weight on one objective, drawn at random."""
    given: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the prompts with the weights of `weights`."""

    def __post_init__(self) -> None:
        if self.corners + self.given > 1:
            raise ValueError(
                f"`corners` {self.corners} and `given` {self.given} are shares of the same "
                "prompts; their sum must be at most 1"
            )


def prompts_in_order(
    rollouts: pd.DataFrame, prompts_per_step: int, steps: int, seed: int
) -> list[dict[str, Any]]:
    """The prompts of all steps, `prompts_per_step` per step, alternating between the domains.

    Prompts are shuffled with `seed`; each prompt of a domain is used once before any is repeated.
    Raises DataError if there are no prompts.
    """
    first = rollouts.drop_duplicates("prompt_id").sort_values("prompt_id")
    streams: dict[str, list[dict[str, Any]]] = {}
    domains = sorted(set(first["domain"]))
    if not domains:
        raise DataError(f"{ROLLOUTS} contains no prompts to train on; raise rollouts.prompts")
    needed = steps * prompts_per_step
    for domain in domains:
        columns = ["prompt", "domain", "reference"]
        of_domain = first[first["domain"] == domain].rename(columns={"messages": "prompt"})
        rows = of_domain[columns].to_dict("records")
        generator = random.Random(f"{seed}-{domain}")
        passes = math.ceil(math.ceil(needed / len(domains)) / len(rows))
        streams[domain] = [row for _ in range(passes) for row in generator.sample(rows, len(rows))]
    return [
        streams[domains[index % len(domains)]][index // len(domains)] for index in range(needed)
    ]


def with_weights(
    prompts: Sequence[dict[str, Any]],
    draws: WeightDraws,
    members: Mapping[str, Sequence[str]],
    given: Mapping[str, Mapping[str, float]],
    names: Sequence[str],
    seed: int,
) -> list[dict[str, Any]]:
    """The prompts with a column `WEIGHTS`, in the order of `names`.

    A draw depends on the seed and the position in the list alone, so the weights of a step are the
    same after a resume.

    Args:
        prompts: the result of `prompts_in_order`.
        draws: how weights are drawn.
        members: domain -> its objectives.
        given: domain -> the weights that a share of the prompts has; they sum to 1.
        names: all objectives.
        seed: seed of the draws.
    """
    result = []
    for index, prompt in enumerate(prompts):
        domain = prompt["domain"]
        weights = _draw(draws, members[domain], given.get(domain, {}), f"{seed}-{index}")
        result.append({**prompt, WEIGHTS: [weights.get(name, 0.0) for name in names]})
    return result


def _draw(
    draws: WeightDraws, members: Sequence[str], given: Mapping[str, float], key: str
) -> Mapping[str, float]:
    digest = hashlib.sha256(key.encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    kind = generator.random()
    if kind < draws.corners or len(members) == 1:
        return {members[int(generator.integers(len(members)))]: 1.0}
    if kind < draws.corners + draws.given:
        return given
    mix = generator.dirichlet(np.full(len(members), draws.dirichlet))
    return dict(zip(members, mix.tolist(), strict=True))
