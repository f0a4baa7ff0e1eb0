"""The benchmark of heads on step states: what is shared between passes, and what a fold may be fitted to."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import step_folds
from benchmarks.step_data import states
from benchmarks.step_folds import Steps, head, place, scored, strengths, unseen
from benchmarks.step_states import step_states
from benchmarks.steps.step_files import folds
from concord.lm.load import load_causal, load_tokenizer
from concord.rewards.process.process_model import ProcessRewardModel, new_model

WIDTH = 6


def test_sharing_beginnings_changes_no_state(tiny_model: Path) -> None:
    """Sequences that share 6, 3 and no ids with others, one that begins another, and one that stands twice."""
    ids = [tuple(np.random.default_rng(number).integers(6, 40, 9).tolist()) for number in range(3)]
    sequences = [ids[0], ids[0][:6] + ids[1][:4], ids[0][:3] + ids[2], ids[1], ids[0][:5], ids[0]]
    windows = [(own, (1, len(own) - 1)) for own in sequences]
    found = step_states(tiny_model, "", "float32", [0, 2], windows)
    backbone = load_causal(tiny_model).base_model
    for (own, ends), table in zip(windows, found, strict=True):
        with torch.inference_mode():
            whole = backbone(input_ids=torch.tensor([own]), output_hidden_states=True).hidden_states
        expected = torch.cat([whole[0][0], whole[2][0]], dim=1)[list(ends)]
        np.testing.assert_allclose(table, expected.numpy(), atol=1e-5)


def test_states_are_read_where_the_process_reward_model_reads(
    tiny_model: Path, tmp_path: Path
) -> None:
    """Its head, applied to the last layer's states, gives the scores that it gives itself."""
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.model_max_length = 2048
    model = new_model(tiny_model, ["correct"], tokenizer, "cpu", "float32", 0)
    messages, steps = [{"role": "user", "content": "ab"}], ["1+1=2\n\n", "2+2=4\n\n", "done"]
    table = pd.DataFrame({"messages": [messages], "steps": [steps]})
    (found,) = states(table, tiny_model, [2], "float32", tmp_path)
    score = model.score
    logits = found @ score.weight.detach().numpy().T + score.bias.detach().numpy()
    np.testing.assert_allclose(
        1 / (1 + np.exp(-logits)),
        ProcessRewardModel(model, tokenizer).score(messages, steps),
        atol=1e-5,
    )


def made(kinds: list[str], solutions: int = 60) -> Steps:
    """Solutions of three steps of each kind, the second or third one wrong, which the first state tells with noise."""
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
    told = noise.normal(0, 1, (3 * len(rows), WIDTH))
    told[:, 0] += 3 * np.concatenate(table["gold"].tolist())
    return Steps(table, told.astype(np.float32))


def test_the_head_finds_what_the_states_tell() -> None:
    """Right and wrong steps lie three standard deviations apart: AUC .98."""
    steps = made(["k"])
    parts = folds(steps.table, 3)
    scores = np.concatenate(scored(steps, head(strengths(steps, parts)), parts, "head"))
    right = steps.labels > 0
    assert (scores[right][:, None] > scores[~right][None]).mean() == pytest.approx(0.983, abs=0.02)


def test_no_question_and_no_unseen_kind_is_fitted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions are shared by kinds, so that an unseen kind's questions leave the other kinds too."""
    steps = made(["one", "other"])
    parts = folds(steps.table, 3)
    fitted: list[tuple[set[str], set[str]]] = []

    def watched(own: Steps, fit_to: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        train, test = own.table.iloc[fit_to], own.table.iloc[wanted]
        assert not set(train["group_id"]) & set(test["group_id"])
        fitted.append((set(train["kind"]), set(test["kind"])))
        return np.zeros(len(own.of(wanted)))

    scored(steps, watched, parts, "all")
    assert fitted == [({"one", "other"}, {"one", "other"})] * 3
    fitted.clear()
    scored(steps, watched, list(unseen(steps.table, parts)), "unseen")
    assert fitted == [({"other"}, {"one"})] * 3 + [({"one"}, {"other"})] * 3


def test_the_measured_fold_chooses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """With its labels turned over and its states moved, the same strength is chosen, by the same losses."""
    steps = made(["k"])
    part, *_ = folds(steps.table, 3)
    test = part[1]
    strengths(steps, [part])
    before = capsys.readouterr().out
    gold = [1 - own if row in test else own for row, own in enumerate(steps.table["gold"])]
    moved = steps.states.copy()
    moved[steps.of(test)] *= -5
    strengths(Steps(steps.table.assign(gold=gold), moved), [part])
    assert capsys.readouterr().out == before
    assert before.startswith("l2 ")


def test_places_by_hand() -> None:
    """The third of three steps: a one in the third column, two thirds before it, one third for each."""
    row = place(made(["k"], 1), np.arange(0))(np.array([2]))[0]
    assert row[: step_folds.LAST_PLACE].tolist() == [0, 0, 1] + [0] * (step_folds.LAST_PLACE - 3)
    assert row[step_folds.LAST_PLACE :].tolist() == pytest.approx([2 / 3, 1 / 3])
