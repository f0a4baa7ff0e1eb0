"""The quarantine: rejected rows, each with its line, column and reason.

No row is dropped silently.
"""

from collections import Counter
from typing import Any, NamedTuple

import pandas as pd

from concord.annotations import schemas
from concord.annotations.record import Rejection
from concord.stage.errors import DataError

REASONS = {
    "not_utf8": "the line is not UTF-8 text",
    "not_json": "the line is not valid JSON, or is truncated",
    "repeated_key": "a key stands twice, so it is not clear which value counts",
    "missing_key": "a required key is missing",
    "wrong_type": "a value has the wrong type or form",
    "empty_prompt": "a turn of the prompt is empty",
    "empty_response": "an answer is empty",
    "truncated_response": "the answer was truncated at a length limit, so its end was not judged",
    "off_scale": "a label is outside its scale",
    "tie": "neither answer is preferred",
    "no_label": "nobody gave this label",
    "left_out": "an option of the format leaves the row out",
    "unused_context": "the row holds context that the format does not read",
    "different_prompts": "the two answers belong to different prompts",
    "identical_responses": "the two answers are the same text or the same tokens",
    "unknown_role": "the role of a turn is not system, user or assistant",
    "tool_turn": "a turn calls a tool or holds its result",
    "roles_do_not_alternate": "the roles do not alternate, or the last turn is not the user's",
    "template": "the text holds the control tokens of a chat template",
    "duplicate": "the row repeats an earlier one",
    "duplicate_prompt": "the prompt repeats an earlier one",
    "contradiction": "one annotator gave the same answer contradicting labels",
    "prompt_of_check": "a check has this prompt, and nothing is trained on the prompts of checks",
    "too_long": "the answer exceeds model.max_length tokens, and answers are never truncated",
}
"""Reason code -> what it means."""
DUPLICATE = "duplicate"
NO_FAULT = (DUPLICATE, "tie", "no_label", "left_out")
"""Reasons of rows that are not bad: they are left out and counted."""
RAW_CHARACTERS = 500
SAMPLES = 20


class Location(NamedTuple):
    """Where a row comes from."""

    source: str
    file: str
    line: int


class Quarantine:
    """Collects rejected rows. The counts are kept when the rows are taken out."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, dict[str, Any]] = {}
        self._rows: list[dict[str, Any]] = []

    def add(self, location: Location, table: str, rejection: Rejection, raw: str) -> None:
        """Adds one row. `table` is the table that the row was intended for."""
        reason = rejection.reason
        assert reason in REASONS, f"{reason} is not a reason code; add it to REASONS"
        row = {
            "source": location.source,
            "source_file": location.file,
            "source_line": location.line,
            "table": table,
            "column": encodable(rejection.column),
            "reason": reason,
            "detail": encodable(rejection.detail),
            "raw": encodable(raw[:RAW_CHARACTERS]),
        }
        self._counts[reason] += 1
        self._first.setdefault(reason, row)
        self._rows.append(row)

    def pending(self) -> int:
        """The number of rows that the next `take` returns."""
        return len(self._rows)

    def take(self) -> pd.DataFrame:
        """Removes the collected rows and returns them as a table."""
        rows, self._rows = self._rows, []
        return schemas.QUARANTINE.validate(schemas.build("quarantine", rows))

    def by_reason(self) -> dict[str, int]:
        """Reason code -> number of rows, most frequent first."""
        return dict(self._counts.most_common())

    def first(self, reason: str) -> dict[str, Any]:
        """The first row that was rejected for `reason`."""
        return self._first[reason]


def check_quarantine_share(
    quarantine: Quarantine, read: int, max_share: float, source: str
) -> None:
    """Raises DataError if more than `max_share` of the `read` rows are bad, or if all are rejected.

    The message lists every reason with its first row. Rows with a reason in `NO_FAULT` are
    quarantined too, but do not count as bad.
    """
    reasons = quarantine.by_reason()
    bad = {reason: count for reason, count in reasons.items() if reason not in NO_FAULT}
    rejected = sum(bad.values())
    if rejected > max_share * read:
        raise DataError(
            f"source {source}: {rejected} of {read} rows ({rejected / read:.1%}) were rejected, "
            f"but ingest.max_quarantine_share is {max_share:g}:{_listed(quarantine, bad)}\n"
            "Check the format, correct the file, or increase the share"
        )
    if sum(reasons.values()) == read and read:
        raise DataError(
            f"source {source}: none of the {read} rows was kept:{_listed(quarantine, reasons)}\n"
            "Give a file whose rows have labels, or change the options of the format"
        )


def _listed(quarantine: Quarantine, reasons: dict[str, int]) -> str:
    """A line for each reason, with its first row."""
    lines = []
    for reason, count in reasons.items():
        first = quarantine.first(reason)
        file = f"{first['source_file']} " if first["source_file"] else ""
        where = f"first on {file}line {first['source_line']}, {first['column']}: {first['detail']}"
        lines.append(f"\n  {count:>7}  {reason} ({REASONS[reason]}); {where}")
    return "".join(lines)


def samples(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Reason code -> number of rows and up to 20 of them, for the report."""
    shown = ["source", "source_file", "source_line", "table", "column", "reason", "detail"]
    return {
        str(reason): {"count": len(rows), "rows": rows[shown].head(SAMPLES).to_dict("records")}
        for reason, rows in frame.groupby("reason", sort=True)
    }


def encodable(text: str) -> str:
    """Replaces what UTF-8 cannot encode, so that Parquet can store the text."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
