"""The reward function: advantages by hand, scalarisers, conflicts, and what they log."""

from typing import Any

import numpy as np
import pytest
import torch

from concord.policies.methods.grpo import GrpoParams
from concord.policies.rl.groups import without_conflicts
from concord.policies.rl.reward_function import RewardFunction
from concord.stage.errors import ParamsError
from concord.stage.params import section
from tests.policies.conftest import OBJECTIVES, ONLINE, MakeJob
from tests.policies.rl.letters import SteppedVector, reward_function

ENTRY = {
    **ONLINE,
    "method": "grpo",
    "weights": {"right": 1.0, "vivid": 3.0, "helpful": 1.0},
}


def test_advantages_and_their_parts(make_job: MakeJob) -> None:
    """Values by hand.

    values: only helpful has a weight. It is 0, 1, 2 with mean 1 and standard deviation 1, so the
    advantages are -1, 0, 1 up to TRL's epsilon.
    math: right (weight .25) is 0, 0, 3 and vivid (weight .75) is 10, 20, 30, anchored as
    (raw - 1) / 2. Normalised, right is -.577, -.577, 1.155 and vivid is -1, 0, 1; the weighted sums
    are -.894, -.144, 1.039.
    """
    job, logged = make_job(**ENTRY), {}
    texts = ["", "a", "aabbb", "b", "bb", "aaabbb"]
    advantages = reward_function(job)(
        [[{"role": "user", "content": "q"}]] * 6,
        [[{"role": "assistant", "content": text}] for text in texts],
        domain=["values"] * 3 + ["math"] * 3,
        reference=[None] * 6,
        log_metric=logged.__setitem__,
        trainer_state=None,
    )
    np.testing.assert_allclose(advantages, [-1, 0, 1, -0.894, -0.144, 1.039], atol=1e-3)
    assert logged["raw.helpful"] == 1.0
    assert logged["raw.vivid"] == 20.0
    assert logged["anchored.vivid"] == 9.5
    assert logged["weighted.vivid"] == 0.75 * 9.5
    assert logged["weighted.honest"] == 0.0
    assert logged["weight.vivid"] == 0.75


def test_weights_are_matched_by_name(make_job: MakeJob) -> None:
    """The order of the weights and of the objectives does not matter."""
    reverse = {**ENTRY, "weights": dict(reversed(ENTRY["weights"].items()))}
    jobs = make_job(**ENTRY), make_job(objectives=dict(reversed(OBJECTIVES.items())), **reverse)
    one, other = (reward_function(job).row_weights(["math", "values"]).tolist() for job in jobs)
    assert one == other == [[0.0, 0.0, 0.25, 0.75], [1.0, 0.0, 0.0, 0.0]]


def advantages(reward: RewardFunction, texts: list[str], domain: str = "values") -> list[float]:
    count = len(texts)
    return reward(
        [[{"role": "user", "content": "q"}]] * count,
        [[{"role": "assistant", "content": text}] for text in texts],
        domain=[domain] * count,
        reference=[None] * count,
        log_metric=lambda name, value: None,
    )


EQUAL = {"helpful": 1.0, "honest": 1.0, "right": 1.0}
SCALARISED = {**ENTRY, "weights": EQUAL, "aggregation": "sum_then_normalize"}
STEPPED = {"step_advantages": True, "process_rewards": {"right": "mean"}}
TEXTS = ["aaaaa", "b", "aaab"]
"""Anchored (helpful, honest), (raw - 1) / 2: (2, -.5), (-.5, 4.5) and (1, 4.5)."""


def test_a_scalariser_is_applied_before_the_normalisation(make_job: MakeJob) -> None:
    """By hand, with ideal 3 and equal weights.

    Chebyshev gives -max(.5, 1.75), -max(1.75, -.75) and -max(1, -.75) = -1.75, -1.75, -1. The mean
    is -1.5 and the standard deviation .433, so the advantages are -.577, -.577, 1.155. The weighted
    sums would be .75, 2, 2.75.
    """
    job = make_job(**SCALARISED, scalariser="chebyshev")
    values = advantages(reward_function(job), TEXTS)
    np.testing.assert_allclose(values, [-0.577, -0.577, 1.155], atol=1e-3)


def test_parameters_of_a_scalariser_count(make_job: MakeJob) -> None:
    """Only the last text passes a gate at .5 on both rewards. All pass at -1."""
    strict, loose = (
        make_job(**SCALARISED, scalariser="gate", scalariser_parameters={"threshold": threshold})
        for threshold in (0.5, -1.0)
    )
    values = advantages(reward_function(strict), TEXTS)
    np.testing.assert_allclose(values, [-0.577, -0.577, 1.155], atol=1e-3)
    plain = advantages(reward_function(make_job(**SCALARISED)), TEXTS)
    assert advantages(reward_function(loose), TEXTS) == plain


def test_the_batch_step_of_gdpo(make_job: MakeJob) -> None:
    """Over all samples, the final advantages have mean 0 and standard deviation 1."""
    reward = reward_function(make_job(**{**ENTRY, "weights": EQUAL}, normalize_over_batch=True))
    before = torch.tensor(advantages(reward, [*TEXTS, "", "ab", "aab"]))
    after = reward.finish(before)
    torch.testing.assert_close(after, before / (before.std() + 1e-4), atol=1e-6, rtol=0)
    assert before.std() < 0.8
    assert after.std() == pytest.approx(1.0, abs=1e-3)


def test_samples_whose_rewards_disagree_are_left_out(make_job: MakeJob) -> None:
    """Counts (a, b) of three groups, by hand.

    (2, 2), (1, 1), (0, 0): no conflict; the advantages 1, 0, -1 stay.
    (2, 1), (0, 0), (0, 1): .866, -.866, 0. The last has signs -, +, so the others get 2/3.
    (1, 0), (0, 1), (0, 0): .289, .289, -.577. Only the last is left, with 1/3.
    """
    job = make_job(**{**ENTRY, "weights": EQUAL}, conflict_threshold=1.0)
    reward = reward_function(job)
    texts = ["aabb", "ab", "", "aab", "", "b", "a", "b", ""]
    after = reward.finish(torch.tensor(advantages(reward, texts)))
    expected = [1, 0, -1, 0.577, -0.577, 0, 0, 0, -0.192]
    np.testing.assert_allclose(after.numpy(), expected, atol=1e-3)


def test_the_batch_step_leaves_out_conflicts(make_job: MakeJob) -> None:
    """Mean 0 and standard deviation 1 over the samples that are left; the others stay 0."""
    extra = {"conflict_threshold": 1.0, "normalize_over_batch": True}
    reward = reward_function(make_job(**{**ENTRY, "weights": EQUAL}, **extra))
    texts = ["aabb", "ab", "", "aab", "", "b", "a", "b", ""]
    after = reward.finish(torch.tensor(advantages(reward, texts)))
    assert (after[5:8] == 0).all()
    left = after[[0, 1, 2, 3, 4, 8]]
    assert left.mean() == pytest.approx(0.0, abs=1e-6)
    assert left.std() == pytest.approx(1.0, abs=1e-3)


def test_a_lower_threshold_leaves_out_less() -> None:
    """Of random samples with three rewards, the signs agree in a quarter."""
    normalised = np.random.default_rng(0).normal(size=(4000, 3))
    weights = np.full((4000, 3), 1 / 3)
    some, most = (without_conflicts(normalised, weights, 4, limit) == 0 for limit in (0.2, 1.0))
    assert most.mean() == pytest.approx(0.75, abs=0.03)
    assert 0.1 < some.mean() < 0.5
    assert most[some].all()


class OneTokenPerLetter:
    @staticmethod
    def decode(ids: str, skip_special_tokens: bool) -> str:
        return ids.rstrip("_")


def test_a_step_has_its_own_advantage(make_job: MakeJob) -> None:
    """By hand, with weights .25 for `right`, by its steps, and .75 for `vivid`, by the sample.

    The letters of aab, bb and a score 1, 1, 0, 0, 0 and 1: mean .5 and deviation .548, so each a is
    .913 and each b -.913. The means of what follows are (.304, 0, -.913), (-.913, -.913), (.913).
    The b of the samples are 1, 2 and 0, so vivid is 0, 1 and -1. Padding belongs to the last step.
    """
    job = make_job(**ENTRY, process_rewards={"right": "mean"}, step_advantages=True)
    reward, texts = reward_function(job), ["aab", "bb", "a"]
    reward.vector = SteppedVector()
    advantages(reward, texts, "math")
    padded = [text.ljust(4, "_") for text in texts]
    values = reward.token_advantages(padded, OneTokenPerLetter)
    right = [[0.304, 0, -0.913, -0.913], [-0.913] * 4, [0.913] * 4]
    expected = 0.25 * np.array(right) + 0.75 * np.array([[0], [1], [-1]])
    np.testing.assert_allclose(values, expected, atol=1e-3)
    advantages(reward, texts)  # `right` does not apply, and only `helpful` has a weight
    values = reward.token_advantages(padded, OneTokenPerLetter)
    np.testing.assert_allclose(values, [[1.0] * 4, [-1.0] * 4, [0.0] * 4], atol=1e-3)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"step_advantages": True}, "no objective has them; add `process_rewards`"),
        (
            {**STEPPED, "aggregation": "sum_then_normalize"},
            "does not normalise each reward; use `normalize_then_sum`",
        ),
        ({**STEPPED, "conflict_threshold": 0.5}, "cannot be used with `step_advantages`"),
        ({"process_rewards": {"right": "sum"}}, r"process_rewards\.right"),
        ({"scalariser": "geometric"}, "use `sum_then_normalize`, which scalarises first"),
        ({"scalariser": "mean"}, "scalariser: unknown name"),
        ({"scalariser_parameters": {"ideal": 1.0}}, r"scalariser_parameters\.ideal is unknown"),
        (
            {"normalize_over_batch": True, "micro_prompts": 1},
            "a micro-batch has 1 of 2 prompts; remove `micro_prompts`",
        ),
        (
            {"conflict_threshold": 0.2, "aggregation": "sum_then_normalize"},
            "does not normalise each reward; use `normalize_then_sum`",
        ),
        ({"aggregation": "sum"}, "aggregation: unknown name"),
        ({"micro_prompts": 3}, "`micro_prompts` 3 does not divide `prompts_per_step` 2; give"),
    ],
)
def test_combinations_that_make_no_sense(extra: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        section(GrpoParams, {**ENTRY, **extra}, "policies.grpo")
