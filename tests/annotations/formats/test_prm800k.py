"""The format prm800k."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations import interchange, reader, schemas
from concord.annotations.formats import prm800k
from concord.annotations.record import Record
from concord.stage.errors import ParamsError


def completion(text: str, rating: Any, flagged: Any = None) -> dict[str, Any]:
    return {"text": text, "rating": rating, "flagged": flagged}


def step(*completions: dict[str, Any], chosen: Any = 0, human: Any = None) -> dict[str, Any]:
    return {
        "completions": list(completions),
        "human_completion": human,
        "chosen_completion": chosen,
    }


def row(*steps: dict[str, Any], finish: Any = "solution", **more: Any) -> dict[str, Any]:
    question = {"problem": "What is 2+3?", "ground_truth_answer": "5"}
    return {"question": question, "label": {"steps": list(steps), "finish_reason": finish}, **more}


GOOD, NEUTRAL, BAD = completion("Add 3.", 1), completion("Look at 2+3.", 0), completion("So 6.", -1)
OTHER, UNRATED = completion("Or: 7.", -1), completion("Well.", None)


def read(folder: Path, given: dict[str, Any], **options: Any) -> list[Record]:
    path = folder / "phase2_train.jsonl"
    path.write_text(json.dumps(given) + "\n", encoding="utf-8")
    return list(reader.read("prm800k", path, {"objective": "sound", **options}, {}))


def converted_rows(folder: Path, given: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    return [record.row for record in read(folder, given, **options) if record.row is not None]


def test_chosen_completions_are_the_solution(tmp_path: Path) -> None:
    solution = row(
        step(NEUTRAL),
        step(OTHER, GOOD, chosen=1),
        step(UNRATED),
        step(completion("5.", 1, flagged=True)),
    )
    (solution,) = converted_rows(tmp_path, solution)
    (checked,) = interchange.rows(solution)
    assert "".join(checked["steps"]) == "Look at 2+3.\n\nAdd 3.\n\nWell.\n\n5."
    assert (checked["labels"], checked["label_kind"]) == ([1, 1, None, None], "human")
    assert checked["messages"] == [{"role": "user", "content": "What is 2+3?"}]


@pytest.mark.parametrize("neutral", [0.0, 0.5, None])
def test_label_of_neutral_steps_is_an_option(tmp_path: Path, neutral: float | None) -> None:
    (solution,) = converted_rows(
        tmp_path, row(step(NEUTRAL), step(BAD), step(GOOD)), neutral=neutral
    )
    assert solution["labels"] == [neutral, 0, 1]


def test_human_completion_is_correct_unless_its_rating_differs(tmp_path: Path) -> None:
    human = {
        "text": "Mine.",
        "rating": None,
        "source": "human",
        "flagged": False,
        "corrected_rating": None,
    }
    (solution,) = converted_rows(tmp_path, row(step(BAD, chosen=None, human=human), step(GOOD)))
    assert (solution["steps"], solution["labels"]) == (["Mine.\n\n", "Add 3."], [1, 1])
    (solution,) = converted_rows(
        tmp_path, row(step(BAD, chosen=None, human={**human, "corrected_rating": -1}))
    )
    assert solution["labels"] == [0]


def test_unchosen_error_ends_the_solution(tmp_path: Path) -> None:
    """The first completion rated -1 is the original step; the others were sampled later."""
    cut = row(step(GOOD), step(BAD, NEUTRAL, OTHER, chosen=None), finish="found_error")
    (solution,) = converted_rows(tmp_path, cut)
    assert (solution["steps"], solution["labels"]) == (["Add 3.\n\n", "So 6."], [1, 0])


def test_last_step_is_missing_after_give_up(tmp_path: Path) -> None:
    (solution,) = converted_rows(
        tmp_path, row(step(GOOD), step(BAD, chosen=None), finish="give_up"), finished=["give_up"]
    )
    assert (solution["steps"], solution["labels"]) == (["Add 3."], [1])


def test_alternatives_follow_unlabelled_steps(tmp_path: Path) -> None:
    cut = row(step(GOOD, UNRATED), step(BAD, NEUTRAL, OTHER, chosen=None), finish="found_error")
    _, neutral, other = converted_rows(tmp_path, cut, alternatives=True, neutral=0.5)
    assert (neutral["steps"], neutral["labels"]) == (["Add 3.\n\n", "Look at 2+3."], [None, 0.5])
    assert (other["steps"], other["labels"]) == (["Add 3.\n\n", "Or: 7."], [None, 0])


def test_only_finished_solutions_have_an_outcome(tmp_path: Path) -> None:
    steps, outcome, prompt = converted_rows(
        tmp_path, row(step(NEUTRAL), step(GOOD)), outcome="right", prompts=True
    )
    (graded,) = interchange.rows(outcome)
    assert (graded["response"], graded["rating"], graded["objective"]) == (
        "".join(steps["steps"]),
        1,
        "right",
    )
    (prompt_row,) = interchange.rows(prompt)
    assert (prompt_row["domain"], prompt_row["reference"]) == ("math", "5")
    (solution,) = converted_rows(tmp_path, row(step(BAD), finish="found_error"), outcome="right")
    assert solution["kind"] == "steps"


@pytest.mark.parametrize("finish", ["give_up", "bad_problem"])
def test_unfinished_rows_are_optional(tmp_path: Path, finish: str) -> None:
    (record,) = read(tmp_path, row(step(GOOD), finish=finish))
    assert record.rejection is not None
    assert record.rejection.reason == "left_out"
    assert (
        len(converted_rows(tmp_path, row(step(GOOD), finish=finish), finished=["solution", finish]))
        == 1
    )


@pytest.mark.parametrize("key", ["is_quality_control_question", "is_initial_screening_question"])
def test_control_rows_are_optional(tmp_path: Path, key: str) -> None:
    (record,) = read(tmp_path, row(step(GOOD), **{key: True}))
    assert record.rejection is not None
    assert record.rejection.reason == "left_out"
    assert len(converted_rows(tmp_path, row(step(GOOD), **{key: True}), controls=True)) == 1


@pytest.mark.parametrize("options", [{"neutral": 2.0}, {"finished": ["done"]}])
def test_invalid_options_raise(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ParamsError, match=next(iter(options))):
        read(tmp_path, row(step(GOOD)), **options)


@given(
    st.lists(
        st.tuples(st.text(min_size=1), st.sampled_from([-1, 0, 1, None])), min_size=1, max_size=6
    )
)
def test_every_step_has_its_label(steps: list[tuple[str, int | None]]) -> None:
    solution = row(*(step(OTHER, completion(text, rating), chosen=1) for text, rating in steps))
    (solution,) = prm800k.annotations(solution, prm800k.Options("sound", neutral=0.5))
    assert "".join(solution["steps"]) == "\n\n".join(text for text, _ in steps)
    assert solution["labels"] == [
        None if rating is None else (rating + 1) / 2 for _, rating in steps
    ]


def test_solution_without_steps_fails_the_schema(tmp_path: Path) -> None:
    (solution,) = converted_rows(tmp_path, row())
    table = schemas.build(
        "steps",
        [{**interchange.rows(solution)[0], "source": "s", "source_file": "", "source_line": 1}],
    )
    assert schemas.failures("steps", table)[0].reason == "empty_response"


@pytest.mark.parametrize(
    ("given", "reason", "column"),
    [
        ({**row(step(GOOD)), "question": None}, "missing_key", "question"),
        ({**row(step(GOOD)), "question": {}}, "missing_key", "problem"),
        ({**row(step(GOOD)), "question": {"problem": "?"}}, "missing_key", "ground_truth_answer"),
        ({**row(step(GOOD)), "label": []}, "wrong_type", "label"),
        (row(finish="done"), "off_scale", "finish_reason"),
        (row(finish=None), "missing_key", "finish_reason"),
        (row({"completions": None}), "missing_key", "completions"),
        (row(step(completion("5.", 2))), "off_scale", "rating"),
        (row(step(completion("5.", "good"))), "wrong_type", "rating"),
        (row(step({"rating": 1})), "missing_key", "completions"),
        (row(step(GOOD, chosen=1)), "off_scale", "chosen_completion"),
        (row(step(GOOD, chosen=-1)), "off_scale", "chosen_completion"),
        (row(step(GOOD, chosen=None), step(GOOD)), "missing_key", "chosen_completion"),
        (row(step(GOOD), step(GOOD, chosen=None)), "missing_key", "chosen_completion"),
        (
            row(step(BAD, chosen=None), step(BAD), finish="found_error"),
            "missing_key",
            "chosen_completion",
        ),
        (row(step(GOOD, chosen=None, human={})), "missing_key", "human_completion"),
        (row(step(GOOD, chosen=None, human="x")), "wrong_type", "human_completion"),
        (row(step(NEUTRAL, chosen=None), finish="found_error"), "missing_key", "rating"),
    ],
)
def test_invalid_rows_are_rejected(
    tmp_path: Path, given: dict[str, Any], reason: str, column: str
) -> None:
    (record,) = read(tmp_path, given, prompts=True)
    assert record.rejection is not None
    assert (record.rejection.reason, record.rejection.column) == (reason, column)
