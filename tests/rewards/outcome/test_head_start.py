"""Initialised heads score and grade as the linear fit does."""

from pathlib import Path
from typing import Any

import pytest
import torch

from concord.rewards.outcome import head_start
from concord.rewards.outcome.examples import Example, Grade, Order, Scale, Scales
from concord.rewards.outcome.head_fit import LabelledModel, Thresholds, label_batch, losses
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


def test_initial_heads_equal_the_linear_fit(model: LabelledModel, tiny_tokenizer: Any) -> None:
    """All losses equal those of the fit, although heads of the stock model have no bias."""
    reward: Any = model.model
    before = {name: value.clone() for name, value in reward.base_model.state_dict().items()}
    sequences = [sequence for example in EXAMPLES for sequence in example.sequences]
    states = Probe(reward, tiny_tokenizer, [reward.config.num_hidden_layers], NAMES, {}).features(
        sequences
    )
    heads, thresholds = fit_heads(states, EXAMPLES, SCALES, 2, 0.1)
    batch = label_batch(EXAMPLES, [1.0, 1.0])
    fitted = torch.from_numpy(states @ heads["weight"].T + heads["bias"])
    expected = losses(fitted, thresholds.float(), batch)

    head_start.initialise(model, tiny_tokenizer, EXAMPLES, SCALES, NAMES, 0.1)
    logits = [reward(input_ids=torch.tensor([ids])).logits[0] for ids in sequences]
    actual = losses(torch.stack(logits), model.thresholds, batch)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert actual[0].max() < 0.5 < losses(torch.zeros(4, 2), model.thresholds, batch)[0].min()
    assert all(
        torch.equal(value, before[name]) for name, value in reward.base_model.state_dict().items()
    )


def test_heads_are_fitted_where_the_stock_model_reads(
    tiny_model: Path, tiny_tokenizer: Any
) -> None:
    """If padding is the end token, the stock classifier reads the token before it."""
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
    head_start.initialise(model, tiny_tokenizer, examples, SCALES, NAMES, 0.01)
    reward: Any = model.model
    logits = torch.cat(
        [reward(input_ids=torch.tensor([ids])).logits for ids in ([7, 8, end], [9, 10, end])]
    )
    assert (
        losses(torch.cat([logits, logits]), model.thresholds, label_batch(examples[:1], [1.0]))[
            0
        ].item()
        < 0.2
    )


def test_responses_are_subsampled_only_for_heads_with_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head_start, "MAX_RESPONSES", 6)
    many = [Example([[7, 8], [9]], [Order(0, (0, 1), (1, 2), 0.0)], []) for _ in range(30)]
    few = [Example([[7], [9]], [], [Grade(1, 0, 0, 1, 1.0, 0)]) for _ in range(3)]
    subset = head_start._subset([*many, *few], 2)
    assert (len(subset), subset[-3:]) == (6, few)


def test_thresholds_of_scales_with_missing_levels_are_unchanged(
    model: LabelledModel, tiny_tokenizer: Any
) -> None:
    """With only yes labels, the threshold would go to minus infinity."""
    before = model.thresholds.per_scale().detach().clone()
    head_start.initialise(model, tiny_tokenizer, EXAMPLES[:1], SCALES, NAMES, 0.1)
    assert torch.equal(model.thresholds.per_scale(), before)
    head_start.initialise(model, tiny_tokenizer, EXAMPLES, SCALES, NAMES, 0.1)
    assert not torch.equal(model.thresholds.per_scale(), before)
