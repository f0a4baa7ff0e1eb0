"""Where the heads of a process reward model start: a linear fit on the frozen backbone, or two words."""

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
    made = [([f"{number} x"], label) for number, label in enumerate(labels)]
    return [
        row
        for steps, label in made
        for row in training_rows(tokenizer, MESSAGES, steps, [StepLabels(head, [label], False)], 64)
    ]


def test_a_linear_fit_learns_the_labels_of_its_head_alone(
    tiny_tokenizer: Any, model: ProcessRewardModel
) -> None:
    """Steps of head 1 that are told by their first token; head 0 and the backbone stay as they were."""
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


def test_a_strong_penalty_leaves_the_mean_label(
    tiny_tokenizer: Any, model: ProcessRewardModel
) -> None:
    rows = _rows(tiny_tokenizer, 0, [0.0, 0.5, 1.0, 1.0])
    process_start.from_labels(model.model, rows, {0}, 1e6, tiny_tokenizer.pad_token_id)
    assert model.score(MESSAGES, ["1 x"])[0, 0] == pytest.approx(0.625, abs=0.01)


def test_a_fit_sees_a_part_of_very_many_steps(
    tiny_tokenizer: Any, model: ProcessRewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_start, "STEPS", 2)
    rows = _rows(tiny_tokenizer, 0, [1.0, 0.0, 0.0, 1.0])
    assert process_start._some(rows) == [rows[0], rows[3]]


def test_a_row_of_several_heads_is_fitted_for_each(
    tiny_tokenizer: Any, model: ProcessRewardModel
) -> None:
    """Head 0 is told the opposite of head 1 about the same steps."""
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


def test_a_head_starts_from_the_words_that_the_base_would_say(
    tiny_model: Path, tiny_tokenizer: Any, model: ProcessRewardModel
) -> None:
    """Its score is the difference of the two words' logits after the step; the other head stays as it was."""
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


def test_a_verdict_is_one_token(
    tiny_model: Path, tiny_tokenizer: Any, model: ProcessRewardModel
) -> None:
    with pytest.raises(ParamsError, match="the verdict 'xy' is 2 tokens; give a word that is one"):
        process_start.from_words(model.model, {1: ("x", "xy")}, tiny_model, tiny_tokenizer)
