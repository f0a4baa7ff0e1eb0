"""Hindsight values (MAHALO, arXiv 2510.01167): V_t = mean over completions m of gamma^(n_m - t) * z_m.

z_m is the correctness of completion m and n_m its number of steps. The verifier says nothing about a single step, so the
paper's r_t is 0 and V_t stays in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from concord.annotations.steps import split
from concord.rewards.process.labelling import Context, Needs
from concord.rewards.process.step_labels import completed_texts
from concord.rewards.verifiers import dispatch

NEEDS = Needs(completions=True, verifier=True)


def label(samples: Sequence[dict[str, Any]], context: Context) -> list[list[float]]:
    """V_t of every step, from the completions and the reference of each sample."""
    texts = completed_texts(samples)
    references = [samples[index]["reference"] for index, _, _ in texts]
    scores = dispatch.score_all(
        str(context.objective.verifier), [text for *_, text in texts], references
    )
    correct = iter(scores.tolist())
    labels = []
    for sample in samples:
        values = []
        for step, answers in enumerate(sample["completed"], start=1):
            counts = [len(split(text, sample["domain"])) for text in answers]
            right = [next(correct) for _ in answers]
            values.append(hindsight_value(right, counts, step, context.gamma))
        labels.append(values)
    return labels


def hindsight_value(
    correct: Sequence[float], steps: Sequence[int], step: int, gamma: float
) -> float:
    """V_t of prefix `step` (1 for the first) from its completions: `correct` z_m and `steps` n_m, all steps counted."""
    return float(
        np.mean([gamma ** max(0, n - step) * z for z, n in zip(correct, steps, strict=True)])
    )
