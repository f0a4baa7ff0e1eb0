"""Heads on step states are read where the model reads, and test folds do not leak."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.step_data import Steps, states
from benchmarks.step_folds import scored, unseen_kind
from benchmarks.step_scorers import LAST_POSITION, head, position, strengths
from benchmarks.steps.step_files import folds
from concord.lm.load import load_tokenizer
from concord.rewards.process.process_model import ProcessRewardModel, new_model

WIDTH = 6


def test_states_are_read_at_the_positions_of_the_process_reward_model(
    tiny_model: Path, tmp_path: Path
) -> None:
    """The model's head on the last layer's states gives the same scores as the model."""
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.model_max_length = 2048
    model = new_model(tiny_model, ["correct"], tokenizer, "cpu", "float32", 0)
    messages, steps = [{"role": "user", "content": "ab"}], ["1+1=2\n\n", "2+2=4\n\n", "done"]
    table = pd.DataFrame({"messages": [messages], "steps": [steps]})
    (computed,) = states(table, tiny_model, [2], "float32", tmp_path)
    score = model.score
    logits = computed @ score.weight.detach().numpy().T + score.bias.detach().numpy()
    np.testing.assert_allclose(
        1 / (1 + np.exp(-logits)),
        ProcessRewardModel(model, tokenizer).score(messages, steps),
        atol=1e-5,
    )


def labelled_steps(kinds: list[str], solutions: int = 60) -> Steps:
    """Solutions of three steps, the second or third wrong; the first state shows it, with noise."""
    noise = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for kind in kinds:
        for number in range(solutions):
            gold = np.array([1.0, float(number % 2), 0.0])
            rows.append(
                {
                    "kind": kind,
                    "group_id": f"g{number}",
                    "steps": ["a b", "c d", "e f"],
                    "gold": gold,
                }
            )
    table = pd.DataFrame(rows).assign(wrong=True)
    states_of = noise.normal(0, 1, (3 * len(rows), WIDTH))
    states_of[:, 0] += 3 * np.concatenate(table["gold"].tolist())
    return Steps(table, states_of.astype(np.float32))


def test_the_head_learns_from_the_states() -> None:
    """Correct and wrong steps differ by three standard deviations, so the AUC is 0.98."""
    steps = labelled_steps(["k"])
    parts = folds(steps.table, 3)
    scores = np.concatenate(scored(steps, head(strengths(steps, parts)), parts, "head"))
    right = steps.labels > 0
    assert (scores[right][:, None] > scores[~right][None]).mean() == pytest.approx(0.983, abs=0.02)


def test_training_rows_exclude_test_questions_and_the_unseen_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kinds share questions, so the test questions are removed from the other kinds too."""
    steps = labelled_steps(["one", "other"])
    parts = folds(steps.table, 3)
    fitted: list[tuple[set[str], set[str]]] = []

    def recording(steps: Steps, fit_to: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        train, test = steps.table.iloc[fit_to], steps.table.iloc[wanted]
        assert not set(train["group_id"]) & set(test["group_id"])
        fitted.append((set(train["kind"]), set(test["kind"])))
        return np.zeros(len(steps.of(wanted)))

    scored(steps, recording, parts, "all")
    assert fitted == [({"one", "other"}, {"one", "other"})] * 3
    fitted.clear()
    scored(steps, recording, list(unseen_kind(steps.table, parts)), "unseen")
    assert fitted == [({"other"}, {"one"})] * 3 + [({"one"}, {"other"})] * 3


def test_the_test_fold_does_not_affect_the_choice(capsys: pytest.CaptureFixture[str]) -> None:
    """Inverting its labels and moving its states changes neither the losses nor the choice."""
    steps = labelled_steps(["k"])
    part, *_ = folds(steps.table, 3)
    test = part[1]
    strengths(steps, [part])
    before = capsys.readouterr().out
    gold = [1 - gold if row in test else gold for row, gold in enumerate(steps.table["gold"])]
    moved = steps.states.copy()
    moved[steps.of(test)] *= -5
    strengths(Steps(steps.table.assign(gold=gold), moved), [part])
    assert capsys.readouterr().out == before
    assert before.startswith("correct: l2 ")


def test_position_features_of_one_step() -> None:
    """The third of three steps: one-hot in column 3, then 2/3 of the solution, then 1/3."""
    row = position(labelled_steps(["k"], 1), np.arange(0))(np.array([2]))[0]
    assert row[:LAST_POSITION].tolist() == [0, 0, 1] + [0] * (LAST_POSITION - 3)
    assert row[LAST_POSITION:].tolist() == pytest.approx([2 / 3, 1 / 3])
