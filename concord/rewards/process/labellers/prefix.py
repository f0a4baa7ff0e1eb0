"""Prefix labels: a judge scores the answer after each step.

For objectives with clear steps whose rollouts are expensive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from concord.rewards.process.labelling import Context, Needs, prefix_verdicts

NEEDS = Needs(judge=True)


def label(samples: Sequence[dict[str, Any]], context: Context) -> list[list[float]]:
    """The judge's verdict on the answer after each step."""
    return prefix_verdicts(samples, context.required_judge())
