"""Samples for step labelling: prefixes of answers, and completions of these prefixes.

A sample is a dict with the keys messages, steps, domain and reference. If prefixes are completed,
it also has the key completed: for each step, the whole answers that start with the prefix up to it.
The only completion after the last step is the response itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from concord.lm.chat import Messages
from concord.rewards.outcome.reward_model import RewardModel
from concord.rewards.outcome.reward_model import complete as complete_scores

Generate = Callable[[Sequence[Messages], Sequence[str]], list[str]]
"""Maps prompts and partial answers to the continuation of each answer."""


def prefixes(steps: Sequence[str]) -> list[str]:
    """The answer up to and including each step.

    Examples:
        >>> prefixes(["One. ", "Two."])
        ['One. ', 'One. Two.']
    """
    return ["".join(steps[: end + 1]) for end in range(len(steps))]


def complete(
    samples: Sequence[dict[str, Any]], generate: Generate, count: int
) -> list[list[list[str]]]:
    """For each step of each sample, `count` whole answers that start with the prefix up to it.

    The last step has a single completion, the answer of the sample.
    """
    requests = [
        (index, step, prefix)
        for index, sample in enumerate(samples)
        for step, prefix in enumerate(prefixes(sample["steps"])[:-1])
        for _ in range(count)
    ]
    continuations = generate(
        [samples[index]["messages"] for index, _, _ in requests],
        [prefix for _, _, prefix in requests],
    )
    completions: list[list[list[str]]] = [[[] for _ in sample["steps"]] for sample in samples]
    for (index, step, prefix), continuation in zip(requests, continuations, strict=True):
        completions[index][step].append(prefix + continuation)
    for sample, completed in zip(samples, completions, strict=True):
        completed[-1].append("".join(sample["steps"]))
    return completions


def score_mean_and_std(
    samples: Sequence[dict[str, Any]], model: RewardModel, objective: str
) -> tuple[float, float]:
    """Mean and standard deviation of a reward head's scores of the whole responses.

    The standard deviation is 1 if all scores are equal.
    """
    responses = ["".join(sample["steps"]) for sample in samples]
    scores = complete_scores(
        model, model.score([sample["messages"] for sample in samples], responses)
    )
    column = scores[:, model.objectives.index(objective)].astype(float)
    return float(column.mean()), float(column.std()) if column.std() > 1e-8 else 1.0


def completed_texts(samples: Sequence[dict[str, Any]]) -> list[tuple[int, int, str]]:
    """(index of the sample, index of the step, whole answer) for every completion."""
    return [
        (index, step, text)
        for index, sample in enumerate(samples)
        for step, answers in enumerate(sample["completed"])
        for text in answers
    ]
