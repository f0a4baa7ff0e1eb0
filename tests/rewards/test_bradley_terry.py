"""The loss of reward heads: by hand, with heads missing, with weights, and however the batch is cut."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.rewards import bradley_terry
from tasks.rewards.bradley_terry import collate, loss, pair_accuracy, row_weights
from tasks.rewards.outcome import new_model
from tasks.stage.training import Plan, Training


class Fixed(torch.nn.Module):
    """Head h scores a sequence (h + 1) * its first token."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        first = input_ids[:, :1].float()
        return type("Output", (), {"logits": torch.cat([first, 2 * first], dim=1)})


def _rows(*pairs: tuple[int, int, int]) -> list[dict[str, Any]]:
    return [{"chosen": [a, 0], "rejected": [b], "head": head} for a, b, head in pairs]


def _loss(rows: list[dict[str, Any]], weights: list[float]) -> float:
    weighted = [{**row, "weight": w} for row, w in zip(rows, row_weights(weights)(rows), strict=True)]
    return loss(Fixed(), collate(9)(weighted))[0].item()


def _nll(margin: float) -> float:
    return math.log1p(math.exp(-margin))


def test_the_loss_by_hand() -> None:
    """Head 0 has margins 1 and -1, head 1 has 2 * 1: .5 * mean(.313, 1.313) + 2 * .127 = .4065 + .2539."""
    rows = _rows((3, 2, 0), (2, 3, 0), (2, 1, 1))
    assert _loss(rows, [0.5, 2.0]) == pytest.approx(0.5 * (_nll(1) + _nll(-1)) / 2 + 2.0 * _nll(2), rel=1e-6)


def test_a_head_without_rows_contributes_exactly_nothing() -> None:
    """Averaged over the heads that are there, head 0 would weigh twice as much as when head 1 has rows."""
    alone = _rows((3, 2, 0), (2, 3, 0))
    both = alone + _rows((2, 1, 1))
    assert _loss(alone, [1.0, 1.0]) + _nll(2) == pytest.approx(_loss(both, [1.0, 1.0]), rel=1e-6)


def test_a_missing_head_has_no_gradient_and_the_other_keeps_its_own(tiny_model: Path, tiny_tokenizer: Any) -> None:
    gradients = []
    for names in (["a"], ["a", "b"]):
        model = new_model(tiny_model, names, tiny_tokenizer, "cpu", "float32", seed=0)
        with torch.no_grad():
            model.score.weight.copy_(torch.linspace(-1, 1, 32).repeat(len(names), 1))
        rows = [{"chosen": [5, 6, 7], "rejected": [8, 9], "head": 0, "weight": 1.0}]
        loss(model, collate(0)(rows))[0].backward()
        gradients.append(model.score.weight.grad)
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    assert gradients[0].abs().sum() > 0
    assert torch.equal(gradients[1][1], torch.zeros(32))


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_the_global_batch_decides_the_weights_not_the_micro_batch(micro: int) -> None:
    rows = _rows((3, 2, 0), (2, 3, 0), (4, 1, 0), (2, 1, 1))
    training = Training(learning_rate=0.1, batch_size=4, steps=1, micro_batch=micro)
    plan = Plan(rows, training, seed=0, weights=row_weights([1.0, 3.0]), length=bradley_terry.longer)
    parts = [[plan[i] for i in range(start, start + micro)] for start in range(0, 4, micro)]
    total = sum(loss(Fixed(), collate(9)(part))[0].item() for part in parts)
    assert total == pytest.approx((_nll(1) + _nll(-1) + _nll(3)) / 3 + 3.0 * _nll(2), rel=1e-6)


def test_pair_accuracy_is_per_objective() -> None:
    model = torch.nn.Sequential()
    model.forward = Fixed().forward  # type: ignore[assignment]
    model.anchor = torch.nn.Parameter(torch.zeros(1))
    rows = _rows((3, 2, 0), (2, 3, 0), (2, 1, 1))
    assert pair_accuracy(model, rows, collate(9), ["a", "b", "c"]) == {"validation_a": 0.5, "validation_b": 1.0}
