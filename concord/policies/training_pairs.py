"""Preference pairs for policy training, from rollouts (best and worst of K) and from annotations.

Pairs are organised in groups, over which batches are balanced. A group is an objective, or a domain
if a single score ranks the samples of all prompts. Rewards are anchored before they are combined.
Weights are matched by name, and only the weights of the prompt's domain apply.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from concord.lm.chat import Messages
from concord.objectives import Objective, domain_weights
from concord.rewards.vector.anchors import Anchors
from concord.rewards.vector.scalarisers import weighted_sum
from concord.stage.errors import DataError

RAW = "raw."
"""Prefix of the rollout columns with raw rewards."""
ScoreFunction = Callable[[pd.DataFrame], np.ndarray]
"""Maps rollouts to one score per row, `(rows,)`; NaN for rows that cannot be scored."""


@dataclass(frozen=True)
class Pair:
    """A prompt with a preferred and a rejected response."""

    messages: Messages
    chosen: str
    rejected: str
    weights: Mapping[str, float] | None = None
    """Objective -> weight in the score that chose the pair; None if its group says which score."""
    margin: float = 0.0
    """By how much the log-probability ratio must favour the chosen response more than the pair says
    by itself, in nats."""
    sharpness: float = 1.0
    """Factor of `beta` for this pair."""


def anchored_rewards(frame: pd.DataFrame, names: list[str], anchors: Anchors) -> np.ndarray:
    """Anchored rewards `(rows, objectives)` in the order of `names`.

    NaN marks objectives that do not apply to a row. Raises DataError if a reward column is missing.
    """
    absent = [name for name in names if RAW + name not in frame.columns]
    if absent:
        raise DataError(
            f"the rollouts have no reward for {', '.join(absent)}; rerun the stage `rollouts`"
        )
    return anchors.normalise(frame[[RAW + name for name in names]].to_numpy(dtype=float), names)


def by_objective(
    rollouts: pd.DataFrame,
    objectives: Mapping[str, Objective],
    names: Iterable[str],
    anchors: Anchors,
    min_gap: float,
    per_prompt: int = 1,
) -> dict[str, list[Pair]]:
    """Objective -> pairs of the best and worst samples of each prompt, by its anchored reward."""
    result = {}
    for name in names:
        rows = rows_of_domain(rollouts, objectives[name].domain)
        scores = single_reward(name, anchors)(rows)
        result[name] = best_and_worst(rows, scores, min_gap, per_prompt)
    return result


def by_mix(
    rollouts: pd.DataFrame,
    domain: str,
    names: Sequence[str],
    anchors: Anchors,
    min_gap: float,
    draws: Callable[[str], np.ndarray],
    per_prompt: int = 1,
) -> list[Pair]:
    """Pairs of the best and worst samples of each prompt, by random mixes of the rewards of
    `names`.

    Args:
        names: the objectives of `domain` that are mixed.
        min_gap: smallest difference of a pair, in standard deviations of the mixed score.
        draws: prompt_id -> mixes `(mixes, objectives)` in the order of `names`. The pairs of a mix
            carry it as their `weights`.
        per_prompt: largest number of pairs per prompt and mix.
    """
    rows = rows_of_domain(rollouts, domain)
    rewards = anchored_rewards(rows, list(names), anchors)
    spread = covariance(rewards)
    pairs = []
    for prompt, index in sorted(rows.groupby("prompt_id").indices.items()):
        for mix in draws(str(prompt)):
            gap = min_gap * float(np.sqrt(mix @ spread @ mix))
            chosen = best_and_worst(rows.iloc[index], rewards[index] @ mix, gap, per_prompt)
            weights = dict(zip(names, mix.tolist(), strict=True))
            pairs += [dataclasses.replace(pair, weights=weights) for pair in chosen]
    return pairs


def covariance(rewards: np.ndarray) -> np.ndarray:
    """The covariance `(objectives, objectives)` of rewards `(rows, objectives)`.

    The standard deviation of a mix `w` is the root of `w @ covariance @ w`. Rows that lack a reward
    are ignored.
    """
    objectives = rewards.shape[1]
    complete = rewards[~np.isnan(rewards).any(axis=1)]
    return np.cov(complete.T).reshape(objectives, objectives)


def by_domain(
    rollouts: pd.DataFrame, score: ScoreFunction, min_gap: float, per_prompt: int = 1
) -> dict[str, list[Pair]]:
    """Domain -> pairs of the best and worst samples of each prompt, by `score`.

    `min_gap` is in standard deviations of the score over the rollouts of the domain. A weighted sum
    of anchored rewards varies less than each of them.
    """
    groups = {}
    for domain, frame in rollouts.groupby("domain", sort=True):
        scores = score(frame)
        gap = min_gap * float(np.sqrt(covariance(scores[:, None]).item()))
        groups[str(domain)] = best_and_worst(frame, scores, gap, per_prompt)
    return groups


def rows_of_domain(rollouts: pd.DataFrame, domain: str) -> pd.DataFrame:
    """The rollouts of `domain`; all of them if it is `all`."""
    return rollouts if domain == "all" else rollouts[rollouts["domain"] == domain]


def single_reward(name: str, anchors: Anchors) -> ScoreFunction:
    """A score function: the anchored reward of one objective."""
    return lambda frame: anchored_rewards(frame, [name], anchors)[:, 0]


def weighted_reward(
    weights: Mapping[str, float], objectives: Mapping[str, Objective], anchors: Anchors, where: str
) -> ScoreFunction:
    """A score function: the weighted sum of the anchored rewards of the row's domain.

    The weights of a domain are normalised to sum to 1. `where` is the params.yaml path of
    `weights`, for error messages.
    """

    def score(frame: pd.DataFrame) -> np.ndarray:
        result = np.full(len(frame), np.nan)
        for domain in sorted(set(frame["domain"])):
            of_domain = domain_weights(weights, objectives, domain, where)
            names = sorted(of_domain)
            rows = (frame["domain"] == domain).to_numpy()
            values = anchored_rewards(frame[rows], names, anchors)
            result[rows] = weighted_sum(values, np.array([of_domain[name] for name in names]))
        return result

    return score


def best_and_worst(
    frame: pd.DataFrame, scores: np.ndarray, min_gap: float, per_prompt: int = 1
) -> list[Pair]:
    """Up to `per_prompt` pairs for each prompt: the best and the worst sample, then the second best
    and the second worst, and so on, as long as they differ by at least `min_gap`.

    Pairs with equal scores or equal responses are never used. Samples without a score, and samples
    that were cut off at the length limit, are ignored. Ties go to the earlier sample.

    Args:
        frame: samples with the columns prompt_id, sample, messages, response and finished.
        scores: `(rows,)`.
        min_gap: in units of `scores`.
        per_prompt: largest number of pairs per prompt.
    """
    positions = extremes(frame, scores, min_gap, per_prompt)
    rows = (map(frame.iloc.__getitem__, pair) for pair in positions)
    return [Pair(best["messages"], best["response"], worst["response"]) for best, worst in rows]


def extremes(
    frame: pd.DataFrame, scores: np.ndarray, min_gap: float, per_prompt: int = 1
) -> list[tuple[int, int]]:
    """The positions in `frame` of the two samples of each pair, see `best_and_worst`."""
    usable = ~np.isnan(scores) & frame["finished"].to_numpy(dtype=bool)
    candidates = frame[usable].assign(_score=scores[usable], _position=np.flatnonzero(usable))
    pairs = []
    for _, samples in candidates.sort_values("sample").groupby("prompt_id", sort=True):
        values = samples["_score"].to_numpy()
        downwards, upwards = np.argsort(-values, kind="stable"), np.argsort(values, kind="stable")
        for high, low in zip(downwards[:per_prompt], upwards[:per_prompt], strict=True):
            best, worst = samples.iloc[int(high)], samples.iloc[int(low)]
            if (
                best["_score"] - worst["_score"] >= max(min_gap, 1e-9)
                and best["response"] != worst["response"]
            ):
                pairs.append((int(best["_position"]), int(worst["_position"])))
    return pairs


def from_annotations(comparisons: pd.DataFrame, names: Iterable[str]) -> dict[str, list[Pair]]:
    """Objective -> its annotated pairs. `names` are the objectives to select."""
    groups = {}
    for name in names:
        rows = comparisons[comparisons["objective"] == name]
        groups[name] = [
            Pair(*row)
            for row in zip(rows["messages"], rows["chosen"], rows["rejected"], strict=True)
        ]
    return groups


def merge_groups(*parts: Mapping[str, list[Pair]]) -> dict[str, list[Pair]]:
    """Concatenates the pairs of several sources, group by group.

    Raises:
        DataError: a group has no pairs, or there is no group.

    Examples:
        >>> pair = Pair([{"role": "user", "content": "2 + 2?"}], "4", "5")
        >>> len(merge_groups({"right": [pair]}, {"right": [pair]})["right"])
        2
    """
    groups: dict[str, list[Pair]] = {}
    for part in parts:
        for name, pairs in part.items():
            groups.setdefault(name, []).extend(pairs)
    empty = sorted(name for name, pairs in groups.items() if not pairs)
    if empty or not groups:
        raise DataError(
            f"there are no training pairs for {', '.join(empty) or 'any objective'}; lower min_gap,"
            " raise rollouts.samples or rollouts.prompts, or add annotations"
        )
    return groups
