"""The format ultrafeedback."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from concord.annotations import interchange, reader
from concord.annotations.record import Record, RowError
from concord.stage.errors import ParamsError


def completion(model: str, **grades: Any) -> dict[str, Any]:
    given = {
        "helpfulness": "4",
        "honesty": "5",
        "instruction_following": "1",
        "truthfulness": "N/A",
        **grades,
    }
    annotations = {
        aspect: {"Rating": grade, "Rationale": "Because."} for aspect, grade in given.items()
    }
    answer = {
        "model": model,
        "principle": "honesty",
        "custom_system_prompt": "Be honest.",
        "response": f"I am {model}.",
    }
    return {**answer, "annotations": annotations, "overall_score": 7.0}


def read(folder: Path, row: dict[str, Any], **options: Any) -> list[Record]:
    path = folder / "rows.json"
    path.write_text(json.dumps([row]), encoding="utf-8")
    return list(reader.read("ultrafeedback", path, options, {}))


def row(*completions: Any) -> dict[str, Any]:
    return {
        "source": "sharegpt",
        "instruction": "Who are you?",
        "models": ["a", "b"],
        "completions": list(completions),
    }


def test_answer_becomes_rating_for_each_aspect_that_applies(tmp_path: Path) -> None:
    """4 on the scale 1 to 5 is (4 - 1) / 4 = 0.75. Truthfulness is N/A and makes no rating."""
    records = [
        record.row for record in read(tmp_path, row(completion("gpt"))) if record.row is not None
    ]
    converted = [item for record in records for item in interchange.rows(record)]
    assert {item["objective"]: item["rating"] for item in converted} == {
        "helpfulness": 0.75,
        "honesty": 1.0,
        "instruction_following": 0.0,
    }
    assert {item["annotator"] for item in converted} == {"ultrafeedback"}
    assert {item["response"] for item in converted} == {"I am gpt."}
    assert converted[0]["messages"] == [{"role": "user", "content": "Who are you?"}]
    assert {record["author"] for record in records} == {"gpt"}


def test_instruction_is_the_group(tmp_path: Path) -> None:
    records = [
        *read(tmp_path, row(completion("a"), completion("b"))),
        *read(tmp_path, row(completion("c"))),
    ]
    rows = [record.row for record in records if record.row is not None]
    assert Counter(converted["author"] for converted in rows) == {"a": 3, "b": 3, "c": 3}
    assert len({converted["group_id"] for converted in rows}) == 1


def test_objectives_select_and_rename_aspects(tmp_path: Path) -> None:
    (record,) = read(tmp_path, row(completion("a")), objectives={"helpful": "helpfulness"})
    assert record.row is not None
    assert (record.row["objective"], record.row["rating"]) == ("helpful", 4)


def test_instruction_becomes_prompt_of_the_domain(tmp_path: Path) -> None:
    first, *rest = read(tmp_path, row(completion("a")), domain="values")
    assert first.row is not None
    (converted,) = interchange.rows(first.row)
    assert (converted["domain"], converted["reference"]) == ("values", None)
    assert [record.row is None for record in rest] == [False, False, False, True]


@pytest.mark.parametrize(
    ("broken", "wanted"),
    [
        ({"completions": [completion("a")]}, [("missing_key", "instruction")]),
        ({"instruction": "x"}, [("missing_key", "completions")]),
        (row(), [("missing_key", "completions")]),
        (row("I am."), [("wrong_type", "completions")]),
        (row({**completion("a"), "response": None}), [("missing_key", "response")]),
        (row({**completion("a"), "model": 3}), [("wrong_type", "model")]),
        (row({**completion("a"), "annotations": None}), [("missing_key", "annotations")]),
        (row({**completion("a"), "annotations": {}}), [("missing_key", "honesty")]),
        (row({**completion("a"), "annotations": {"honesty": "5"}}), [("wrong_type", "honesty")]),
        (row(completion("a", honesty=None)), [("no_label", "honesty")]),
        (row(completion("a", honesty="4.5")), [("wrong_type", "honesty")]),
        (row(completion("a", honesty="²")), [("wrong_type", "honesty")]),
        (row(completion("a", honesty="")), [("no_label", "honesty")]),
    ],
)
def test_invalid_ratings_are_rejected(
    tmp_path: Path, broken: dict[str, Any], wanted: list[tuple[str, str]]
) -> None:
    rejections = [
        record.rejection for record in read(tmp_path, broken, objectives={"honest": "honesty"})
    ]
    assert [(rejection.reason, rejection.column) for rejection in rejections if rejection] == wanted
    assert len(rejections) == len(wanted)


def test_valid_ratings_beside_invalid_ones_are_kept(tmp_path: Path) -> None:
    records = read(tmp_path, row("broken", completion("a", honesty="?"), completion("b")))
    assert Counter(record.row is not None for record in records) == {True: 2 + 3, False: 2 + 2}


def test_scale_is_checked_by_the_interchange_format(tmp_path: Path) -> None:
    (record,) = read(tmp_path, row(completion("a", honesty="7")), objectives={"honest": "honesty"})
    assert record.row is not None
    with pytest.raises(RowError, match="off_scale"):
        interchange.rows(record.row)


@pytest.mark.parametrize("objectives", [{"kind": "kindness"}, {}])
def test_options_are_checked(tmp_path: Path, objectives: dict[str, str]) -> None:
    with pytest.raises(ParamsError, match=r"options\.objectives"):
        read(tmp_path, row(), objectives=objectives)
