"""Best-of-K sampling by the reward vector (Stiennon et al., arXiv 2009.01325).

Each prompt is sampled K times and the sample with the highest score is kept. The rewards are
anchored, then combined by a scalariser with the user's weights. Only the weights of the prompt's
domain apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from concord.lm.chat import Messages
from concord.lm.types import CausalLM, Tokenizer
from concord.objectives import Objective, domain_weights
from concord.rewards.vector.anchors import Anchors
from concord.stage import plugins


def best_of(
    model: CausalLM,
    tokenizer: Tokenizer,
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
    """The best of `k` samples for each prompt. With k=1, equal to `sample` with the same seed.

    Args:
        model: the policy.
        tokenizer: its tokenizer.
        messages_list: one conversation per prompt.
        domains: the domain of each prompt.
        references: the reference answer of each prompt; None if it has none.
        k: samples per prompt.
        vector: a `RewardVector`.
        anchors: the anchors of its objectives.
        weights: objective -> weight.
        objectives: all objectives by name.
        scalariser: a function of concord/rewards/vector/scalarisers.py.
        sampling: passed to `concord.lm.sample.sample`.
    """
    from concord.lm.sample import sample

    candidates = sample(
        model, tokenizer, [messages for messages in messages_list for _ in range(k)], **sampling
    )
    if k == 1:
        return candidates
    scores = candidate_scores(
        candidates,
        _repeat(messages_list, k),
        _repeat(domains, k),
        _repeat(references, k),
        vector=vector,
        anchors=anchors,
        weights=weights,
        objectives=objectives,
        scalariser=scalariser,
    )
    return [candidates[index] for index in best_indices(scores, k)]


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
    """Scalarised anchored rewards, `(candidates,)`; NaN if no weighted objective applies.

    The arguments are those of `best_of`, with one entry per candidate. Raises ParamsError if a
    domain has no objective with a positive weight.
    """
    anchored = anchors.normalise(
        vector.score(messages_list, candidates, domains, references), vector.names
    )
    scores = np.full(len(candidates), np.nan)
    for domain in sorted(set(domains)):
        of_domain = domain_weights(weights, objectives, domain)
        rows = np.array([other == domain for other in domains])
        scores[rows] = plugins.function("concord.rewards.vector.scalarisers", scalariser)(
            anchored[rows], np.array([of_domain.get(name, 0.0) for name in vector.names])
        )
    return scores


def best_indices(scores: np.ndarray, k: int) -> list[int]:
    """Index of the best score in each group of `k` consecutive scores.

    Ties go to the first; NaN ranks last.

    Examples:
        >>> best_indices(np.array([1.0, 3.0, float("nan"), -2.0]), k=2)
        [1, 3]
    """
    groups = np.nan_to_num(np.asarray(scores, dtype=float), nan=-np.inf).reshape(-1, k)
    return [group * k + int(row.argmax()) for group, row in enumerate(groups)]


def _repeat(values: Sequence[Any], k: int) -> list[Any]:
    return [value for value in values for _ in range(k)]
