"""Majority labels: whether a judge accepts most completions of the prefix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from concord.rewards.process.labelling import Context, Needs
from concord.rewards.process.step_labels import completed_texts

NEEDS = Needs(completions=True, judge=True)


def label(samples: Sequence[dict[str, Any]], context: Context) -> list[list[float]]:
    """1 if more than half of a prefix's completions have a verdict above 0.5, else 0."""
    texts = completed_texts(samples)
    messages = [samples[index]["messages"] for index, _, _ in texts]
    verdicts = context.required_judge().verdicts(messages, [text for *_, text in texts])
    good = iter((verdicts > 0.5).tolist())
    return [
        [float(np.mean([next(good) for _ in answers]) > 0.5) for answers in sample["completed"]]
        for sample in samples
    ]
