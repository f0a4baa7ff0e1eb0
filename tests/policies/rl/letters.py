"""A reward function that counts letters."""

from typing import Any, ClassVar

import numpy as np

from concord.objectives import domain_weights
from concord.policies.job import PolicyJob
from concord.policies.moving_weights import WeightTracker
from concord.policies.rl.reward_function import RewardFunction
from concord.rewards.vector.anchors import Anchor, Anchors
from tests.policies.conftest import OBJECTIVES


class LetterVector:
    """Scores that count letters: `vivid` and `right` on math, `honest` and `helpful` on values."""

    names = ("helpful", "honest", "right", "vivid")

    def score(self, messages: Any, responses: Any, domains: Any, references: Any) -> np.ndarray:
        columns = {"math": (2, 3), "values": (0, 1)}
        raw = np.full((len(responses), 4), np.nan)
        for row, (text, domain) in enumerate(zip(responses, domains, strict=True)):
            raw[row, columns[domain][0]], raw[row, columns[domain][1]] = (
                text.count("a"),
                10.0 * text.count("b"),
            )
        return raw


class SteppedVector(LetterVector):
    """Steps are single letters; `right` scores 1 for an a and 0 for another letter."""

    forms: ClassVar = {"right": "mean"}

    def score(self, messages: Any, responses: Any, domains: Any, references: Any) -> np.ndarray:
        raw = super().score(messages, responses, domains, references)
        self.steps = [list(text) for text in responses]
        self.step_scores = {
            "right": [
                np.array([float(letter == "a") for letter in text]) if domain == "math" else None
                for text, domain in zip(responses, domains, strict=True)
            ]
        }
        return raw


def reward_function(job: PolicyJob) -> RewardFunction:
    weights = {
        domain: domain_weights(job.params.weights, job.objectives, domain)
        for domain in ("math", "values")
    }
    anchors = Anchors({name: Anchor(1.0, 2.0, 1, 9) for name in OBJECTIVES})
    return RewardFunction(job.params, LetterVector(), anchors, WeightTracker(weights))
