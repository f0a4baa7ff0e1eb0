"""The quarantine: rows that were set aside, each with its line, column and reason. Nothing is dropped in silence."""

from collections import Counter
from typing import Any, NamedTuple

import pandas as pd

from concord.annotations import schemas
from concord.annotations.record import Rejection
from concord.stage.errors import DataError

REASONS = {
    "not_utf8": "the line is no UTF-8 text",
    "not_json": "the line is no JSON, or was cut off",
    "missing_key": "a key that the kind of annotation needs is not there",
    "wrong_type": "a value has another type or form than the format says",
    "empty_prompt": "a turn of the prompt has no text",
    "empty_response": "an answer has no text",
    "truncated_response": "the answer was cut off at a length limit, so its end was never judged",
    "off_scale": "a label lies outside its scale",
    "tie": "no answer is preferred",
    "different_prompts": "the two answers were given to different prompts",
    "identical_responses": "the two answers are the same, as text or as tokens",
    "unknown_role": "a turn is neither the system's, the user's nor the assistant's",
    "roles_do_not_alternate": "the turns do not alternate, or the last one is not the user's",
    "duplicate": "the same row stands earlier",
    "duplicate_prompt": "the same prompt stands earlier",
    "contradiction": "one annotator labelled the same answers both ways",
    "too_long": "the answer does not fit into model.max_length tokens, and answers are never cut",
}
DUPLICATE = "duplicate"
RAW_CHARACTERS = 500
SAMPLES = 20


class Place(NamedTuple):
    """Where a row stands."""

    source: str
    file: str
    line: int


class Quarantine:
    """Collects rejected rows of one source or of the whole project; counts stay when the rows are taken out."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, dict[str, Any]] = {}
        self._rows: list[dict[str, Any]] = []

    def add(self, place: Place, table: str, rejection: Rejection, raw: str) -> None:
        """Sets one row aside."""
        reason = rejection.reason
        assert reason in REASONS, f"{reason} is no reason code; add it to REASONS"
        where = {"source": place.source, "source_file": place.file, "source_line": place.line}
        what = {
            "table": table,
            "column": rejection.column,
            "reason": reason,
            "detail": _storable(rejection.detail),
        }
        row = {**where, **what, "raw": _storable(raw[:RAW_CHARACTERS])}
        self._counts[reason] += 1
        self._first.setdefault(reason, row)
        self._rows.append(row)

    def waiting(self) -> int:
        """How many rows the next `take` holds."""
        return len(self._rows)

    def take(self) -> pd.DataFrame:
        """The table of the rows since the last call."""
        rows, self._rows = self._rows, []
        return schemas.QUARANTINE.validate(schemas.build("quarantine", rows))

    def by_reason(self) -> dict[str, int]:
        """How many rows each reason took, most frequent first."""
        return dict(self._counts.most_common())

    def first(self, reason: str) -> dict[str, Any]:
        """The first row that a reason took."""
        return self._first[reason]


def demand_share(quarantine: Quarantine, read: int, max_share: float, source: str) -> None:
    """Raises DataError where more than `max_share` of the rows read are bad, with every reason and its first row.

    Exact duplicates are set aside as well, but nothing is wrong with them.
    """
    bad = {reason: count for reason, count in quarantine.by_reason().items() if reason != DUPLICATE}
    rejected = sum(bad.values())
    if rejected <= max_share * read:
        return
    found = []
    for reason, count in bad.items():
        first = quarantine.first(reason)
        file = f"{first['source_file']} " if first["source_file"] else ""
        where = f"first on {file}line {first['source_line']}, {first['column']}: {first['detail']}"
        found.append(f"\n  {count:>7}  {reason} ({REASONS[reason]}); {where}")
    raise DataError(
        f"source {source}: {rejected} of {read} rows ({rejected / read:.1%}) were rejected, but ingest."
        f"max_quarantine_share is {max_share:g}:{''.join(found)}\n"
        "Is the format the right one? Correct the file, or raise the share"
    )


def samples(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """For the report: per reason how many rows it took and up to 20 of them."""
    shown = ["source", "source_file", "source_line", "table", "column", "reason", "detail"]
    return {
        str(reason): {"count": len(rows), "rows": rows[shown].head(SAMPLES).to_dict("records")}
        for reason, rows in frame.groupby("reason", sort=True)
    }


def _storable(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode("utf-8")
