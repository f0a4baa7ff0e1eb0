"""Fitting heads: hand-computed losses, heads without labels, weights, and micro-batches."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from concord.lm.train import Plan, Training
from concord.rewards.outcome.examples import Example, Grade, Order, Scale, Scales
from concord.rewards.outcome.head_fit import (
    LabelledModel,
    Thresholds,
    collate,
    label_batch,
    longest_answer,
    loss,
    losses,
    row_weights,
)
from concord.rewards.outcome.reward_model import new_model

YES = Scale("a", 0.0, 1.0)
FIVE = Scale("b", 1.0, 5.0)
SCALES = Scales(
    {YES: [0.0, 1.0], FIVE: [0.0, 0.5, 1.0]},
    {YES: [0.5], FIVE: [0.8, 0.2]},
    {(YES, "ada"): 2, (YES, "bo"): 1},
)


class Fixed(torch.nn.Module):
    """Head h scores a sequence (h + 1) * its first token."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        first = input_ids[:, :1].float()
        return type("Output", (), {"logits": torch.cat([first, 2 * first], dim=1)})


def _pair(chosen: int, rejected: int, head: int) -> dict[str, Any]:
    return {"example": Example([[chosen, 0], [rejected]], [Order(head, (0, 1), (1, 2), 0.0)], [])}


def _rows(*pairs: tuple[int, int, int]) -> list[dict[str, Any]]:
    return [_pair(*pair) for pair in pairs]


def _loss(rows: list[dict[str, Any]], weights: list[float]) -> float:
    model = LabelledModel(Fixed(), Thresholds(SCALES))
    weighted = [
        {**row, "weight": w} for row, w in zip(rows, row_weights(weights)(rows), strict=True)
    ]
    return loss(model, collate(9)(weighted))[0].item()


def _nll(margin: float) -> float:
    return math.log1p(math.exp(-margin))


def test_the_loss_equals_a_hand_computed_value() -> None:
    """Margins 1 and -1 (head 0), 2 (head 1): .5 * mean(.313, 1.313) + 2 * .127 = .6604."""
    rows = _rows((3, 2, 0), (2, 3, 0), (2, 1, 1))
    assert _loss(rows, [0.5, 2.0]) == pytest.approx(
        0.5 * (_nll(1) + _nll(-1)) / 2 + 2.0 * _nll(2), rel=1e-6
    )


def test_one_example_can_mix_kinds_and_objectives() -> None:
    """Tokens 3 and 1: head 0 orders them (margin 2), head 1 grades the second "yes" (score 2)."""
    row = {
        "example": Example([[3], [1]], [Order(0, (0, 1), (1, 2), 0.0)], [Grade(1, 1, 0, 1, 1.0, 0)])
    }
    assert _loss([row], [1.0, 3.0]) == pytest.approx(_nll(2) + 3.0 * _nll(2), rel=1e-5)


def test_a_head_without_labels_contributes_exactly_zero() -> None:
    """With a mean over the heads with labels, the weight of head 0 would depend on head 1."""
    alone = _rows((3, 2, 0), (2, 3, 0))
    both = alone + _rows((2, 1, 1))
    assert _loss(alone, [1.0, 1.0]) + _nll(2) == pytest.approx(_loss(both, [1.0, 1.0]), rel=1e-6)


def test_a_head_without_labels_has_no_gradient_and_does_not_change_others(
    tiny_model: Path, tiny_tokenizer: Any
) -> None:
    gradients = []
    for names in (["a"], ["a", "b"]):
        model = new_model(tiny_model, names, tiny_tokenizer, "cpu", "float32", seed=0)
        with torch.no_grad():
            model.score.weight.copy_(torch.linspace(-1, 1, 32).repeat(len(names), 1))
        example = Example([[5, 6, 7], [8, 9]], [Order(0, (0, 1), (1, 2), 0.0)], [])
        batch = collate(0)([{"example": example, "weight": (1.0,) * len(names)}])
        loss(LabelledModel(model, Thresholds(SCALES)), batch)[0].backward()
        gradients.append(model.score.weight.grad)
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    assert gradients[0].abs().sum() > 0
    assert torch.equal(gradients[1][1], torch.zeros(32))


@pytest.mark.parametrize("micro", [1, 2, 4, 8])
def test_weights_depend_on_the_global_batch_not_the_micro_batch(micro: int) -> None:
    """The last rows fill the batch and have weight 0."""
    rows = _rows((3, 2, 0), (2, 3, 0), (4, 1, 0), (2, 1, 1))
    rows.append({"example": Example([[2]], [], [Grade(1, 0, 0, 1, 1.0, 0)])})
    training = Training(learning_rate=0.1, batch_size=8, epochs=1, micro_batch=micro)
    plan = Plan(rows, training, seed=0, weights=row_weights([1.0, 3.0]), length=longest_answer)
    model = LabelledModel(Fixed(), Thresholds(SCALES))
    parts = [[plan[i] for i in range(start, start + micro)] for start in range(0, 8, micro)]
    total = sum(loss(model, collate(9)(part))[0].item() for part in parts)
    assert total == pytest.approx(
        (_nll(1) + _nll(-1) + _nll(3)) / 3 + 3.0 * (_nll(2) + _nll(4)) / 2, rel=1e-5
    )


def test_a_continuous_grade_counts_once() -> None:
    """Its two parts have weights 0.25 and 0.75: cross-entropy with a target of 0.75."""
    parts = [Grade(1, 0, 0, 1, 0.75, 0), Grade(1, 0, 0, 0, 0.25, 0)]
    row = {"example": Example([[1]], [], parts)}
    assert _loss([row], [1.0, 1.0]) == pytest.approx(0.75 * _nll(2) + 0.25 * _nll(-2), rel=1e-5)


def test_initial_thresholds_are_logits_of_the_shares() -> None:
    """Half say yes: 0. Of five, 80 % are in the middle or above, 20 % at the top: -+ log 4."""
    table = Thresholds(SCALES).per_scale().tolist()
    assert table[0] == [pytest.approx(0.0, abs=1e-6), math.inf]
    assert table[1] == pytest.approx([-math.log(4), math.log(4)], rel=1e-5)


def test_a_severe_annotator_gives_lower_grades_for_the_same_score() -> None:
    """With severity 1, a yes at score 2 is as likely as at score 1 for the others.

    The prior costs 1/2, divided between the two grades of the annotator.
    """
    thresholds = Thresholds(SCALES)
    with torch.no_grad():
        thresholds.severity[1] = 1.0
    batch = label_batch(
        [Example([[2], [2]], [], [Grade(0, 0, 0, 1, 1.0, 1), Grade(0, 1, 0, 1, 1.0, 2)])], [1.0]
    )
    ada, bo = losses(torch.tensor([[2.0], [2.0]]), thresholds, batch)[1].tolist()
    assert bo == pytest.approx(_nll(2), rel=1e-5)
    assert ada == pytest.approx(_nll(1) + 1 / 2 / 2, rel=1e-5)
    summary = thresholds.summary(SCALES)
    assert summary["severity"] == {"a [0, 1] ada": 1.0, "a [0, 1] bo": 0.0}
    assert list(summary["thresholds"]["b [1, 5]"]) == ["0.5 or more", "1 or more"]


def test_annotator_bias_is_separated_from_response_quality() -> None:
    """Ada is lenient and Bo severe, and Bo saw the better response: raw grades would mislead."""
    generator = np.random.default_rng(0)
    scales = Scales({YES: [0.0, 1.0]}, {YES: [0.5]}, {(YES, "ada"): 400, (YES, "bo"): 400})
    thresholds = Thresholds(scales)
    # A poor response that Ada saw, a good one that Bo saw, and one that both saw.
    scores = torch.nn.Parameter(torch.zeros(3, 1))
    grades = []
    for answer, annotator, gold, bias in (
        (0, 1, -1.0, 2.0),
        (1, 2, 1.0, -2.0),
        (2, 1, 0.0, 2.0),
        (2, 2, 0.0, -2.0),
    ):
        yes = generator.random(200) < 1 / (1 + math.exp(-(gold + bias)))
        grades += [Grade(0, answer, 0, int(label), 1.0, annotator) for label in yes]
    batch = label_batch([Example([[0], [0], [0]], [], grades)], [1.0])
    optimiser = torch.optim.Adam([scores, thresholds.severity], lr=0.05)  # the threshold stays at 0
    for _ in range(300):
        optimiser.zero_grad()
        losses(scores, thresholds, batch)[1].sum().backward()
        optimiser.step()
    poor, good, between = scores.detach().flatten().tolist()
    assert poor < between < good
    assert thresholds.severity[1] < -1 < 1 < thresholds.severity[2]


def test_answers_that_share_their_prompt_give_the_same_loss_and_gradients(
    tiny_model: Path, tiny_tokenizer: Any
) -> None:
    """One answer ends with padding, which a stock classifier does not read."""
    prompt, pad = list(range(10, 40)), 0
    answers = [[*prompt, 50, 51, 1], [*prompt, 50, 52, 53, 1], [*prompt[:5], 60, 1, pad]]
    orders = [Order(0, (0, 1), (1, 2), 0.5), Order(1, (1, 2), (1, 2), 0.0)]
    rows = [
        {"example": Example(answers, orders, []), "weight": (1.0, 2.0)},
        {"example": Example([[*prompt, 54, 1]], [], [Grade(1, 0, 0, 1, 1.0, 0)]), "weight": 0.5},
    ]
    classifier = new_model(tiny_model, ["a", "b"], tiny_tokenizer, "cpu", "float32", seed=0)
    model = LabelledModel(classifier, Thresholds(SCALES))
    assert model.can_pack()
    whole, packed = (collate(pad, share_tokens=share)(rows) for share in (False, True))
    assert packed["packed"] is not None
    assert packed["packed"]["input_ids"].numel() < 0.85 * whole["input_ids"].numel()
    results = []
    for batch in (whole, packed):
        model.zero_grad()
        value, _ = loss(model, batch)
        value.backward()
        results.append([value, *(parameter.grad for parameter in model.parameters())])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)
