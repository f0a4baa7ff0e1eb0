"""Evaluation of a process reward model on files of labelled steps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.steps import step_files
from benchmarks.steps.labelled_steps import solutions
from concord.lm.load import load_tokenizer
from concord.rewards.process.process_model import ProcessRewardModel, new_model
from concord.stage.errors import DataError, ParamsError


def prmbench_row(number: int, classification: str, errors: list[int]) -> dict[str, Any]:
    steps = [f"{step}. {number} + {step} = {number + step}" for step in (1, 2, 3)]
    modified = [
        f"{step} but {number}" if position in errors else step
        for position, step in enumerate(steps, start=1)
    ]
    question = f"What is {number} and more?"
    row = {
        "idx": f"{classification}{number}",
        "classification": classification,
        "question": question,
    }
    questions = {"original_question": question, "modified_question": question}
    return {
        **row,
        **questions,
        "original_process": steps,
        "modified_process": modified,
        "error_steps": errors,
    }


@pytest.fixture
def prmbench(tmp_path: Path) -> Path:
    """Twelve problems in each of two classes, with errors at steps 2 and 3, and at step 3 only."""
    rows = [prmbench_row(n, "circular", [2, 3]) for n in range(12)] + [
        prmbench_row(n, "deception", [3]) for n in range(12)
    ]
    path = tmp_path / "prmbench.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """An untrained process reward model with the heads `correct` and `kind`."""
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.model_max_length = 128
    new_model(tiny_model, ["correct", "kind"], tokenizer, "cpu", "float32", 0).save_pretrained(
        tmp_path / "model"
    )
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_classes_are_read_separately_and_share_questions(
    prmbench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = solutions("prmbench", str(prmbench), "correct")
    assert "confidence: no readable rows" in capsys.readouterr().out.splitlines()
    assert table["kind"].value_counts().to_dict() == {"circular": 24, "deception": 24}
    assert (table["wrong"].sum(), table["group_id"].nunique()) == (24, 12)
    firsts = {
        kind: rows[rows["wrong"]]["gold"].iloc[0].tolist() for kind, rows in table.groupby("kind")
    }
    assert firsts == {"circular": [1.0, 0.0, 0.0], "deception": [1.0, 1.0, 0.0]}


def test_perfect_and_inverted_scores(prmbench: Path) -> None:
    """Scores equal to the labels find every error and order every pair. Inverted, they order every
    step wrongly, and both solutions have equal worst steps. The prior finds the errors of one class
    only."""
    table = solutions("prmbench", str(prmbench), "correct")
    rows = step_files.report(table, [0.1 + 0.8 * gold for gold in table["gold"]])
    assert list(rows) == ["circular (12)", "deception (12)", "all (24)"]
    perfect = [
        "AUC",
        "original above modified",
        *(f"first error, {rule}" for rule in ("likeliest", "lowest", "drop")),
    ]
    assert {name: _value(rows["all (24)"], name) for name in perfect} == dict.fromkeys(perfect, 1.0)
    assert _value(rows["circular (12)"], "first error, prior") + _value(
        rows["deception (12)"], "first error, prior"
    ) == pytest.approx(1.0)
    assert (
        rows["circular (12)"]["AUC, not in the original"] is None
    )  # all rewritten steps are wrong
    inverted = step_files.report(table, [0.9 - 0.8 * gold for gold in table["gold"]])
    assert (
        _value(inverted["all (24)"], "AUC"),
        _value(inverted["all (24)"], "original above modified"),
    ) == (0.0, 0.5)


def _value(row: step_files.Row, name: str) -> float:
    interval = row[name]
    assert interval is not None
    return interval.value


def test_the_head_of_the_objective_is_evaluated(
    prmbench: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first head scores correct steps .9 and wrong ones .1; the second does the opposite."""

    def scores(self: ProcessRewardModel, messages: Any, steps: list[list[str]]) -> list[np.ndarray]:
        right = [np.array([0.1 if "but" in step else 0.9 for step in texts]) for texts in steps]
        return [np.stack([each, 1 - each], axis=1) for each in right]

    monkeypatch.setattr(ProcessRewardModel, "score_all", scores)
    for objective, area in (("correct", "1.000"), ("kind", "0.000")):
        step_files.main(str(model), "prmbench", str(prmbench), objective)
        printed = capsys.readouterr().out.splitlines()
        assert "circular: 24 rows read, 24 kept, {}" in printed
        assert printed[-1].startswith(f"| all (24) | {area} [{area}, {area}] | - |")


def test_a_model_scores_the_file(
    prmbench: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step_files.main(str(model), "prmbench", str(prmbench), "correct")
    cells = capsys.readouterr().out.splitlines()[-1].split("|")[2:-1]
    values = [float(cell.split()[0]) for cell in cells if cell.strip() != "-"]
    assert len(values) == 7
    assert all(0 <= value <= 1 for value in values)


def test_unusable_arguments_and_files_are_rejected(
    prmbench: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ParamsError, match=r"has no head for the objective tone.*give one of correct, kind"
    ):
        step_files.main(str(model), "prmbench", str(prmbench), "tone")
    with pytest.raises(ParamsError, match="unknown format 'prmbank'"):
        step_files.main(str(model), "prmbank", str(prmbench), "correct")
    shared = {"group_id": "g", "messages": [{"role": "user", "content": "ab"}]}
    rated = {
        **shared,
        "kind": "binary",
        "objective": "correct",
        "response": "a",
        "label": 1,
        "annotator": "me",
    }
    steps = {
        **shared,
        "kind": "steps",
        "objective": "kind",
        "steps": ["a"],
        "labels": [1],
        "label_kind": "human",
    }
    for rows, objective, message in (
        (
            [rated],
            "correct",
            r"no step labels for the objective correct \(it has labels for: none\)",
        ),
        (
            [rated, steps],
            "correct",
            r"no step labels for the objective correct \(it has labels for: kind\)",
        ),
        ([steps], "kind", "has no solution with a wrong step"),
    ):
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
        with pytest.raises(DataError, match=message):
            step_files.main(str(model), "concord", str(path), objective)
