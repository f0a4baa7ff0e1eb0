"""Anchors: per objective the mean and standard deviation of its raw reward under the SFT model, and its direction.

Nothing is mixed before it went through them. They are fitted once, on samples for validation prompts, and saved, so
that anybody can reproduce a front.
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
    """One objective's scale."""

    mean: float
    """Mean raw reward of the samples."""
    std: float
    """Their standard deviation; 1 where all samples scored the same."""
    direction: int
    """1 where more is better, -1 for a cost."""
    n: int
    """Samples."""


class Anchors:
    """The anchors of all objectives, by name."""

    def __init__(self, anchors: Mapping[str, Anchor]) -> None:
        self.anchors = dict(anchors)

    @classmethod
    def fit(
        cls, raw: Mapping[str, np.ndarray], directions: Mapping[str, int] | None = None
    ) -> Anchors:
        """From raw rewards `[n]` by objective, NaN left out. Raises DataError for an objective without any."""
        directions = directions or {}
        return cls(
            {name: _fit(name, values, directions.get(name, 1)) for name, values in raw.items()}
        )

    @classmethod
    def load(cls, path: str | Path) -> Anchors:
        """What `save` wrote."""
        entries = outputs.read_json(path)
        return cls(
            {name: section(Anchor, entry, f"{path}: {name}") for name, entry in entries.items()}
        )

    def save(self, path: str | Path) -> None:
        """JSON: objective -> mean, std, direction, n."""
        outputs.write_json(path, {name: vars_of(anchor) for name, anchor in self.anchors.items()})

    def normalise(self, raw: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """direction * (raw - mean) / std of `[n, H]`, columns bound by `names`; NaN stays NaN."""
        absent = [name for name in names if name not in self.anchors]
        if absent:
            raise DataError(
                f"no anchor for {', '.join(absent)}, so it cannot be mixed; rerun the stage `anchors`"
            )
        mean, std, direction = (
            np.array([getattr(self.anchors[name], field) for name in names], dtype=float)
            for field in ("mean", "std", "direction")
        )
        return np.asarray(direction * (np.asarray(raw, dtype=float) - mean) / std, dtype=np.float32)


def vars_of(anchor: Anchor) -> dict[str, float]:
    """The anchor as a plain mapping."""
    return {"mean": anchor.mean, "std": anchor.std, "direction": anchor.direction, "n": anchor.n}


def _fit(name: str, values: np.ndarray, direction: int) -> Anchor:
    present = np.asarray(values, dtype=float)
    present = present[~np.isnan(present)]
    if not present.size:
        raise DataError(
            f"no sample has a reward for objective {name}, so its scale is unknown; "
            "give validation prompts of its domain (with a reference, for a verifier)"
        )
    spread = float(present.std())
    std = spread if spread > 1e-8 else 1.0  # equal scores: only the mean can be taken away
    return Anchor(mean=float(present.mean()), std=std, direction=direction, n=int(present.size))
