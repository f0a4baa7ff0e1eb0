"""Simulated annotators: which of two answers they prefer, and with what probability.

Preferences follow Bradley-Terry (1952) on the gold rewards: p(a over b) = sigmoid((gold_a - gold_b)
/ temperature). The best achievable accuracy on such pairs is the mean of max(p, 1 - p). This
ceiling lies between 0.80 and 0.92 for every objective. Ratings add the annotator's bias and noise.
Annotators rarely compare two answers with equal gold: the second answer is drawn again, at most
REDRAWS times, until the two differ. `overall` is judged on a weighted mix of the domain's
objectives (OVERALL).
"""

import math
import random
from typing import Any

from concord.sandbox.world import DOMAIN, OBJECTIVES, Prompt, World

TEMPERATURE = {
    "math_accuracy": 0.45,
    "math_engagement": 0.15,
    "helpful": 0.11,
    "honest": 0.13,
    "harmless": 0.07,
    "tutor_accuracy": 0.12,
    "tutor_engagement": 0.1,
    "overall": 0.08,
}
OVERALL = {
    "math_accuracy": 0.5,
    "math_engagement": 0.5,
    "helpful": 0.6,
    "honest": 0.25,
    "harmless": 0.15,
    "tutor_accuracy": 0.5,
    "tutor_engagement": 0.5,
}
ANNOTATORS = ("ada", "bo", "cy", "dee")
BIAS = {"ada": 0.0, "bo": 0.12, "cy": -0.1, "dee": 0.05}
NOISE = 0.08
REDRAWS = 5


def gold(world: World, prompt: Prompt, response: str, objective: str) -> float:
    """Gold reward that annotators of `objective` judge by; for `overall`, the weighted mix."""
    scores = world.gold(prompt.messages, response)
    return (
        sum(OVERALL[name] * value for name, value in scores.items())
        if objective == "overall"
        else scores[objective]
    )


def probability(objective: str, gold_a: float, gold_b: float) -> float:
    """Bradley-Terry probability that a is preferred to b.

    Examples:
        >>> probability("helpful", 0.7, 0.7)
        0.5
    """
    return 1.0 / (1.0 + math.exp(-(gold_a - gold_b) / TEMPERATURE[objective]))


def rating(
    gold_value: float, annotator: str, rng: random.Random, low: int = 1, high: int = 5
) -> int:
    """Rating on [low, high] by a biased and noisy annotator."""
    value = low + (high - low) * (gold_value + BIAS[annotator] + rng.gauss(0, NOISE))
    return min(high, max(low, round(value)))


def pair(world: World, prompt: Prompt, objective: str, rng: random.Random) -> dict[str, Any]:
    """One judged pair: two different answers by randomly drawn authors."""
    first, second, gold_a, gold_b = _two_answers(world, prompt, objective, rng)
    p = probability(objective, gold_a, gold_b)
    chosen, rejected = (
        ((first, gold_a), (second, gold_b))
        if rng.random() < p
        else ((second, gold_b), (first, gold_a))
    )
    return {
        "messages": prompt.messages,
        "chosen": chosen[0],
        "rejected": rejected[0],
        "objective": objective,
        "annotator": rng.choice(ANNOTATORS),
        "p": p,
        "gold_chosen": chosen[1],
        "gold_rejected": rejected[1],
        "domain": prompt.domain,
        "group_id": prompt.group_id,
    }


def _two_answers(
    world: World, prompt: Prompt, objective: str, rng: random.Random
) -> tuple[str, str, float, float]:
    first = second = world.write(prompt.messages, rng)
    gold_a = gold_b = gold(world, prompt, first, objective)
    draws = 0
    while second == first or (gold_b == gold_a and draws <= REDRAWS):
        second = world.write(prompt.messages, rng)
        gold_b = gold(world, prompt, second, objective)
        draws += 1
    return first, second, gold_a, gold_b


def comparisons(world: World, objective: str, n: int, seed: int) -> list[dict[str, Any]]:
    """`n` judged pairs of `objective` with the annotators' probability p; `overall` covers all
    domains.
    """
    domains = list(OBJECTIVES) if objective == "overall" else [DOMAIN[objective]]
    rng = random.Random(f"{world.name}-{world.seed}-{objective}-pairs-{seed}")
    shares = {
        domain: n // len(domains) + (index < n % len(domains))
        for index, domain in enumerate(domains)
    }
    prompts = [
        prompt
        for index, (domain, share) in enumerate(shares.items())
        for prompt in world.prompts(domain, share, seed + 1000 + index)
    ]
    return [pair(world, prompt, objective, rng) for prompt in prompts]
