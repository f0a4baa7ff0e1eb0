"""What steps earn: sums, lengths, advantages by hand, and the tokens of steps."""

import numpy as np
import pytest

from concord.lm.load import load_tokenizer
from concord.policies.rl.groups import normalise
from concord.policies.step_rewards import (
    Form,
    answer_reward,
    last_tokens,
    step_advantages,
    step_rewards,
)
from concord.rewards.vector.anchors import Anchor
from concord.stage.closure import ROOT

ANCHOR = Anchor(mean=0.6, std=0.2, direction=1, n=9)
FORMS: list[Form] = ["mean", "difference"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("quality", [0.2, 0.9])
def test_more_steps_of_equal_quality_earn_no_more(form: Form, quality: float) -> None:
    """A sum of step rewards would pay for length: .9 for one step, 4.5 for five."""
    sums = [step_rewards(np.full(n, quality), form, ANCHOR).sum() for n in (1, 2, 5)]
    assert sums == pytest.approx([(quality - 0.6) / 0.2] * 3)
    group = [np.full(n, quality) for n in (1, 2, 5)] + [np.array([0.5, 0.5])]
    first = [each[0] for each in step_advantages(group, form)]
    assert first[:3] == pytest.approx([first[0]] * 3)
    assert (first[0] > first[3]) == (quality > 0.5)


@pytest.mark.parametrize("form", FORMS)
def test_step_rewards_sum_to_the_anchored_reward_of_the_answer(form: Form) -> None:
    scores = np.random.default_rng(0).uniform(size=7)
    total = step_rewards(scores, form, ANCHOR).sum()
    assert total == pytest.approx((answer_reward(scores, form) - 0.6) / 0.2)


def test_advantages_of_steps_by_hand() -> None:
    """Scores (.9, .5) and (.1): mean .5, standard deviation .4, so normalised (1, 0) and (-1).

    The mean of what follows is (.5, 0) and (-1). By `difference`, the last scores .5 and .1 have
    mean .3 and deviation .283; the rises .5 - .3, .5 - .9 and .1 - .3 are (.71, -1.41) and (-.71).
    """
    group = [np.array([0.9, 0.5]), np.array([0.1])]
    means, rises = (np.concatenate(step_advantages(group, form)) for form in FORMS)
    np.testing.assert_allclose(means, [0.5, 0.0, -1.0], atol=1e-3)
    np.testing.assert_allclose(rises, [0.707, -1.414, -0.707], atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_with_one_step_they_are_those_of_grpo(form: Form) -> None:
    values = np.array([0.3, 0.9, 0.5])
    advantages = np.concatenate(step_advantages([values[[row]] for row in range(3)], form))
    np.testing.assert_allclose(advantages, normalise(values[:, None], 3)[:, 0])


def test_steps_and_their_tokens() -> None:
    """The tokens up to the last one of a step are its text; the end of sequence is in the last."""
    tokenizer = load_tokenizer(ROOT / "models/base")
    steps = ["1 + 1 = 2\n\n", "2 + 2 = 4 é\n\n", "so 4"]
    ids = [i for step in steps for i in tokenizer(step, add_special_tokens=False).input_ids]
    padded = [*ids, tokenizer.eos_token_id, tokenizer.pad_token_id]
    *ends, last = last_tokens(tokenizer, padded, steps)
    assert last == len(padded) - 1
    decoded = [tokenizer.decode(padded[: end + 1]) for end in ends]
    assert decoded == [steps[0], steps[0] + steps[1]]
    assert last_tokens(tokenizer, [tokenizer.eos_token_id], [""]) == [0]
