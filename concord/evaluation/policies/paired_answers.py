"""Answers of a policy paired with those of the SFT model, in units of its spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from concord.evaluation.policies.protocol import EQUAL
from concord.evaluation.policies.summary import points_of


@dataclass(frozen=True)
class PairedAnswers:
    """Answers of the SFT model and of one policy to the same prompts of one domain.

    The points are in ascending order of KL; the first one is the SFT model. Proxies and gold are in
    standard deviations of the SFT model's answers.
    """

    points: list[str]
    weights: list[dict[str, float]]
    """Per point; empty for the SFT model."""
    groups: np.ndarray
    """`(prompts,)`: the number of each prompt's group."""
    kl: np.ndarray
    """`(points,)`: mean in nats per answer; 0 for the SFT model."""
    log_length: np.ndarray
    """`(prompts, points)`: logarithm of the length in tokens."""
    proxy: dict[str, np.ndarray]
    """Objective -> `(prompts, points)`."""
    gold: dict[str, np.ndarray]
    """Objective -> `(prompts, points)`, only for objectives that were judged."""

    @classmethod
    def of(
        cls, sft: pd.DataFrame, policy: pd.DataFrame, names: Sequence[str], reference: str = "sft"
    ) -> PairedAnswers:
        """Pairs by prompt, from tables of samples of one domain.

        `names` are the objectives, and `reference` becomes the name of the SFT model's point.
        Prompts that only one of the two answered are left out.
        """
        base = sft[sft["point"] == EQUAL].set_index("prompt_id").sort_index()
        kl = policy.groupby("point")["kl"].mean()
        points = sorted(points_of(policy), key=lambda point: kl[point.name])
        order = [point.name for point in points]
        base = base[base.index.isin(policy["prompt_id"])]

        def wide(measure: str) -> np.ndarray:
            table = policy.pivot(index="prompt_id", columns="point", values=measure)
            table = table.reindex(index=base.index, columns=order)
            return np.column_stack([base[measure].to_numpy(float), table.to_numpy(float)])

        gold = {name: _standardised(wide(f"gold.{name}")) for name in names}
        return cls(
            points=[reference, *order],
            weights=[{}, *(point.weights for point in points)],
            groups=pd.factorize(base["group_id"])[0],
            kl=np.array([0.0, *kl[order]]),
            log_length=np.log(np.maximum(wide("length"), 1.0)),
            proxy={name: _standardised(wide(f"proxy.{name}")) for name in names},
            gold={name: values for name, values in gold.items() if np.isfinite(values).any()},
        )

    def length_ratio(self, point: int) -> float:
        """Length over that of the SFT model: the geometric mean over prompts."""
        return float(np.exp(mean(self.log_length[:, point] - self.log_length[:, 0])))


def mean(values: np.ndarray) -> float:
    """The mean without NaN values; NaN if there is no other."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _standardised(values: np.ndarray) -> np.ndarray:
    """`(prompts, points)` in standard deviations of the first column."""
    first = values[np.isfinite(values[:, 0]), 0]
    spread = float(first.std()) if first.size else 0.0
    return values / spread if spread > 1e-8 else values
