"""Heads that start from a linear fit score and grade as the fit does."""

from pathlib import Path
from typing import Any

import pytest
import torch

from concord.rewards.outcome import head_start as label_start
from concord.rewards.outcome.examples import Example, Grade, Order, Scale, Scales
from concord.rewards.outcome.head_fit import LabelledModel, Thresholds, gathered, losses
from concord.rewards.outcome.probe import Probe
from concord.rewards.outcome.probe_fit import fit_heads
from concord.rewards.outcome.reward_model import new_model

NAMES = ["a", "b"]
YES = Scale("b", 0.0, 1.0)
SCALES = Scales({YES: [0.0, 1.0]}, {YES: [0.5]}, {(YES, "ada"): 2})
EXAMPLES = [
    Example([[7, 8], [7, 9, 10]], [Order(0, (0, 1), (1, 2), 0.0)], [Grade(1, 0, 0, 1, 1.0, 1)]),
    Example([[8, 8], [11, 9]], [Order(0, (1, 0), (1, 2), 0.0)], [Grade(1, 1, 0, 0, 1.0, 0)]),
]


@pytest.fixture
def model(tiny_model: Path, tiny_tokenizer: Any) -> LabelledModel:
    return LabelledModel(
        new_model(tiny_model, NAMES, tiny_tokenizer, "cpu", "float32", 0), Thresholds(SCALES)
    )


def test_the_start_is_the_linear_fit(model: LabelledModel, tiny_tokenizer: Any) -> None:
    """Of every label the loss is that of the fit, whose heads have a bias, which the stock model's have not."""
    reward: Any = model.model
    before = {name: value.clone() for name, value in reward.base_model.state_dict().items()}
    sequences = [sequence for example in EXAMPLES for sequence in example.sequences]
    states = Probe(reward, tiny_tokenizer, [reward.config.num_hidden_layers], NAMES, {}).features(
        sequences
    )
    heads, thresholds = fit_heads(states, EXAMPLES, SCALES, 2, 0.1)
    batch = gathered(EXAMPLES, [1.0, 1.0])
    fitted = torch.from_numpy(states @ heads["weight"].T + heads["bias"])
    expected = losses(fitted, thresholds.float(), batch)

    label_start.from_labels(model, tiny_tokenizer, EXAMPLES, SCALES, NAMES, 0.1)
    logits = [reward(input_ids=torch.tensor([ids])).logits[0] for ids in sequences]
    found = losses(torch.stack(logits), model.thresholds, batch)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert found[0].max() < 0.5 < losses(torch.zeros(4, 2), model.thresholds, batch)[0].min()
    assert all(
        torch.equal(value, before[name]) for name, value in reward.base_model.state_dict().items()
    )


def test_heads_start_where_the_stock_model_reads(tiny_model: Path, tiny_tokenizer: Any) -> None:
    """A tokenizer without a pad token pads with its end: the stock classifier reads the token before."""
    tiny_tokenizer.pad_token = tiny_tokenizer.eos_token
    end = tiny_tokenizer.eos_token_id
    model = LabelledModel(
        new_model(tiny_model, NAMES, tiny_tokenizer, "cpu", "float32", 0), Thresholds(SCALES)
    )
    examples = [
        Example(
            [[7, 8, end], [9, 10, end]],
            [Order(0, (0, 1), (1, 2), 0.0)],
            [Grade(1, 0, 0, 1, 1.0, 0)],
        )
    ]
    examples += [Example([[9, 11, end]], [], [Grade(1, 0, 0, 0, 1.0, 0)])]
    label_start.from_labels(model, tiny_tokenizer, examples, SCALES, NAMES, 0.01)
    reward: Any = model.model
    logits = torch.cat(
        [reward(input_ids=torch.tensor([ids])).logits for ids in ([7, 8, end], [9, 10, end])]
    )
    assert (
        losses(torch.cat([logits, logits]), model.thresholds, gathered(examples[:1], [1.0]))[
            0
        ].item()
        < 0.2
    )


def test_a_head_with_very_many_answers_shows_a_part_and_others_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(label_start, "ANSWERS", 6)
    many = [Example([[7, 8], [9]], [Order(0, (0, 1), (1, 2), 0.0)], []) for _ in range(30)]
    few = [Example([[7], [9]], [], [Grade(1, 0, 0, 1, 1.0, 0)]) for _ in range(3)]
    some = label_start._some([*many, *few], 2)
    assert (len(some), some[-3:]) == (6, few)


def test_thresholds_of_grades_that_the_fit_did_not_see_stay(
    model: LabelledModel, tiny_tokenizer: Any
) -> None:
    """With yes alone the fit would put the threshold at minus infinity."""
    before = model.thresholds.of_scales().detach().clone()
    label_start.from_labels(model, tiny_tokenizer, EXAMPLES[:1], SCALES, NAMES, 0.1)
    assert torch.equal(model.thresholds.of_scales(), before)
    label_start.from_labels(model, tiny_tokenizer, EXAMPLES, SCALES, NAMES, 0.1)
    assert not torch.equal(model.thresholds.of_scales(), before)
