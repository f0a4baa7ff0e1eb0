"""`concord inspect` on tables of no known format: labels in words, several labels, lists, paths.

Each row is inspected, and read with the block that inspect prints. What is not understood must be
said, and never be dropped in silence: a judged answer is no demonstration.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from concord.annotations import interchange, meanings, reader
from concord.annotations.inspection.inspect_file import inspect, ways
from concord.stage.errors import DataError

Q, A, B = "Name a colour.", "Red is one.", "No."
PAIR = {"question": Q, "answer_1": A, "answer_2": B}
ANSWER = {"question": Q, "answer": A}
TURN = [{"speaker": "User", "utterance": Q}]


def labels(path: Path) -> list[tuple[Any, ...]]:
    """What each label of a file says: its objective, the answer, and its value."""
    way = ways(path, "", {})[0]
    read = []
    for record in reader.read(way.format, path, way.options, way.columns):
        assert record.row is not None, record.rejection
        for row in interchange.rows(record.row):
            if "chosen" in row:
                read.append((row["objective"], row["chosen"]))
            elif "steps" in row:
                read.append((row["objective"], *row["labels"]))
            else:
                read.append((row["objective"], row["response"], row["rating"]))
    return read


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({**PAIR, "preference": "Answer 2 is slightly better"}, [("overall", B)]),
        ({**PAIR, "preference": 2}, [("overall", B)]),
        ({"question": Q, "response_A": A, "response_B": B, "label": "B>>A"}, [("overall", B)]),
        ({"prompt": Q, "a": A, "b": B, "preferred": "b", "annotator": 7}, [("overall", B)]),
        ({"dialogue": TURN, "response_a": A, "response_b": B, "winner": "A"}, [("overall", A)]),
        (
            {"prompt": Q, "answer_a": A, "answer_b": B, "helpful": "a", "harmless": "b"},
            [("helpful", A), ("harmless", B)],
        ),
        (
            {"prompt": Q, "response_0": A, "response_1": B, "more_helpful": 1, "safer": 0},
            [("more_helpful", B), ("safer", A)],
        ),
        ({**ANSWER, "stars": "4 stars"}, [("overall", A, 0.75)]),
        ({**ANSWER, "score": "3/5"}, [("overall", A, 0.6)]),
        ({**ANSWER, "score": "80%"}, [("overall", A, 0.8)]),
        ({**ANSWER, "grade": "B"}, [("overall", A, 0.75)]),
        ({**ANSWER, "rating": "4 - good"}, [("overall", A, 0.75)]),
        ({**ANSWER, "rating": "five"}, [("overall", A, 1.0)]),
        ({**ANSWER, "rating": "\u2605\u2605\u2606\u2606\u2606"}, [("overall", A, 0.4)]),
        ({**ANSWER, "rating": True}, [("overall", A, 1.0)]),
        ({**ANSWER, "label": -1}, [("overall", A, 0.0)]),
        ({**ANSWER, "feedback": "thumbs_down"}, [("overall", A, 0.0)]),
        ({"prompt": Q, "completion": A, "label": "undesirable"}, [("overall", A, 0.0)]),
        (
            {"prompt": Q, "responses": [A, B], "scores": [5, 1]},
            [("overall", A, 1.0), ("overall", B, 0.0)],
        ),
        (
            {"prompt": Q, "completions": [{"text": A, "score": 5}, {"text": B, "score": 3}]},
            [("overall", A, 1.0), ("overall", B, 0.5)],
        ),
        (
            {"problem": Q, "steps": [{"text": "One.", "label": 1}, {"text": "Two.", "label": -1}]},
            [("overall", 1.0, 0.0)],
        ),
        ({"prompt": Q, "completions": ["x"], "labels": ["incorrect"]}, [("overall", 0.0)]),
        ({"input": {"prompt": Q}, "outputs": {"chosen": A, "rejected": B}}, [("overall", A)]),
        ({"data": {"question": Q, "good": A, "bad": B}}, [("overall", A)]),
        ({"prompt": Q, "answers": json.dumps([{"answer": A, "rank": 2}, {"answer": B, "rank": 1}])},
         [("overall", A, 0.0), ("overall", B, 1.0)]),
        ({"prompt": Q, "answers": {"answer": [A, B], "rank": [1, 2]}},
         [("overall", A, 1.0), ("overall", B, 0.0)]),
    ],
)  # fmt: skip
def test_labels_are_read_for_what_they_say(
    tmp_path: Path, row: dict[str, Any], expected: list[tuple[Any, ...]]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert labels(path) == expected


def test_ratings_for_several_objectives(tmp_path: Path) -> None:
    """Their scale is a guess from all rows."""
    rows = [{"prompt": Q, "response": A, "kindness": n, "wit": 6 - n, "turn": n} for n in (1, 5)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert labels(path) == [
        *(("kindness", A, 0.0), ("wit", A, 1.0)),
        *(("kindness", A, 1.0), ("wit", A, 0.0)),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**ANSWER, "rating": "meh"}, "Not understood: rating holds 'meh'"),
        ({"prompt": Q, "answer_a": A, "answer_b": B, "rater_1": "x"}, "rater_1 holds 'x'"),
        ({"prompt": Q, "answer_a": A, "answer_b": B, "votes_a": 3, "votes_b": 1}, "votes_a"),
        ({"prompt": Q, "responses": [A, B], "ranking": ["b", "a"]}, "ranking holds 'a', 'b'"),
        ({"prompt": Q, "response_a": A, "response_b": B, "label": 1}, "label holds '1'"),
        ({"prompt": [Q, Q], "chosen": [A, A], "rejected": [B, B]}, "a table by columns"),
    ],
)
def test_what_is_not_understood_is_said(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        inspect(path)


def test_files_of_other_kinds_are_named(tmp_path: Path) -> None:
    csv, lines = "prompt,chosen,rejected\nQ?,x,y\n", '{"prompt": "Q?", "chosen": "x"}\n'
    (tmp_path / "rows.jsonl").write_text(csv, encoding="utf-8")
    with pytest.raises(DataError, match=r"if it is CSV, give it the extension \.csv"):
        inspect(tmp_path / "rows.jsonl")
    (tmp_path / "rows.csv").write_text(lines, encoding="utf-8")
    with pytest.raises(DataError, match=r"is JSON, not CSV; give it the extension \.jsonl"):
        inspect(tmp_path / "rows.csv")
    (tmp_path / "excel.csv").write_bytes(
        b"\xef\xbb\xbf" + f"sep=;\r\n{csv}".replace(",", ";").encode()
    )
    assert labels(tmp_path / "excel.csv") == [("overall", "x")]


def test_one_number_says_nothing_about_which_side() -> None:
    assert meanings.sides(["1"], "answer_a", "answer_b") is None
    assert meanings.sides(["1"], "answer_1", "answer_2") == {"1": "a"}
    assert meanings.sides(["1"], "answer_0", "answer_1") == {"1": "b"}
    assert meanings.sides(["same", "Model_A"], "left", "right") == {}
