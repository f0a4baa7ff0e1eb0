"""The format gsm8k."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations import interchange
from concord.annotations.formats import gsm8k
from concord.annotations.record import Record
from concord.stage.errors import DataError, ParamsError

PROBLEMS = [f"Ann has {count} pears and eats one. How many are left?" for count in range(2, 8)]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six problems, each solved wrongly by a small model and correctly by a large one."""
    step = "She has {0}-1=<<{0}-1={1}>>{1} left."
    plain = [step.format(count, count - 1) for count in range(2, 8)]
    answers = [f"#### {count - 1}" for count in range(2, 8)]
    problems = list(zip(PROBLEMS, plain, answers, strict=True))
    write(tmp_path / "test.jsonl", [{"question": q, "answer": f"{s}\n{a}"} for q, s, a in problems])
    guided = [{"question": q, "answer": f"How many are left? ** {s}\n{a}"} for q, s, a in problems]
    write(tmp_path / "test_socratic.jsonl", guided)
    graded = [
        {
            "question": q,
            "ground_truth": s,
            "small": {"is_correct": False, "solution": f"{s}\nA: 1,000"},
            "large": {"is_correct": True, "solution": f"{s}\n{a.replace('####', 'A:')}"},
        }
        for q, s, a in problems
    ]
    write(tmp_path / "example_model_solutions.jsonl", graded)
    write(
        tmp_path / "train.jsonl",
        [{"question": f"Also: {q}", "answer": f"{s}\n{a}"} for q, s, a in problems],
    )
    return tmp_path


def kept(folder: Path, **options: Any) -> list[dict[str, Any]]:
    rows = [record.row for record in gsm8k.read(folder, options)]
    assert all(row is not None for row in rows)
    return [row for row in rows if row is not None]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Half is 8/2=<<8/2=4>>4\nSo $4.\n#### 4", "Half is 8/2=4\n\nSo $4.\n\n\\boxed{4}"),
        ("How many? ** Half is 4\n#### 1,204", "How many? Half is 4\n\n\\boxed{1204}"),
        ("It is 4 < 5.\nA: 4.5", "It is 4 < 5.\n\n\\boxed{4.5}"),
        ("It goes on and on", "It goes on and on"),
        ("#### 7", "\\boxed{7}"),
        ("Nothing said\nA: ", "Nothing said"),
    ],
)
def test_solutions_are_converted_to_one_form(text: str, form: str) -> None:
    assert gsm8k.formatted(text) == form


@given(st.lists(st.text("ab 1=", min_size=1).filter(str.strip), max_size=5), st.integers(0, 10**7))
def test_conversion_keeps_steps_and_answer(steps: list[str], number: int) -> None:
    form = gsm8k.formatted("\n".join([*steps, f"#### {number:,}"]))
    assert form.split("\n\n") == [*(step.strip() for step in steps), f"\\boxed{{{number}}}"]


def test_problems_become_prompts_with_references(folder: Path) -> None:
    prompts = [row for row in kept(folder) if row["kind"] == "prompt"]
    assert [(row["messages"][0]["content"], row["reference"]) for row in prompts] == [
        (problem, str(count)) for count, problem in enumerate(PROBLEMS, start=1)
    ]


def test_solutions_of_models_become_labels(folder: Path) -> None:
    grades = [row for row in kept(folder) if row["kind"] == "binary"]
    assert Counter((row["author"], row["label"]) for row in grades) == {
        ("small", 0): 6,
        ("large", 1): 6,
    }
    assert grades[0]["response"] == "She has 2-1=1 left.\n\n\\boxed{1000}"
    assert {row["objective"] for row in grades} == {"math_accuracy"}


def test_socratic_solutions_are_preferred_for_some_problems(folder: Path) -> None:
    pairs = [row for row in kept(folder) if row["kind"] == "comparison"]
    assert 0 < len(pairs) < len(PROBLEMS)
    converted = interchange.rows(pairs[0])[0]
    assert converted["chosen"] == "How many are left? " + converted["rejected"]


def test_annotations_are_valid_and_problems_are_the_groups(folder: Path) -> None:
    converted = [
        row for record in kept(folder, demonstrations=2) for row in interchange.rows(record)
    ]
    assert len({row["group_id"] for row in converted}) == len(PROBLEMS) + 2
    assert (
        len({row["group_id"] for row in converted if row["messages"][0]["content"] == PROBLEMS[0]})
        == 1
    )


def test_options_limit_what_is_read(folder: Path) -> None:
    counted = Counter(row["kind"] for row in kept(folder, problems=3, demonstrations=4))
    assert (counted["prompt"], counted["binary"], counted["demonstration"]) == (3, 6, 4)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("test.jsonl", '{"question": "q"}', "missing_key"),
        ("test_socratic.jsonl", '{"question": "q", "answer": 3}', "wrong_type"),
        ("example_model_solutions.jsonl", '{"question": "q", "ground_', "not_json"),
        (
            "test_socratic.jsonl",
            '{"question": "q", "answer": "of no problem in test.jsonl"}',
            "missing_key",
        ),
    ],
)
def test_invalid_line_is_rejected_with_its_number(
    folder: Path, name: str, text: str, reason: str
) -> None:
    with (folder / name).open("a", encoding="utf-8") as file:
        file.write(text)
    bad = [record for record in gsm8k.read(folder, {}) if record.rejection is not None]
    assert [(record.line, record.rejection.reason) for record in bad if record.rejection] == [
        (7, reason)
    ]


def test_invalid_grade_does_not_affect_the_others(folder: Path) -> None:
    path = folder / "example_model_solutions.jsonl"
    path.write_text(
        path.read_text(encoding="utf-8").replace("false", '"false"', 1), encoding="utf-8"
    )
    records = list(gsm8k.read(folder, {}))
    assert [(record.line, record.rejection.column) for record in records if record.rejection] == [
        (1, "small")
    ]
    assert (
        sum(record.row is not None and record.row["kind"] == "binary" for record in records) == 11
    )


def test_missing_file_and_unknown_option_raise(folder: Path) -> None:
    with pytest.raises(
        ParamsError, match=r"options\.problem is an unknown key; did you mean problems"
    ):
        list(gsm8k.read(folder, {"problem": 3}))
    (folder / "test_socratic.jsonl").unlink()
    with pytest.raises(DataError, match=r"test_socratic\.jsonl does not exist"):
        list(gsm8k.read(folder, {}))


def test_real_data(public_data: Callable[[str], Path]) -> None:
    """1,319 problems with four graded solutions each. About half become comparisons."""
    records: list[Record] = list(gsm8k.read(public_data("gsm8k"), {}))
    counted = Counter((record.row or {}).get("kind", "rejected") for record in records)
    assert counted == {"prompt": 1319, "binary": 5276, "comparison": 683}
