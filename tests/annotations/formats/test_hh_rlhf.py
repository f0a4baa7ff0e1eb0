"""The format hh_rlhf."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from concord.annotations import reader
from concord.annotations.record import Record

OPENING = "\n\nHuman: Hi.\n\nAssistant: Hello!\n\nHuman: Name a\n\ncolour."


def read(folder: Path, **row: Any) -> Record:
    path = folder / "pairs.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (record,) = reader.read("hh_rlhf", path, {"objective": "harmless"}, {})
    return record


def test_line_becomes_comparison(tmp_path: Path) -> None:
    record = read(
        tmp_path, chosen=f"{OPENING}\n\nAssistant: Red. ", rejected=f"{OPENING}\n\nAssistant: No."
    )
    assert record.row is not None
    assert record.row["messages"] == [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Name a\n\ncolour."},
    ]
    wanted = {"a": "Red.", "b": "No.", "preferred": "a", "objective": "harmless"}
    assert {key: record.row[key] for key in wanted} == wanted


def test_first_turn_is_the_group(tmp_path: Path) -> None:
    short = read(
        tmp_path,
        chosen="\n\nHuman: Hi.\n\nAssistant: Yo",
        rejected="\n\nHuman: Hi.\n\nAssistant: Hello",
    )
    long = read(
        tmp_path, chosen=f"{OPENING}\n\nAssistant: Red.", rejected=f"{OPENING}\n\nAssistant: No."
    )
    assert short.row is not None
    assert long.row is not None
    assert short.row["group_id"] == long.row["group_id"]


@pytest.mark.parametrize(
    ("row", "reason", "column"),
    [
        ({"chosen": f"{OPENING}\n\nAssistant: a"}, "missing_key", "rejected"),
        ({"chosen": 3, "rejected": "x"}, "wrong_type", "chosen"),
        ({"chosen": "Human: Hi.", "rejected": "x"}, "wrong_type", "chosen"),
        ({"chosen": OPENING, "rejected": OPENING}, "roles_do_not_alternate", "chosen"),
        (
            {"chosen": f"{OPENING}\n\nAssistant: a", "rejected": f"{OPENING}?\n\nAssistant: b"},
            "different_prompts",
            "rejected",
        ),
    ],
)
def test_invalid_lines_are_rejected(
    tmp_path: Path, row: dict[str, Any], reason: str, column: str
) -> None:
    rejection = read(tmp_path, **row).rejection
    assert rejection is not None
    assert (rejection.reason, rejection.column) == (reason, column)


def test_real_data(public_data: Callable[[str], Path]) -> None:
    records = list(
        reader.read(
            "hh_rlhf",
            public_data("hh_rlhf_harmless_test/test.jsonl.gz"),
            {"objective": "harmless"},
            {},
        )
    )
    assert len(records) == 2312
    assert sum(record.row is None for record in records) < 30
