"""Targets in [0, 1] for the steps of sampled responses: hindsight values from a verifier, verdicts of a reward head.

Hindsight (MAHALO, arXiv 2510.01167): V_t = mean over completions m of gamma^(n_m - t) * z_m, with z_m the correctness
of completion m and n_m its number of steps. The verifier says nothing on a step by itself, so the paper's r_t is 0 and
V_t stays in [0, 1]. After the last step the response is its own only completion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tasks.rewards import segment, verifiers
from tasks.rewards.outcome import RewardModel
from tasks.stage.models import Messages

Generate = Callable[[Sequence[Messages], Sequence[str]], list[str]]
"""(prompts, beginnings of answers) -> the rest of each answer."""


def hindsight_value(correct: Sequence[float], steps: Sequence[int], step: int, gamma: float) -> float:
    """V_t of prefix `step` (1 for the first) from its completions: `correct` z_m and `steps` n_m, all steps counted."""
    return float(np.mean([gamma ** max(0, n - step) * z for z, n in zip(correct, steps, strict=True)]))


def prefixes(steps: Sequence[str]) -> list[str]:
    """The answer after each of its steps."""
    return ["".join(steps[: end + 1]) for end in range(len(steps))]


def by_hindsight(
    samples: Sequence[dict[str, Any]], verifier: str, generate: Generate, completions: int, gamma: float
) -> list[list[float]]:
    """Labels of the steps of each sample {"messages", "steps", "domain", "reference"}.

    Draws `completions` answers from every prefix but the whole response.
    """
    asked = [
        (index, step, prefix)
        for index, sample in enumerate(samples)
        for step, prefix in enumerate(prefixes(sample["steps"])[:-1], start=1)
        for _ in range(completions)
    ]
    rest = generate([samples[index]["messages"] for index, _, _ in asked], [prefix for _, _, prefix in asked])
    whole = [(index, len(sample["steps"]), "".join(sample["steps"])) for index, sample in enumerate(samples)]
    answers = [(i, step, prefix + end) for (i, step, prefix), end in zip(asked, rest, strict=True)] + whole
    references = [samples[index]["reference"] for index, _, _ in answers]
    correct = verifiers.verify(verifier, [text for _, _, text in answers], references)
    outcomes: dict[tuple[int, int], tuple[list[float], list[int]]] = {}
    for (index, step, text), z in zip(answers, correct.tolist(), strict=True):
        zs, ns = outcomes.setdefault((index, step), ([], []))
        zs.append(z)
        ns.append(len(segment.split(text, samples[index]["domain"])))
    return [
        [hindsight_value(*outcomes[index, step], step, gamma) for step in range(1, len(sample["steps"]) + 1)]
        for index, sample in enumerate(samples)
    ]


def by_judge(
    samples: Sequence[dict[str, Any]], judge: RewardModel, objective: str, standard: tuple[float, float]
) -> list[list[float]]:
    """sigmoid((s - mean) / std) of the reward head's score s of the answer after each step."""
    mean, std = standard
    texts = [prefixes(sample["steps"]) for sample in samples]
    messages = [sample["messages"] for sample, own in zip(samples, texts, strict=True) for _ in own]
    flat = judge.score(messages, [text for own in texts for text in own])[:, judge.objectives.index(objective)]
    verdicts = iter((1.0 / (1.0 + np.exp(-(flat.astype(float) - mean) / std))).tolist())
    return [[next(verdicts) for _ in own] for own in texts]


def standard_of(samples: Sequence[dict[str, Any]], judge: RewardModel, objective: str) -> tuple[float, float]:
    """Mean and standard deviation of a reward head's score of the whole responses (1 where all scored the same)."""
    responses = ["".join(sample["steps"]) for sample in samples]
    scores = judge.score([sample["messages"] for sample in samples], responses)
    own = scores[:, judge.objectives.index(objective)].astype(float)
    return float(own.mean()), float(own.std()) if own.std() > 1e-8 else 1.0
