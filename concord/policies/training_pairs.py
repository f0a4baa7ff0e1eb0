"""What policies learn from: pairs per group, made from rollouts (best and worst of K) or taken from annotations.

A group is what a batch is balanced over: an objective, or, where one number judges all prompts, a domain. Rewards are
mixed only after they went through the anchors; weights are bound by name, and of a prompt only its domain's count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from concord.lm.chat import Messages
from concord.objectives import Objective, domain_weights
from concord.rewards.vector.anchors import Anchors
from concord.rewards.vector.scalarisers import weighted_sum
from concord.stage.errors import DataError

RAW = "raw."
"""Prefix of the columns of rollouts that hold raw rewards."""
Scores = Callable[[pd.DataFrame], np.ndarray]


@dataclass(frozen=True)
class Pair:
    """One comparison to learn from."""

    messages: Messages
    chosen: str
    rejected: str


def anchored(frame: pd.DataFrame, names: list[str], anchors: Anchors) -> np.ndarray:
    """[rows, len(names)] anchored rewards, NaN where an objective does not apply."""
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
) -> dict[str, list[Pair]]:
    """Objective -> the best and worst sample of each of its prompts, by the objective's own anchored reward."""
    result = {}
    for name in names:
        own = of_domain(rollouts, objectives[name].domain)
        result[name] = best_and_worst(own, single(name, anchors)(own), min_gap)
    return result


def by_domain(rollouts: pd.DataFrame, score: Scores, min_gap: float) -> dict[str, list[Pair]]:
    """Domain -> the best and worst sample of each of its prompts by one `score` for all objectives."""
    frames = {str(domain): frame for domain, frame in rollouts.groupby("domain", sort=True)}
    return {name: best_and_worst(frame, score(frame), min_gap) for name, frame in frames.items()}


def of_domain(rollouts: pd.DataFrame, domain: str) -> pd.DataFrame:
    """The rows that an objective of `domain` judges."""
    return rollouts if domain == "all" else rollouts[rollouts["domain"] == domain]


def single(name: str, anchors: Anchors) -> Scores:
    """A score: the anchored reward of one objective."""
    return lambda frame: anchored(frame, [name], anchors)[:, 0]


def scalarised(
    weights: Mapping[str, float], objectives: Mapping[str, Objective], anchors: Anchors, where: str
) -> Scores:
    """A score: the weighted sum of the anchored rewards of the domain, its weights made to sum to 1."""

    def score(frame: pd.DataFrame) -> np.ndarray:
        result = np.full(len(frame), np.nan)
        for domain in sorted(set(frame["domain"])):
            own = domain_weights(weights, objectives, domain, where)
            rows = (frame["domain"] == domain).to_numpy()
            values = anchored(frame[rows], sorted(own), anchors)
            result[rows] = weighted_sum(values, np.array([own[name] for name in sorted(own)]))
        return result

    return score


def best_and_worst(frame: pd.DataFrame, score: np.ndarray, min_gap: float) -> list[Pair]:
    """One pair per prompt of `frame` whose best and worst finished samples differ by `min_gap` or more (and above 0).

    Samples without a score, or cut off before their end, are no candidates. Ties go to the earlier sample.
    """
    usable = ~np.isnan(score) & frame["finished"].to_numpy(dtype=bool)
    candidates = frame[usable].assign(_score=score[usable])
    pairs = []
    for _, samples in candidates.sort_values("sample").groupby("prompt_id", sort=True):
        values = samples["_score"].to_numpy()
        best, worst = samples.iloc[int(values.argmax())], samples.iloc[int(values.argmin())]
        if (
            best["_score"] - worst["_score"] >= max(min_gap, 1e-9)
            and best["response"] != worst["response"]
        ):
            pairs.append(Pair(best["messages"], best["response"], worst["response"]))
    return pairs


def annotated(comparisons: pd.DataFrame, names: Iterable[str]) -> dict[str, list[Pair]]:
    """Objective -> people's comparisons of it."""
    groups = {}
    for name in names:
        own = comparisons[comparisons["objective"] == name]
        groups[name] = [
            Pair(*row) for row in zip(own["messages"], own["chosen"], own["rejected"], strict=True)
        ]
    return groups


def joined(*parts: Mapping[str, list[Pair]]) -> dict[str, list[Pair]]:
    """The pairs of several sources, by group. Raises DataError for a group that none of them has pairs of."""
    groups: dict[str, list[Pair]] = {}
    for part in parts:
        for name, pairs in part.items():
            groups.setdefault(name, []).extend(pairs)
    empty = sorted(name for name, pairs in groups.items() if not pairs)
    if empty or not groups:
        raise DataError(
            f"there is no pair of {', '.join(empty) or 'anything'} to learn from; lower min_gap, raise "
            "rollouts.samples or rollouts.prompts, or add annotations"
        )
    return groups
