"""Anchors: mean and standard deviation of each raw reward under the SFT model, and its direction.

Rewards are normalised with the anchors before they are combined. Anchors are fitted once, on
responses of the SFT model to validation prompts, and saved, so that a front can be reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic.dataclasses import dataclass

from concord.stage import outputs
from concord.stage.errors import DataError
from concord.stage.params import FORBID, section


@dataclass(frozen=True, config=FORBID)
class Anchor:
    """The scale of one objective."""

    mean: float
    """Mean raw reward of the samples."""
    std: float
    """Standard deviation of the raw rewards; 1 if all are equal."""
    direction: int
    """1 if a higher value is better, -1 for a cost."""
    n: int
    """Number of samples."""


class Anchors:
    """The anchors of all objectives, by name."""

    def __init__(self, anchors: Mapping[str, Anchor]) -> None:
        self.anchors = dict(anchors)

    @classmethod
    def fit(
        cls, raw: Mapping[str, np.ndarray], directions: Mapping[str, int] | None = None
    ) -> Anchors:
        """Fits anchors to the raw rewards `(n,)` of each objective, ignoring NaN.

        `directions` gives 1 (default) or -1 per objective. Raises DataError if an objective has no
        rewards.
        """
        directions = directions or {}
        return cls(
            {name: _fit(name, values, directions.get(name, 1)) for name, values in raw.items()}
        )

    @classmethod
    def load(cls, path: str | Path) -> Anchors:
        """Reads the file that `save` wrote."""
        entries = outputs.read_json(path)
        return cls(
            {name: section(Anchor, entry, f"{path}: {name}") for name, entry in entries.items()}
        )

    def save(self, path: str | Path) -> None:
        """Writes a JSON file: objective -> mean, std, direction, n."""
        outputs.write_json(path, {name: _as_dict(anchor) for name, anchor in self.anchors.items()})

    def normalise(self, raw: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """direction * (raw - mean) / std, float32 `(n, objectives)`; NaN stays NaN.

        `names` are the objectives of the columns of `raw` `(n, objectives)`. Raises DataError if
        one of them has no anchor.
        """
        missing = [name for name in names if name not in self.anchors]
        if missing:
            raise DataError(
                f"there is no anchor for {', '.join(missing)}, so these rewards cannot be "
                "normalised; rerun the stage `anchors`"
            )
        mean, std, direction = (
            np.array([getattr(self.anchors[name], field) for name in names], dtype=float)
            for field in ("mean", "std", "direction")
        )
        return np.asarray(direction * (np.asarray(raw, dtype=float) - mean) / std, dtype=np.float32)


def _as_dict(anchor: Anchor) -> dict[str, float]:
    return {"mean": anchor.mean, "std": anchor.std, "direction": anchor.direction, "n": anchor.n}


def _fit(name: str, values: np.ndarray, direction: int) -> Anchor:
    present = np.asarray(values, dtype=float)
    present = present[~np.isnan(present)]
    if not present.size:
        raise DataError(
            f"no sample has a reward for objective {name}, so its scale is unknown; add validation "
            "prompts of its domain (for a verifier, prompts with a reference answer)"
        )
    spread = float(present.std())
    std = spread if spread > 1e-8 else 1.0  # If all rewards are equal, only subtract the mean.
    return Anchor(mean=float(present.mean()), std=std, direction=direction, n=int(present.size))
