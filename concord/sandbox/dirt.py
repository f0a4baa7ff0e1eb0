"""Faulty rows like those of real annotation files, counted by the reason that ingestion should
report.
"""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

Record = dict[str, Any]
Corruption = Callable[[Record, random.Random], Record]


def _missing(record: Record, rng: random.Random) -> Record:
    del record["messages"]
    return record


def _wrong_type(record: Record, rng: random.Random) -> Record:
    return {**record, "rating": "five"}


def _empty(record: Record, rng: random.Random) -> Record:
    return {**record, "response": "  "}


def _truncated(record: Record, rng: random.Random) -> Record:
    text = record["response"]
    return {**record, "response": text[: max(3, len(text) // 2)], "finish_reason": "length"}


def _off_scale(record: Record, rng: random.Random) -> Record:
    return {**record, "rating": record["scale"][1] + rng.randint(1, 4)}


def _tie(record: Record, rng: random.Random) -> Record:
    return {**record, "preferred": "tie"}


def _identical(record: Record, rng: random.Random) -> Record:
    return {**record, "b": record["a"]}


def _unknown_role(record: Record, rng: random.Random) -> Record:
    record["messages"][0]["role"] = "oracle"
    return record


def _two_in_a_row(record: Record, rng: random.Random) -> Record:
    return {**record, "messages": [*record["messages"], {"role": "user", "content": "Hello?"}]}


def _copy(record: Record, rng: random.Random) -> Record:
    return record


def _flipped(record: Record, rng: random.Random) -> Record:
    return {**record, "preferred": {"a": "b", "b": "a"}[record["preferred"]]}


# reason that ingestion or preparation should report -> (kind of record, how to corrupt it)
CORRUPTIONS: dict[str, tuple[str, Corruption]] = {
    "missing_key": ("comparison", _missing),
    "wrong_type": ("rating", _wrong_type),
    "empty_response": ("demonstration", _empty),
    "truncated_response": ("demonstration", _truncated),
    "off_scale": ("rating", _off_scale),
    "tie": ("comparison", _tie),
    "identical_responses": ("comparison", _identical),
    "unknown_role": ("comparison", _unknown_role),
    "roles_do_not_alternate": ("comparison", _two_in_a_row),
    "duplicate": ("comparison", _copy),
    "duplicate_prompt": ("prompt", _copy),
    "contradiction": ("comparison", _flipped),
}


def plant(
    records: list[Record], share: float, rng: random.Random
) -> tuple[list[str], dict[str, int]]:
    """Inserts about `share` faulty lines at random positions; returns all lines and the count per
    reason.

    Each faulty line is made from a different record, so that no line has two faults. The clean
    originals stay.
    """
    count = round(len(records) * share / (len(CORRUPTIONS) + 1))
    by_kind: dict[str, list[Record]] = {}
    for record in rng.sample(records, len(records)):
        by_kind.setdefault(record["kind"], []).append(record)
    faulty: dict[str, list[str]] = {}
    for reason, (kind, corrupt) in CORRUPTIONS.items():
        originals = [by_kind[kind].pop() for _ in range(min(count, len(by_kind.get(kind, []))))]
        faulty[reason] = [
            json.dumps(corrupt(copy.deepcopy(original), rng)) for original in originals
        ]
    lines = [json.dumps(record) for record in records]
    faulty["not_json"] = [
        line[: len(line) // 2] for line in rng.sample(lines, min(count, len(lines)))
    ]
    for line in (line for group in faulty.values() for line in group):
        lines.insert(rng.randint(0, len(lines)), line)
    return lines, {reason: len(group) for reason, group in faulty.items() if group}
