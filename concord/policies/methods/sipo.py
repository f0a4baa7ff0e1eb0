"""Pairs without conflict, after SIPO (Li et al., arXiv 2502.14354): DPO with a single head.

A pair of one objective conflicts if another objective of its domain prefers the rejected response.
Then the chosen response is replaced by a rollout of the same prompt that is Pareto-better than the
rejected one: better on the pair's objective by `min_gap`, and not worse on any other. Of several,
the one with the largest reward of the pair's objective is used; if there is none, the pair is
dropped. Batches, loss and weights are those of `dpo` with `pool: true`, so the comparison with it
isolates the effect of the conflicts.

The paper samples and refines new responses that are better than both sides. Here, the responses are
the rollouts at hand. Writes a stock checkpoint of the SFT model's class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from concord.objectives import Objective
from concord.policies.job import Method, PolicyJob, save
from concord.policies.preference import train
from concord.policies.preference_settings import (
    PreferenceParams,
    batch_size_problems,
    trained_objectives,
)
from concord.stage.errors import DataError
from concord.stage.params import FORBID

if TYPE_CHECKING:
    import pandas as pd

    from concord.policies.training_pairs import Pair
    from concord.rewards.vector.anchors import Anchors

HEAD = "policy"


@dataclass(frozen=True, config=FORBID, kw_only=True)
class SipoParams(PreferenceParams):
    """The parameters that all preference methods share."""

    method: Literal["sipo"]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs in ("annotations", "both"):
            raise ValueError(
                "conflicts are found and resolved by scores, and annotated pairs have none; use "
                "`pairs: rollouts` or `pairs: ratings`"
            )


def run(job: PolicyJob) -> None:
    """Trains the policy and saves it as a stock checkpoint."""
    groups = build_pairs(job)
    model = train(job, groups, dict.fromkeys(groups, 0), [HEAD], __file__)
    save(model.merge({HEAD: 1.0}), job)


def build_pairs(job: PolicyJob) -> dict[str, list[Pair]]:
    """Objective -> its pairs without conflict. Raises DataError if an objective has none."""
    from concord.policies.scored_answers import scored_answers
    from concord.policies.training_pairs import rows_of_domain

    answers, anchors = scored_answers(job)
    trained = trained_objectives(job.params, job.vector)
    groups = {}
    for name in trained:
        domain = job.objectives[name].domain
        others = [n for n in trained if n != name and job.objectives[n].domain == domain]
        rows = rows_of_domain(answers, domain)
        groups[name] = pairs_without_conflict(
            rows, name, others, anchors, job.params.min_gap, job.params.pairs_per_prompt
        )
        if not groups[name]:
            raise DataError(
                f"no rollout of the domain {domain} is better on {name} and not worse on "
                f"{', '.join(others) or 'anything'}; raise rollouts.samples, or lower min_gap"
            )
    return groups


def pairs_without_conflict(
    rows: pd.DataFrame,
    name: str,
    others: Sequence[str],
    anchors: Anchors,
    min_gap: float,
    per_prompt: int = 1,
) -> list[Pair]:
    """The best and worst samples of each prompt by `name`, with conflicts resolved.

    Args:
        rows: rollouts of one domain.
        name: the objective of the pairs.
        others: the objectives that a pair must not make worse.
        anchors: the anchors of all of them.
        min_gap: smallest difference in the anchored reward of `name`.
        per_prompt: largest number of pairs per prompt.
    """
    import numpy as np

    from concord.policies.training_pairs import Pair, anchored_rewards, extremes

    rewards = anchored_rewards(rows, [name, *others], anchors)  # (rows, objectives)
    prompts, finished = rows["prompt_id"].to_numpy(), rows["finished"].to_numpy(dtype=bool)
    pairs, conflicts = [], 0
    original = extremes(rows, rewards[:, 0], min_gap, per_prompt)
    for best, worst in original:
        gains = rewards - rewards[worst]
        better = (gains >= 0).all(axis=1) & (gains[:, 0] >= max(min_gap, 1e-9))
        candidates = np.flatnonzero(better & finished & (prompts == prompts[worst]))
        conflicts += best not in candidates
        if len(candidates):
            chosen = rows.iloc[int(candidates[rewards[candidates, 0].argmax()])]
            rejected = rows.iloc[worst]
            pairs.append(Pair(chosen["messages"], chosen["response"], rejected["response"]))
    dropped = len(original) - len(pairs)
    print(
        f"{name}: {conflicts} of {len(original)} pairs conflict: replaced {conflicts - dropped}, "
        f"dropped {dropped}"
    )
    return pairs


def problems(params: SipoParams, vector: Mapping[str, Objective]) -> Iterator[str]:
    """Reports a batch size too small to hold a pair of every objective."""
    return batch_size_problems(params, trained_objectives(params, list(vector)))


METHOD = Method(SipoParams, heads=False, pairs=True, problems=problems)
