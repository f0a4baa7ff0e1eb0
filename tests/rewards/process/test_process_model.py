"""The process reward model: windows, training rows, the loss, and scores."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from concord.rewards.process.process_model import (
    ProcessRewardModel,
    StepLabels,
    collate,
    load,
    loss,
    new_model,
    row_weights,
    select_head,
    training_rows,
    windows,
)
from concord.stage.errors import DataError

MESSAGES = [{"role": "user", "content": "ab"}]  # 9 tokens with the header
STEPS = ["1+1=2\n\n", "2+2=4\n\n", "done"]  # 6, 6 and 4 tokens: a blank line is one


@pytest.fixture
def model(tiny_model: Path, tiny_tokenizer: Any) -> ProcessRewardModel:
    tiny_tokenizer.model_max_length = 64
    return ProcessRewardModel(
        new_model(tiny_model, ["a", "b"], tiny_tokenizer, "cpu", "float32", 0), tiny_tokenizer
    )


def test_a_step_is_read_at_its_last_token_before_the_blank_line(tiny_tokenizer: Any) -> None:
    (window,) = windows(tiny_tokenizer, MESSAGES, STEPS, 64)
    assert (len(window["ids"]), window["ends"], window["steps"]) == (25, [13, 19, 24], [0, 1, 2])


def test_long_responses_are_truncated_on_the_left(tiny_tokenizer: Any) -> None:
    """A window of 12 of the 25 tokens holds all steps; with 10, the first step needs another."""
    newest, *earlier = windows(tiny_tokenizer, MESSAGES, STEPS, 12)
    assert (newest["ends"], newest["steps"], earlier) == ([0, 6, 11], [0, 1, 2], [])
    newest, first = windows(tiny_tokenizer, MESSAGES, STEPS, 10)
    assert (newest["steps"], newest["ends"]) == ([1, 2], [4, 9])
    assert (first["steps"], first["ends"], len(first["ids"])) == ([0], [9], 10)
    assert tiny_tokenizer.decode(newest["ids"]).replace(" ", "").endswith("done")


def test_unlabelled_steps_are_masked(tiny_tokenizer: Any) -> None:
    rows = _rows(tiny_tokenizer, [0.25, None, math.nan])
    assert [(row["ends"], row["labels"]) for row in rows] == [([13], [0.25])]
    assert _rows(tiny_tokenizer, [None, None, None]) == []


@pytest.mark.parametrize("label", [-100.0, 1.5])
def test_a_placeholder_is_not_a_label(tiny_tokenizer: Any, label: float) -> None:
    """The usual placeholder -100 for "unlabelled" must not be trained on."""
    with pytest.raises(DataError, match="not in \\[0, 1\\]; use null for an unlabelled step"):
        _rows(tiny_tokenizer, [0.5, label, None])
    with pytest.raises(DataError, match="3 steps have 2 labels"):
        _rows(tiny_tokenizer, [0.5, 0.5])


def _rows(
    tokenizer: Any, labels: list[Any], head: int = 0, squared: bool = False
) -> list[dict[str, Any]]:
    return training_rows(tokenizer, MESSAGES, STEPS, [StepLabels(head, labels, squared)], 64)


class ZeroLogits(torch.nn.Module):
    """A model whose logits are all 0, so every score is 0.5."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return type("Output", (), {"logits": torch.zeros(*input_ids.shape, 2)})


def test_the_loss_equals_a_hand_computed_value(tiny_tokenizer: Any) -> None:
    """Head 0: cross-entropy ln 2 at 0.5. Head 1: mean of .5^2 and .25^2. The two are added."""
    batch = _rows(tiny_tokenizer, [1.0, 0.0, 0.3]) + _rows(
        tiny_tokenizer, [1.0, None, 0.25], head=1, squared=True
    )
    weights = row_weights(batch)
    assert weights == [[1 / 3] * 3, [1 / 2] * 2]
    weighted = [{**row, "weight": weight} for row, weight in zip(batch, weights, strict=True)]
    value, _ = loss(ZeroLogits(), collate(0)(weighted))
    assert value.item() == pytest.approx(math.log(2) + (0.25 + 0.0625) / 2)


def test_objectives_share_the_row_of_an_answer(tiny_tokenizer: Any) -> None:
    """The loss equals that of one row per objective, with half of the tokens."""
    both = [StepLabels(0, [1.0, 0.0, 0.3], False), StepLabels(1, [1.0, None, 0.25], True)]
    (row,) = training_rows(tiny_tokenizer, MESSAGES, STEPS, both, 64)
    assert (row["heads"], row["ends"]) == ([0, 0, 0, 1, 1], [13, 19, 24, 13, 24])
    (weights,) = row_weights([row])
    batch = collate(0)([{**row, "weight": weights}])
    assert batch["input_ids"].shape == (1, 25)
    assert loss(ZeroLogits(), batch)[0].item() == pytest.approx(math.log(2) + (0.25 + 0.0625) / 2)
    selected = select_head(row, 1)
    assert (selected["ends"], selected["labels"], selected["squared"]) == (
        [13, 24],
        [1.0, 0.25],
        [True, True],
    )
    filler = collate(0)([{**row, "weight": 0.0}])
    assert loss(ZeroLogits(), filler)[0].item() == 0.0


def test_a_head_without_steps_gets_no_gradient(model: ProcessRewardModel) -> None:
    rows = [{**row, "weight": 1.0} for row in _rows(model.tokenizer, [1.0, 0.0, None])]
    loss(model.model, collate(0)(rows))[0].backward()
    assert model.model.score.weight.grad[0].abs().sum() > 0
    assert torch.equal(model.model.score.weight.grad[1], torch.zeros(32))


def test_scores_do_not_depend_on_the_batch_or_on_later_steps(model: ProcessRewardModel) -> None:
    many = [STEPS[: 1 + n % 3] + ["x" * n] * (n % 2) for n in range(1, 12)]
    messages = [MESSAGES] * len(many)
    alone, together = (model.score_all(messages, many, batch_size=size) for size in (1, 32))
    for one, other, steps in zip(alone, together, many, strict=True):
        assert one.shape == (len(steps), 2)
        np.testing.assert_allclose(one, other, atol=1e-4)
    np.testing.assert_allclose(
        model.score(MESSAGES, STEPS)[:2], model.score(MESSAGES, STEPS[:2]), atol=1e-5
    )
    assert all(((one > 0) & (one < 1)).all() for one in together)


def test_every_step_of_a_long_answer_has_a_score(model: ProcessRewardModel) -> None:
    scores = model.score(MESSAGES, ["abcdefgh " * 3] * 6)
    assert scores.shape == (6, 2)
    assert (scores > 0).all()


def test_saved_and_loaded(model: ProcessRewardModel, tmp_path: Path) -> None:
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert again.objectives == ["a", "b"]
    np.testing.assert_array_equal(again.score(MESSAGES, STEPS), model.score(MESSAGES, STEPS))
