"""Agreement of the judge that labels steps with human step labels of the same objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from concord.evaluation.metrics import area_under_curve
from concord.evaluation.rewards.step_quality import CORRECT
from concord.rewards.process.labeller import Labeller
from concord.rewards.process.labelling import prefix_verdicts


def judge_agreement(
    labeller: Labeller,
    name: str,
    labelled: Sequence[dict[str, Any]],
    samples: Sequence[dict[str, Any]],
) -> dict[str, Any] | None:
    """How well the judge's verdicts on prefixes agree with human step labels.

    None unless there are both good and bad labels.

    Args:
        labeller: the labeller with the judge.
        name: the objective.
        labelled: rows of the validation split with human labels of the objective.
        samples: sampled answers, on which a new reward head is standardised.
    """
    given = np.array([label for row in labelled for label in row["labels"]], dtype=float)
    known = ~np.isnan(given)
    good = given[known] >= CORRECT
    if good.all() or not good.any():
        return None
    by_row = prefix_verdicts(labelled, labeller.judge(name, samples))
    verdicts = np.array([verdict for row in by_row for verdict in row])
    return {
        "split": "validation",
        "steps": int(known.sum()),
        "agreement": float(((verdicts[known] > 0.5) == good).mean()),
        "auc": area_under_curve(verdicts[known], good),
        "good": float(good.mean()),
    }
