"""Best-of-K: the winner depends on the weights; K=1 is plain sampling."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from concord.lm.load import load_causal
from concord.lm.sample import sample
from concord.objectives import Objective
from concord.rewards.vector.anchors import Anchor, Anchors
from concord.stage.errors import ParamsError
from concord.steering.best_of import best_indices, best_of, candidate_scores

OBJECTIVES = {
    "short": Objective(domain="values", description="", reward="values"),
    "loud": Objective(domain="values", description="", reward="values"),
    "right": Objective(domain="math", description="", verifier="math_answer"),
}
ANCHORS = Anchors(
    {
        "short": Anchor(0.0, 1.0, 1, 9),
        "loud": Anchor(0.0, 100.0, 1, 9),
        "right": Anchor(0.5, 0.5, 1, 9),
    }
)
ASK = [{"role": "user", "content": "q"}]


class Letters:
    """A reward vector. short: minus the length; loud: 100 per "!"; right: 1 for the answer "2"."""

    names = ("short", "loud", "right")

    def score(self, messages: Any, responses: Any, domains: Any, references: Any) -> np.ndarray:
        values = [[-len(text), 100.0 * text.count("!"), float(text == "2")] for text in responses]
        hidden = [[domain != "values"] * 2 + [domain != "math"] for domain in domains]
        return np.where(hidden, np.nan, values).astype(np.float32)


def scores(
    candidates: list[str], domain: str, weights: dict[str, float], scalariser: str = "weighted_sum"
) -> list[float]:
    n = len(candidates)
    values = candidate_scores(
        candidates,
        [ASK] * n,
        [domain] * n,
        [None] * n,
        vector=Letters(),
        anchors=ANCHORS,
        weights=weights,
        objectives=OBJECTIVES,
        scalariser=scalariser,
    )
    return [*values]


def test_weights_are_matched_by_name() -> None:
    """Anchored, short is -1, -4 and loud is 0, 3. Weights of other domains are ignored."""
    assert scores(["a", "a!!!"], "values", {"loud": 2.0, "short": 2.0, "right": 7.0}) == [
        -0.5,
        -0.5,
    ]
    assert scores(["a", "a!!!"], "values", {"short": 3.0, "loud": 1.0}) == [-0.75, -2.25]
    assert scores(["a", "a!!!"], "values", {"short": 1.0, "loud": 3.0}) == [-0.25, 1.25]
    assert scores(["2", "3"], "math", {"right": 0.1}) == [1.0, -1.0]
    assert scores(["a", "a!!!"], "values", {"short": 1.0, "loud": 1.0}, "chebyshev") == [-2.0, -3.5]


def test_a_domain_without_weights() -> None:
    with pytest.raises(ParamsError, match="no objective of domain math has a positive weight"):
        scores(["2"], "math", {"short": 1.0})


def test_best_of_each_group() -> None:
    """Ties go to the first; NaN ranks last."""
    assert best_indices(np.array([1.0, 2.0, 2.0, np.nan, -5.0, np.nan]), 3) == [1, 4]


def test_best_of_returns_the_best_sample(tiny_model: Path, tiny_tokenizer: Any) -> None:
    model, prompts = load_causal(tiny_model), [ASK, [{"role": "user", "content": "r"}]]
    sampling = {"max_new_tokens": 8, "seed": 4}

    def chosen(k: int, weights: dict[str, float]) -> list[str]:
        return best_of(
            model,
            tiny_tokenizer,
            prompts,
            ["values"] * 2,
            [None] * 2,
            k=k,
            vector=Letters(),
            anchors=ANCHORS,
            weights=weights,
            objectives=OBJECTIVES,
            **sampling,
        )

    assert chosen(1, {"short": 1.0}) == sample(model, tiny_tokenizer, prompts, **sampling)
    candidates = sample(
        model, tiny_tokenizer, [prompt for prompt in prompts for _ in range(16)], **sampling
    )
    shortest = [min(candidates[:16], key=len), min(candidates[16:], key=len)]
    assert chosen(16, {"short": 1.0}) == shortest
    assert chosen(16, {"loud": 1.0, "short": 0.0}) != shortest
