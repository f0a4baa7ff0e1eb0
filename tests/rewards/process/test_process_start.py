"""Initial heads of a process reward model: a linear fit on the frozen backbone, or two words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from concord.lm.load import load_causal
from concord.rewards.process import process_start
from concord.rewards.process.process_model import (
    ProcessRewardModel,
    StepLabels,
    new_model,
    training_rows,
    windows,
)
from concord.stage.errors import ParamsError

MESSAGES = [{"role": "user", "content": "ab"}]
STEPS = ["1+1=2\n\n", "2+2=4\n\n", "done"]


@pytest.fixture
def model(tiny_model: Path, tiny_tokenizer: Any) -> ProcessRewardModel:
    tiny_tokenizer.model_max_length = 64
    return ProcessRewardModel(
        new_model(tiny_model, ["a", "b"], tiny_tokenizer, "cpu", "float32", 0), tiny_tokenizer
    )


def _rows(tokenizer: Any, head: int, labels: list[float]) -> list[dict[str, Any]]:
    examples = [([f"{number} x"], label) for number, label in enumerate(labels)]
    return [
        row
        for steps, label in examples
        for row in training_rows(tokenizer, MESSAGES, steps, [StepLabels(head, [label], False)], 64)
    ]


def test_a_linear_fit_changes_only_its_own_head(
    tiny_tokenizer: Any, model: ProcessRewardModel
) -> None:
    """The steps of head 1 differ in their first token. Head 0 and the backbone do not change."""
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    labels = [0.1, 0.9, 0.9, 0.1]
    rows = _rows(tiny_tokenizer, 1, labels) + _rows(tiny_tokenizer, 0, [1.0, 0.0, 0.0, 1.0])
    process_start.from_labels(model.model, rows, {1}, 1e-4, tiny_tokenizer.pad_token_id)
    scores = [model.score(MESSAGES, [f"{number} x"])[0, 1] for number in range(4)]
    np.testing.assert_allclose(scores, labels, atol=0.05)
    after = model.model.state_dict()
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert changed == ["score.weight", "score.bias"]
    assert torch.equal(after["score.weight"][0], before["score.weight"][0])


def test_with_a_strong_penalty_the_score_is_the_mean_label(
    tiny_tokenizer: Any, model: ProcessRewardModel
) -> None:
    rows = _rows(tiny_tokenizer, 0, [0.0, 0.5, 1.0, 1.0])
    process_start.from_labels(model.model, rows, {0}, 1e6, tiny_tokenizer.pad_token_id)
    assert model.score(MESSAGES, ["1 x"])[0, 0] == pytest.approx(0.625, abs=0.01)


def test_the_fit_uses_a_subsample_of_many_steps(
    tiny_tokenizer: Any, model: ProcessRewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_start, "STEPS", 2)
    rows = _rows(tiny_tokenizer, 0, [1.0, 0.0, 0.0, 1.0])
    assert process_start._subsample(rows) == [rows[0], rows[3]]


def test_a_row_with_several_heads_is_used_for_each(
    tiny_tokenizer: Any, model: ProcessRewardModel
) -> None:
    """Heads 0 and 1 have opposite labels for the same steps."""
    rows = [
        row
        for number, label in enumerate([0.1, 0.9, 0.9, 0.1])
        for row in training_rows(
            tiny_tokenizer,
            MESSAGES,
            [f"{number} x"],
            [StepLabels(1, [label], False), StepLabels(0, [1 - label], False)],
            64,
        )
    ]
    process_start.from_labels(model.model, rows, {0, 1}, 1e-4, tiny_tokenizer.pad_token_id)
    scores = np.array([model.score(MESSAGES, [f"{number} x"])[0] for number in range(4)])
    np.testing.assert_allclose(scores[:, 1], [0.1, 0.9, 0.9, 0.1], atol=0.05)
    np.testing.assert_allclose(scores[:, 0], 1 - scores[:, 1], atol=0.05)


def test_a_head_is_initialised_with_the_logit_difference_of_two_words(
    tiny_model: Path, tiny_tokenizer: Any, model: ProcessRewardModel
) -> None:
    """The score is the sigmoid of the difference; the other head does not change."""
    other = model.score(MESSAGES, STEPS)[:, 1]
    process_start.from_words(model.model, {0: ("x", "y")}, tiny_model, tiny_tokenizer)
    (window,) = windows(tiny_tokenizer, MESSAGES, STEPS, 64)
    with torch.inference_mode():
        logits = load_causal(tiny_model)(input_ids=torch.tensor([window["ids"]])).logits[
            0, window["ends"]
        ]
    x, y = tiny_tokenizer.convert_tokens_to_ids(["x", "y"])
    np.testing.assert_allclose(
        model.score(MESSAGES, STEPS)[:, 0], (logits[:, x] - logits[:, y]).sigmoid(), atol=1e-5
    )
    np.testing.assert_array_equal(model.score(MESSAGES, STEPS)[:, 1], other)


def test_a_verdict_must_be_a_single_token(
    tiny_model: Path, tiny_tokenizer: Any, model: ProcessRewardModel
) -> None:
    with pytest.raises(ParamsError, match="the verdict 'xy' is 2 tokens, but it must be one"):
        process_start.from_words(model.model, {1: ("x", "xy")}, tiny_model, tiny_tokenizer)
