"""Targets in [0, 1] for the steps of sampled responses: hindsight values from a verifier, verdicts of a judge.

Hindsight (MAHALO, arXiv 2510.01167): V_t = mean over completions m of gamma^(n_m - t) * z_m, with z_m the correctness
of completion m and n_m its number of steps. The verifier says nothing on a step by itself, so the paper's r_t is 0 and
V_t stays in [0, 1]. After the last step the response is its own only completion.

A sample is {"messages", "steps", "domain", "reference"}; where prefixes are completed, also "completed": for each step
the whole answers that go on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tasks.rewards import segment, verifiers
from tasks.rewards.judges import Judge
from tasks.rewards.outcome import RewardModel
from tasks.stage.models import Messages

Generate = Callable[[Sequence[Messages], Sequence[str]], list[str]]
"""(prompts, beginnings of answers) -> the rest of each answer."""


def prefixes(steps: Sequence[str]) -> list[str]:
    """The answer after each of its steps."""
    return ["".join(steps[: end + 1]) for end in range(len(steps))]


def complete(samples: Sequence[dict[str, Any]], generate: Generate, count: int) -> list[list[list[str]]]:
    """For each step of each sample, `count` whole answers that begin with it; after the last step, the sample alone."""
    asked = [
        (index, step, prefix)
        for index, sample in enumerate(samples)
        for step, prefix in enumerate(prefixes(sample["steps"])[:-1])
        for _ in range(count)
    ]
    rest = generate([samples[index]["messages"] for index, _, _ in asked], [prefix for _, _, prefix in asked])
    found: list[list[list[str]]] = [[[] for _ in sample["steps"]] for sample in samples]
    for (index, step, prefix), end in zip(asked, rest, strict=True):
        found[index][step].append(prefix + end)
    for sample, completed in zip(samples, found, strict=True):
        completed[-1].append("".join(sample["steps"]))
    return found


def hindsight_value(correct: Sequence[float], steps: Sequence[int], step: int, gamma: float) -> float:
    """V_t of prefix `step` (1 for the first) from its completions: `correct` z_m and `steps` n_m, all steps counted."""
    return float(np.mean([gamma ** max(0, n - step) * z for z, n in zip(correct, steps, strict=True)]))


def by_hindsight(samples: Sequence[dict[str, Any]], verifier: str, gamma: float) -> list[list[float]]:
    """V_t of every step, from the completions and the reference of each sample."""
    texts = _flat(samples)
    references = [samples[index]["reference"] for index, _, _ in texts]
    correct = iter(verifiers.verify(verifier, [text for *_, text in texts], references).tolist())
    labels = []
    for sample in samples:
        own = []
        for step, answers in enumerate(sample["completed"], start=1):
            counts = [len(segment.split(text, sample["domain"])) for text in answers]
            own.append(hindsight_value([next(correct) for _ in answers], counts, step, gamma))
        labels.append(own)
    return labels


def by_majority(samples: Sequence[dict[str, Any]], judge: Judge) -> list[list[float]]:
    """1 where the judge holds more than half of a prefix's completions for good (above one half), else 0."""
    texts = _flat(samples)
    verdicts = judge.verdicts([samples[index]["messages"] for index, _, _ in texts], [text for *_, text in texts])
    good = iter((verdicts > 0.5).tolist())
    return [[float(np.mean([next(good) for _ in answers]) > 0.5) for answers in s["completed"]] for s in samples]


def by_judge(samples: Sequence[dict[str, Any]], judge: Judge) -> list[list[float]]:
    """What the judge says of the answer after each step."""
    texts = [prefixes(sample["steps"]) for sample in samples]
    messages = [sample["messages"] for sample, own in zip(samples, texts, strict=True) for _ in own]
    verdicts = iter(judge.verdicts(messages, [text for own in texts for text in own]).tolist())
    return [[next(verdicts) for _ in own] for own in texts]


def standard_of(samples: Sequence[dict[str, Any]], model: RewardModel, objective: str) -> tuple[float, float]:
    """Mean and standard deviation of a reward head's score of the whole responses (1 where all scored the same)."""
    responses = ["".join(sample["steps"]) for sample in samples]
    scores = model.score([sample["messages"] for sample in samples], responses)
    own = scores[:, model.objectives.index(objective)].astype(float)
    return float(own.mean()), float(own.std()) if own.std() > 1e-8 else 1.0


def _flat(samples: Sequence[dict[str, Any]]) -> list[tuple[int, int, str]]:
    return [
        (index, step, text)
        for index, sample in enumerate(samples)
        for step, answers in enumerate(sample["completed"])
        for text in answers
    ]
