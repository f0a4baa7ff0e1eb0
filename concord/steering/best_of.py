"""Best of K (Stiennon et al., arXiv 2009.01325): sample K responses and keep the one that the reward vector likes most.

The vector goes through the anchors and a scalariser with the user's weights, of which only the prompt's domain counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from concord.lm.chat import Messages
from concord.objectives import Objective, domain_weights
from concord.rewards.vector.anchors import Anchors
from concord.stage import plugins


def best_of(
    model: Any,
    tokenizer: Any,
    messages_list: Sequence[Messages],
    domains: Sequence[str],
    references: Sequence[str | None],
    *,
    k: int,
    vector: Any,
    anchors: Anchors,
    weights: Mapping[str, float],
    objectives: Mapping[str, Objective],
    scalariser: str = "weighted_sum",
    **sampling: Any,
) -> list[str]:
    """One response per prompt; with k=1 what `sample` gives with the same seed. `sampling` goes to `sample`."""
    from concord.lm.sample import sample

    candidates = sample(
        model, tokenizer, [messages for messages in messages_list for _ in range(k)], **sampling
    )
    if k == 1:
        return candidates
    scores = candidate_scores(
        candidates, _repeat(messages_list, k), _repeat(domains, k), _repeat(references, k),
        vector=vector, anchors=anchors, weights=weights, objectives=objectives, scalariser=scalariser,
    )  # fmt: skip
    return [candidates[place] for place in best(scores, k)]


def candidate_scores(
    candidates: Sequence[str],
    messages_list: Sequence[Messages],
    domains: Sequence[str],
    references: Sequence[str | None],
    *,
    vector: Any,
    anchors: Anchors,
    weights: Mapping[str, float],
    objectives: Mapping[str, Objective],
    scalariser: str = "weighted_sum",
) -> np.ndarray:
    """(n,) scalarised anchored rewards; NaN where nothing that is weighted scores the candidate."""
    anchored = anchors.normalise(
        vector.score(messages_list, candidates, domains, references), vector.names
    )
    scores = np.full(len(candidates), np.nan)
    for domain in sorted(set(domains)):
        own = domain_weights(weights, objectives, domain)
        rows = np.array([other == domain for other in domains])
        scores[rows] = plugins.function("concord.rewards.vector.scalarisers", scalariser)(
            anchored[rows], np.array([own.get(name, 0.0) for name in vector.names])
        )
    return scores


def best(scores: np.ndarray, k: int) -> list[int]:
    """Index of the best of each k consecutive candidates; the first of equals, and NaN is worst."""
    groups = np.nan_to_num(np.asarray(scores, dtype=float), nan=-np.inf).reshape(-1, k)
    return [group * k + int(row.argmax()) for group, row in enumerate(groups)]


def _repeat(values: Sequence[Any], k: int) -> list[Any]:
    return [value for value in values for _ in range(k)]
