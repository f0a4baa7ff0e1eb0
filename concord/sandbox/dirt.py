"""Dirt of every kind that real annotation files have, planted and counted by the reason ingestion should give."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

Record = dict[str, Any]
Spoiler = Callable[[Record, random.Random], Record]


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


# reason that ingestion or preparation should give -> kind of record to spoil, how
SPOILERS: dict[str, tuple[str, Spoiler]] = {
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
    """The records as lines with about `share` of spoiled ones put in at random places, and their count by reason.

    Each spoiled line comes of a record of its own, so that no two kinds of dirt meet in one; the clean original stays.
    """
    count = round(len(records) * share / (len(SPOILERS) + 1))
    by_kind: dict[str, list[Record]] = {}
    for record in rng.sample(records, len(records)):
        by_kind.setdefault(record["kind"], []).append(record)
    spoiled: dict[str, list[str]] = {}
    for reason, (kind, spoil) in SPOILERS.items():
        victims = [by_kind[kind].pop() for _ in range(min(count, len(by_kind.get(kind, []))))]
        spoiled[reason] = [json.dumps(spoil(copy.deepcopy(victim), rng)) for victim in victims]
    lines = [json.dumps(record) for record in records]
    spoiled["not_json"] = [
        line[: len(line) // 2] for line in rng.sample(lines, min(count, len(lines)))
    ]
    for line in (line for group in spoiled.values() for line in group):
        lines.insert(rng.randint(0, len(lines)), line)
    return lines, {reason: len(group) for reason, group in spoiled.items() if group}
