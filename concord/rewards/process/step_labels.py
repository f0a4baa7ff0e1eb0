"""Samples whose steps are labelled: prefixes of answers, and whole answers that continue them.

A sample is {"messages", "steps", "domain", "reference"}. Where prefixes are completed it also has "completed": for each
step the whole answers that continue from there. After the last step the response is its own only completion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from concord.lm.chat import Messages

if TYPE_CHECKING:
    from concord.rewards.outcome.reward_model import RewardModel

Generate = Callable[[Sequence[Messages], Sequence[str]], list[str]]
"""(prompts, beginnings of answers) -> the rest of each answer."""


def prefixes(steps: Sequence[str]) -> list[str]:
    """The answer after each of its steps."""
    return ["".join(steps[: end + 1]) for end in range(len(steps))]


def complete(
    samples: Sequence[dict[str, Any]], generate: Generate, count: int
) -> list[list[list[str]]]:
    """For each step of each sample, `count` whole answers that begin with it; after the last step, the sample alone."""
    asked = [
        (index, step, prefix)
        for index, sample in enumerate(samples)
        for step, prefix in enumerate(prefixes(sample["steps"])[:-1])
        for _ in range(count)
    ]
    rest = generate(
        [samples[index]["messages"] for index, _, _ in asked], [prefix for _, _, prefix in asked]
    )
    found: list[list[list[str]]] = [[[] for _ in sample["steps"]] for sample in samples]
    for (index, step, prefix), end in zip(asked, rest, strict=True):
        found[index][step].append(prefix + end)
    for sample, completed in zip(samples, found, strict=True):
        completed[-1].append("".join(sample["steps"]))
    return found


def standard_of(
    samples: Sequence[dict[str, Any]], model: RewardModel, objective: str
) -> tuple[float, float]:
    """Mean and standard deviation of a reward head's score of the whole responses (1 where all scored the same)."""
    responses = ["".join(sample["steps"]) for sample in samples]
    scores = model.score([sample["messages"] for sample in samples], responses)
    own = scores[:, model.objectives.index(objective)].astype(float)
    return float(own.mean()), float(own.std()) if own.std() > 1e-8 else 1.0


def completed_texts(samples: Sequence[dict[str, Any]]) -> list[tuple[int, int, str]]:
    """(sample, step, whole answer) of every completion."""
    return [
        (index, step, text)
        for index, sample in enumerate(samples)
        for step, answers in enumerate(sample["completed"])
        for text in answers
    ]
