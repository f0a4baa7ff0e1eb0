"""The quarantine: rows that were set aside, each with its line, column and reason. Nothing is dropped in silence."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from tasks.annotations import schemas
from tasks.annotations.records import Rejection
from tasks.stage.errors import DataError

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
RAW_CHARACTERS = 500
SAMPLES = 20


@dataclass
class Quarantine:
    """Collects rejected rows of one source or of the whole project."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, source: str, line: int, table: str, rejection: Rejection, raw: str) -> None:
        """Sets one row aside."""
        reason, text = rejection.reason, raw[:RAW_CHARACTERS].encode("utf-8", errors="replace").decode("utf-8")
        assert reason in REASONS, f"{reason} is no reason code; add it to REASONS"
        place = {"source": source, "source_line": line, "table": table, "column": rejection.column}
        detail = rejection.detail.encode("utf-8", errors="replace").decode("utf-8")
        self.rows.append({**place, "reason": reason, "detail": detail, "raw": text})

    def frame(self) -> pd.DataFrame:
        """The quarantine table."""
        return schemas.QUARANTINE.validate(schemas.build("quarantine", self.rows))

    def by_reason(self) -> dict[str, int]:
        """How many rows each reason took, most frequent first."""
        return dict(Counter(row["reason"] for row in self.rows).most_common())


def demand_share(quarantine: Quarantine, read: int, max_share: float, source: str) -> None:
    """Raises DataError where more than `max_share` of the rows read were rejected, with every reason, first rows."""
    rejected = len(quarantine.rows)
    if rejected <= max_share * read:
        return
    found = []
    for reason, count in quarantine.by_reason().items():
        first = next(row for row in quarantine.rows if row["reason"] == reason)
        where = f"first on line {first['source_line']}, {first['column']}: {first['detail']}"
        found.append(f"\n  {count:>7}  {reason} ({REASONS[reason]}); {where}")
    raise DataError(
        f"source {source}: {rejected} of {read} rows ({rejected / read:.1%}) were rejected, but ingest."
        f"max_quarantine_share is {max_share:g}:{''.join(found)}\n"
        "Is the format the right one? Correct the file, or raise the share"
    )


def samples(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """For the report: per reason how many rows it took and up to 20 of them."""
    shown = ["source", "source_line", "table", "column", "reason", "detail"]
    return {
        str(reason): {"count": len(rows), "rows": rows[shown].head(SAMPLES).to_dict("records")}
        for reason, rows in frame.groupby("reason", sort=True)
    }
