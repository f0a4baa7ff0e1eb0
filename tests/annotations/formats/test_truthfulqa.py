"""The format truthfulqa."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from concord.annotations import interchange
from concord.annotations.formats import truthfulqa
from concord.annotations.record import Record
from concord.stage.errors import DataError, ParamsError


def line(question: str, answer: str, label: str, head: str) -> str:
    return json.dumps({"prompt": f"Q: {question}\nA: {answer}\n{head}:", "completion": f" {label}"})


def write(folder: Path, answers: list[tuple[str, str, str, str]]) -> Path:
    """Writes both files from rows (question, answer, truthful, informative)."""
    truth = [line(question, answer, true, "True") for question, answer, true, _ in answers]
    info = [
        line(question, answer, informative, "Helpful")
        for question, answer, _, informative in reversed(answers)
    ]
    (folder / "finetune_truth.jsonl").write_text("\n".join(truth) + "\n", encoding="utf-8")
    (folder / "finetune_info.jsonl").write_text("\n".join(info) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two questions. One has an answer of each kind, the other an answer of two lines."""
    return write(
        tmp_path,
        [
            ("Is the moon cheese?", "No, it is rock.", "yes", "yes"),
            ("Is the moon cheese?", "Yes.", "no", "yes"),
            ("Is the moon cheese?", "Who knows.", "yes", "no"),
            ("Do cats bark?", "No:\nthey meow.", "yes", "yes"),
        ],
    )


def rows(folder: Path, **options: Any) -> list[dict[str, Any]]:
    annotations = [record.row for record in truthfulqa.read(folder, options)]
    assert all(row is not None for row in annotations)
    return [row for row in annotations if row is not None]


def test_line_becomes_binary_label(folder: Path) -> None:
    records = [
        record
        for record in truthfulqa.read(folder, {})
        if record.row and record.row["kind"] == "binary"
    ]
    assert len(records) == 8
    second = records[1]
    assert second.line == 2
    assert second.raw == line("Is the moon cheese?", "Yes.", "no", "True")
    assert second.row is not None
    assert {key: second.row[key] for key in ("objective", "response", "label", "messages")} == {
        "objective": "truthful",
        "response": "Yes.",
        "label": 0,
        "messages": [{"role": "user", "content": "Is the moon cheese?"}],
    }


def test_annotations_are_valid_and_questions_are_the_groups(folder: Path) -> None:
    converted = [
        row for record in rows(folder, demonstrations=1) for row in interchange.rows(record)
    ]
    assert {row["messages"][0]["content"] for row in converted} == {
        "Is the moon cheese?",
        "Do cats bark?",
    }
    assert len({row["group_id"] for row in converted}) == 2
    assert {row["response"] for row in converted if row.get("objective") == "informative"} == {
        "No, it is rock.",
        "Yes.",
        "Who knows.",
        "No:\nthey meow.",
    }


def test_each_question_becomes_one_prompt(folder: Path) -> None:
    prompts = [
        record
        for record in truthfulqa.read(folder, {})
        if record.row and record.row["kind"] == "prompt"
    ]
    assert [(prompt.line, prompt.row["domain"]) for prompt in prompts if prompt.row] == [
        (1, "truth"),
        (4, "truth"),
    ]


def test_demonstrations_are_truthful_and_informative(folder: Path) -> None:
    shown = [
        row["response"] for row in rows(folder, demonstrations=5) if row["kind"] == "demonstration"
    ]
    assert sorted(shown) == ["No, it is rock.", "No:\nthey meow."]
    assert not [row for row in rows(folder) if row["kind"] == "demonstration"]


def test_limits_do_not_depend_on_the_order_of_lines(folder: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned"
    turned.mkdir()
    for name in truthfulqa.FILES.values():
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        (turned / name).write_text("\n".join(reversed(lines)), encoding="utf-8")
    kept = [
        {
            (row["kind"], row.get("objective"), row.get("response"))
            for row in rows(path, questions=1, answers=2)
        }
        for path in (folder, turned)
    ]
    assert kept[0] == kept[1]
    counted = Counter(row.get("objective") for row in rows(folder, answers=2))
    assert counted == {None: 2, "truthful": 3, "informative": 3}


@pytest.mark.parametrize(
    ("text", "reason", "column"),
    [
        ("{", "not_json", "line"),
        ("[]", "wrong_type", "line"),
        ('{"prompt": "Q: a\\nA: b\\nTrue:"}', "missing_key", "completion"),
        ('{"prompt": 3, "completion": " yes"}', "wrong_type", "prompt"),
        ('{"prompt": "Q: a\\nA: b", "completion": " yes"}', "wrong_type", "prompt"),
        ('{"prompt": "Q: a\\nA: b\\nTrue:", "completion": " maybe"}', "off_scale", "completion"),
    ],
)
def test_invalid_line_is_rejected_with_its_number(
    folder: Path, text: str, reason: str, column: str
) -> None:
    with (folder / "finetune_truth.jsonl").open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    bad = [record for record in truthfulqa.read(folder, {}) if record.row is None]
    assert [(record.line, record.raw) for record in bad] == [(5, text)]
    assert bad[0].rejection is not None
    assert (bad[0].rejection.reason, bad[0].rejection.column) == (reason, column)


def test_missing_file_and_unknown_option_raise(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"finetune_truth\.jsonl does not exist"):
        list(truthfulqa.read(tmp_path, {}))
    with pytest.raises(
        ParamsError, match=r"options\.answer is an unknown key; did you mean answers"
    ):
        list(truthfulqa.read(tmp_path, {"answer": 3}))


def test_real_data(public_data: Callable[[str], Path]) -> None:
    """22,434 labels of each objective for 817 questions."""
    records: list[Record] = list(truthfulqa.read(public_data("truthfulqa_reeval"), {}))
    assert Counter((record.row or {}).get("objective", "prompt") for record in records) == {
        "truthful": 22434,
        "informative": 22434,
        "prompt": 817,
    }
