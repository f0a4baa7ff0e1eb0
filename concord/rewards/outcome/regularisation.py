"""Chooses the strength of the L2 penalty of each linear head on a fifth of the training groups.

The heads are fitted to the other groups with every strength of a grid, from strong to weak, and the
strength with the lowest loss on the held-out labels is taken. The grid has steps of ten, and of
about three around the best. All labels of a prompt or dialogue are in one group, so a prompt is
never on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch

from concord.rewards.outcome.examples import MAX_LEVELS, Example, Scales
from concord.rewards.outcome.head_fit import LabelBatch, Thresholds, label_batch, losses
from concord.rewards.outcome.probe_fit import LinearFit
from concord.stage import progress

SHARE = 0.2
"""Share of the training groups on which the strength is chosen."""
GRID = tuple(10.0**power for power in range(6, -2, -1))
"""Strengths from strong to weak, 1e6 to 0.1."""
BETWEEN = 10**0.5
"""Ratio of the strengths beside the best of the grid."""
PATIENCE = 2
"""Weaker strengths are not tried once this many have been worse than the best, for every head."""
FALLBACK = 100.0
"""Strength of a head that has too few labels for a choice."""
MIN_GROUPS = 10
"""With fewer training groups, nothing is chosen."""

Part = tuple[np.ndarray, LabelBatch]
"""Features `(responses, features)`, and the labels of these responses."""


@dataclass
class Choice:
    """The strength of each head, and how it was chosen."""

    names: list[str]
    """Objectives in the order of the heads."""
    l2: np.ndarray
    """The strengths, float64 `(heads,)`."""
    curves: dict[str, dict[float, float]] = field(default_factory=dict)
    """Objective -> strength -> mean loss of a held-out label, in nats. Objectives for which nothing
    was chosen are left out."""
    groups: tuple[int, int] = (0, 0)
    """Number of held-out groups, and of all groups."""

    def edge(self, name: str) -> str | None:
        """Whether the strength of an objective is the `strongest` or `weakest` of the grid."""
        chosen = float(self.l2[self.names.index(name)])
        if not self.curves.get(name):
            return None
        return {GRID[0]: "strongest", GRID[-1]: "weakest"}.get(chosen)

    def report(self) -> dict[str, dict[str, Any]]:
        """Objective -> `l2`, `curve` (strength -> held-out loss), `edge`, and numbers of groups."""
        return {
            name: {
                "l2": float(self.l2[head]),
                "curve": {
                    f"{l2:g}": loss for l2, loss in sorted(self.curves.get(name, {}).items())
                },
                "edge": self.edge(name),
                "held_out_groups": self.groups[0],
                "groups": self.groups[1],
            }
            for head, name in enumerate(self.names)
        }

    def lines(self) -> list[str]:
        """A line per objective: what was chosen, and a warning at an edge of the grid."""
        lines = []
        for head, name in enumerate(self.names):
            curve = self.curves.get(name, {})
            if not curve:
                lines.append(
                    f"{name}: l2 {self.l2[head]:g}, because too few groups have labels to choose it"
                )
                continue
            text = ", ".join(f"{l2:g}: {loss:.4f}" for l2, loss in sorted(curve.items()))
            lines.append(
                f"{name}: l2 {self.l2[head]:g}, chosen on {self.groups[0]} of {self.groups[1]} "
                f"groups (held-out loss by l2: {text})"
            )
            if edge := self.edge(name):
                lines.append(
                    f"{name}: this is the {edge} l2 of the grid, so another may be better: "
                    "compare with an l2 beyond it"
                )
        return lines


def choose(
    groups: Collection[str], part: Callable[[set[str]], Part], scales: Scales, names: list[str]
) -> Choice:
    """Chooses the strength of each head.

    Args:
        groups: names of the training groups.
        part: returns the features and labels of some of these groups.
        scales: the scales of the grades.
        names: objectives in the order of the heads.
    """
    held_out = held_out_groups(groups)
    choice = Choice(names, np.full(len(names), FALLBACK), {}, (len(held_out), len(set(groups))))
    if not held_out:
        return choice
    features, batch = part(set(groups) - held_out)
    others, labels = part(held_out)
    fit, labels = LinearFit(features, batch, scales, len(names)), _known(labels, batch)
    curve: dict[float, np.ndarray] = {}

    def attempt(l2: float) -> None:
        curve[l2] = _losses(others, labels, fit.fit(l2), fit.thresholds)

    for l2 in progress.track(GRID, len(GRID), "strengths of regularisation"):
        attempt(l2)
        if _past_the_best(curve):
            break
    best = {_best(curve, head) for head in _comparable(curve)}
    between = {l2 * step for l2 in best for step in (BETWEEN, 1 / BETWEEN)}
    for l2 in sorted(between, reverse=True):
        if GRID[-1] < l2 < GRID[0]:
            attempt(l2)
    for head in _comparable(curve):
        choice.curves[names[head]] = {l2: float(values[head]) for l2, values in curve.items()}
        choice.l2[head] = _best(curve, head)
    return choice


def choose_for(
    features: np.ndarray, examples: Sequence[Example], scales: Scales, names: list[str]
) -> Choice:
    """As `choose`, for the responses of examples; `features` are as in `probe_fit.fit_heads`."""
    stops = np.cumsum([len(example.sequences) for example in examples])

    def part(groups: set[str]) -> Part:
        kept = [index for index, example in enumerate(examples) if example.group in groups]
        rows = [
            row
            for index in kept
            for row in range(stops[index] - len(examples[index].sequences), stops[index])
        ]
        subset = [examples[index] for index in kept]
        return features[rows], label_batch(subset, [1.0] * len(subset))

    return choose([example.group for example in examples], part, scales, names)


def held_out_groups(groups: Collection[str]) -> set[str]:
    """The fifth of the groups on which strengths are chosen; it depends on their names alone.

    Empty if there are fewer than `MIN_GROUPS` groups.
    """
    order = sorted(set(groups), key=lambda group: hashlib.sha256(f"inner{group}".encode()).digest())
    return set(order[: round(SHARE * len(order))]) if len(order) >= MIN_GROUPS else set()


def _known(labels: LabelBatch, fitted: LabelBatch) -> LabelBatch:
    """The labels without the grades of a level that no fitted grade has: it has no threshold."""

    def codes(batch: LabelBatch) -> torch.Tensor:
        return batch["grade_scale"] * MAX_LEVELS + batch["grade_level"]

    known = torch.isin(codes(labels), codes(fitted))
    tensors = cast(dict[str, torch.Tensor], labels)
    kept = {
        name: value[known] if name.startswith("grade") else value for name, value in tensors.items()
    }
    return cast(LabelBatch, kept)


def _losses(
    features: np.ndarray,
    labels: LabelBatch,
    heads: dict[str, np.ndarray],
    thresholds: Thresholds,
) -> np.ndarray:
    """Mean loss per label and head, float64 `(heads,)`; NaN for a head without labels."""
    weight, bias = heads["weight"].astype(float), heads["bias"].astype(float)
    with torch.no_grad():
        scores = torch.from_numpy(features.astype(float) @ weight.T + bias)
        orders, grades = losses(scores, thresholds, labels)
    head = torch.cat([labels["order_head"], labels["grade_head"]]).numpy()
    shares = torch.cat([labels["order_weight"], labels["grade_weight"]]).double().numpy()
    values = torch.cat([orders, grades]).double().numpy()
    total, count = (
        np.bincount(head, weights, minlength=len(bias)) for weights in (values * shares, shares)
    )
    return np.where(count > 0, total / np.maximum(count, 1e-12), np.nan)


def _comparable(curve: dict[float, np.ndarray]) -> list[int]:
    """The heads with a finite loss for every strength."""
    return np.flatnonzero(np.isfinite(np.stack(list(curve.values()))).all(axis=0)).tolist()


def _best(curve: dict[float, np.ndarray], head: int) -> float:
    return min(curve, key=lambda l2: float(curve[l2][head]))


def _past_the_best(curve: dict[float, np.ndarray]) -> bool:
    """Whether the last strengths were worse than an earlier one, for every head."""
    tried = list(curve)
    return all(
        len(tried) - 1 - tried.index(_best(curve, head)) >= PATIENCE for head in _comparable(curve)
    )
