"""Process rewards in policy training: what each step of an answer earns.

The process reward model scores the answer after each of its steps: s_1, ..., s_n in (0, 1). A sum
of the scores would reward long answers, so a step earns one of two things (`Form`):

- `mean`: s_t / n. The answer earns the mean score.
- `difference`: s_t - s_(t-1), with s_0 from the anchor. The answer earns its last score. This is
  potential-based shaping (Ng et al. 1999).

In both forms, more steps with equal scores earn no more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from concord.policies.rl.groups import EPSILON
from concord.rewards.vector.anchors import Anchor

Form = Literal["mean", "difference"]


def answer_reward(scores: np.ndarray, form: Form) -> float:
    """The raw reward of an answer from its step scores `(steps,)`."""
    return float(scores.mean() if form == "mean" else scores[-1])


def step_rewards(scores: np.ndarray, form: Form, anchor: Anchor) -> np.ndarray:
    """The anchored reward of each step, `(steps,)`. The sum is the anchored reward of the answer.

    Examples:
        >>> anchor = Anchor(mean=0.5, std=0.1, direction=1, n=9)
        >>> step_rewards(np.array([0.7, 0.6]), "mean", anchor).round(6).tolist()
        [1.0, 0.5]
        >>> step_rewards(np.array([0.7, 0.6]), "difference", anchor).round(6).tolist()
        [2.0, -1.0]
    """
    anchored = (scores.astype(float) - anchor.mean) / anchor.std
    return anchored / len(scores) if form == "mean" else np.diff(anchored, prepend=0.0)


def step_advantages(scores: Sequence[np.ndarray], form: Form) -> list[np.ndarray]:
    """The advantage of each step, `(steps,)` per answer, for the answers to one prompt.

    Process supervision in GRPO (DeepSeekMath, arXiv 2402.03300, section 4.1.3): step scores are
    normalised over all steps of the group, and a step gets what follows from it on. The paper takes
    the sum of the normalised scores, which grows with the number of good steps; `mean` takes their
    mean. `difference` takes the rise of the score until the end of the answer, s_n - s_(t-1), where
    s_0 is the mean of the last scores in the group, in units of the spread of the last scores.

    With one step per answer, both forms are the advantage of GRPO.

    Examples:
        >>> group = [np.array([0.4, 0.8]), np.array([0.4, 0.0])]
        >>> [each.round(2).tolist() for each in step_advantages(group, "difference")]
        [[0.71, 0.71], [-0.71, -0.71]]
    """
    if form == "difference":
        last = np.array([each[-1] for each in scores], dtype=float)
        befores = [np.concatenate([[last.mean()], each[:-1]]) for each in scores]
        rises = [each[-1] - before for each, before in zip(scores, befores, strict=True)]
        return [rise / (last.std(ddof=1) + EPSILON) for rise in rises]
    every = np.concatenate(scores).astype(float)
    normalised = [(each - every.mean()) / (every.std(ddof=1) + EPSILON) for each in scores]
    return [np.cumsum(each[::-1])[::-1] / np.arange(len(each), 0, -1) for each in normalised]


def last_tokens(tokenizer: Any, ids: Sequence[int], steps: Sequence[str]) -> list[int]:
    """The position of the last token of each step of an answer.

    `ids` are the sampled tokens, whose text is that of the joined steps. The last step includes the
    end of sequence and what follows. A token across two steps belongs to the first one.
    """

    def length(count: int) -> int:
        return len(tokenizer.decode(ids[: count + 1], skip_special_tokens=True))

    ends = np.cumsum([len(step) for step in steps])[:-1]
    return [*(bisect_left(range(len(ids) - 1), end, key=length) for end in ends), len(ids) - 1]
