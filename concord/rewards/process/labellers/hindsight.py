"""Hindsight values of steps (MAHALO, arXiv 2510.01167).

    V_t = mean over completions m of gamma^(n_m - t) * z_m

z_m is the correctness of completion m and n_m its number of steps. A verifier cannot judge a single
step, so the step reward r_t of the paper is 0 and V_t stays in [0, 1].

With gamma = 1, the default, V_t is the share of completions that are right. With less, a step of a
perfect solution scores lower the earlier it is, so its scores cannot be multiplied, nor mixed with
human labels, which are 1 for every right step.
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
            correctness = [next(correct) for _ in answers]
            values.append(hindsight_value(correctness, counts, step, context.gamma))
        labels.append(values)
    return labels


def hindsight_value(
    correct: Sequence[float], steps: Sequence[int], step: int, gamma: float
) -> float:
    """V_t of the prefix that ends with step t.

    Args:
        correct: z_m, the correctness of each completion.
        steps: n_m, the number of steps of each completion, including those of the prefix.
        step: t, counted from 1.
        gamma: discount per step.

    Examples:
        One completion is correct after one more step, the other is wrong.

        >>> hindsight_value([1.0, 0.0], [2, 3], step=1, gamma=0.9)
        0.45
    """
    return float(
        np.mean([gamma ** max(0, n - step) * z for z, n in zip(correct, steps, strict=True)])
    )
