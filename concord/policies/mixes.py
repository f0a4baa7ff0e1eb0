"""Random mixes of the objectives of a domain, for training heads in the way they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.stage.params import FORBID

PREFIX = "mix:"
"""Start of the name of a group of mixed pairs. No objective can have such a name."""


@dataclass(frozen=True, config=FORBID)
class Mixes:
    """Training on random mixes of the objectives of a domain."""

    dirichlet: Annotated[float, Field(gt=0)] = 1.0
    """Concentration of the Dirichlet distribution of the weights: 1 is uniform over all mixes, less
    is nearer to single objectives, more is nearer to equal weights."""
    corners: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of each batch that is trained on single objectives; 1 is the published method."""
    per_prompt: Annotated[int, Field(ge=1)] = 4
    """Mixes drawn per prompt. Each gives at most `pairs_per_prompt` pairs."""


PUBLISHED = Mixes(corners=1.0)
"""Single objectives only, as published."""


class MixPlan(NamedTuple):
    """How batches are divided between single objectives and mixes."""

    shares: dict[str, float]
    """Group -> its share of each batch."""
    alpha: dict[str, float]
    """Group -> its loss weight."""
    mixed: dict[str, tuple[str, list[str]]]
    """Group of mixed pairs -> its domain, and the objectives that are mixed."""
    domains: dict[str, str]
    """Group -> its domain."""

    @classmethod
    def of(cls, domains: Mapping[str, str], alpha: Mapping[str, float], mixes: Mixes) -> MixPlan:
        """The plan for the trained objectives: objective -> domain, objective -> loss weight.

        Each domain has the same share and weight as without mixes. The objective of a domain with
        only one is always trained alone.

        Examples:
            >>> domains, alpha = {"brief": "chat", "kind": "chat"}, {"brief": 0.5, "kind": 0.5}
            >>> plan = MixPlan.of(domains, alpha, Mixes(corners=0.5))
            >>> plan.shares
            {'brief': 0.25, 'kind': 0.25, 'mix:chat': 0.5}
            >>> plan.mixed
            {'mix:chat': ('chat', ['brief', 'kind'])}
        """
        members: dict[str, list[str]] = {}
        for name in sorted(domains):
            members.setdefault(domains[name], []).append(name)
        shares: dict[str, float] = {}
        weights: dict[str, float] = {}
        mixed = {}
        for domain, names in members.items():
            corners = mixes.corners if len(names) > 1 else 1.0
            if corners:
                shares |= {name: corners / len(domains) for name in names}
                weights |= {name: corners * alpha[name] for name in names}
            if corners < 1:
                group = f"{PREFIX}{domain}"
                mixed[group] = domain, names
                shares[group] = (1 - corners) * len(names) / len(domains)
                weights[group] = (1 - corners) * sum(alpha[name] for name in names)
        in_domain = {group: domains.get(group) or mixed[group][0] for group in shares}
        return cls(shares, weights, mixed, in_domain)


def draw_mixes(mixes: Mixes, count: int, prompt: str, seed: str) -> np.ndarray:
    """Random mixes of `count` objectives for a prompt, `(per_prompt, count)`; rows sum to 1.

    The draws depend on the seed and the prompt alone, not on the other prompts.
    """
    digest = hashlib.sha256(f"{seed}-{prompt}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return generator.dirichlet(np.full(count, mixes.dirichlet), size=mixes.per_prompt)
