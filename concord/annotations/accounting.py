"""What became of every row of a source: kept, quarantined or left out."""

from collections.abc import Iterable, Mapping
from typing import Any

from concord.annotations.quarantine import NO_FAULT, REASONS

KEPT = 255
ORDER = (*NO_FAULT, *(reason for reason in REASONS if reason not in NO_FAULT))
CODES = {reason: code for code, reason in enumerate(ORDER, start=1)}
"""Reason -> its code. If a row has several annotations, the one with the largest code counts."""
NO_ANNOTATION = "no_annotation"
"""Rows from which the format made no annotation, for example because of its options."""


class Outcomes:
    """One byte per row of each file: what became of it.

    A row is kept if any of its annotations is; it is quarantined if none is kept and any is bad.
    """

    def __init__(self) -> None:
        self.by_file: dict[str, bytearray] = {}

    def note(self, rows: Iterable[tuple[str, int]], reasons: Mapping[int, str]) -> None:
        """Notes annotations.

        Args:
            rows: the file and the number of the row of each annotation.
            reasons: position in `rows` -> why the annotation is rejected; the others are kept.
        """
        file, codes = None, bytearray()
        for number, (in_file, row) in enumerate(rows):
            if in_file != file:
                file, codes = in_file, self.by_file.setdefault(in_file, bytearray())
            if row >= len(codes):
                codes.extend(bytes(row + len(codes) // 2 + 1024 - len(codes)))
            code = CODES[reasons[number]] if number in reasons else KEPT
            if code > codes[row]:
                codes[row] = code

    def summary(self, totals: Mapping[str, int] | None) -> dict[str, Any]:
        """Rows found, kept, and quarantined and left out by reason.

        Args:
            totals: file -> number of its rows, by a count of its own; None if rows have no file.
        """
        counts = {
            reason: sum(codes.count(code) for codes in self.by_file.values())
            for reason, code in CODES.items()
        }
        kept = sum(codes.count(KEPT) for codes in self.by_file.values())
        noted = kept + sum(counts.values())
        total = noted if totals is None else sum(totals.values())
        assert noted <= total, f"{noted} rows have an outcome, but the files have {total}"
        left_out = {reason: counts[reason] for reason in NO_FAULT} | {NO_ANNOTATION: total - noted}
        bad = {reason: count for reason, count in counts.items() if reason not in NO_FAULT}
        return {
            "found": total,
            "kept": kept,
            "quarantined": {reason: count for reason, count in bad.items() if count},
            "left_out": {reason: count for reason, count in left_out.items() if count},
        }


def sentences(name: str, report: Mapping[str, Any]) -> list[str]:
    """The report of a source as lines of text.

    Examples:
        >>> rows = {"found": 3, "kept": 2, "quarantined": {}, "left_out": {"tie": 1}}
        >>> report = {"rows": rows, "by_table": {"comparisons": 2}, "removed": {}, "by_reason": {}}
        >>> sentences("mine", report | {"unused_columns": [], "unread_files": []})[:2]
        ['mine: 3 rows found = 2 kept + 0 quarantined + 1 left out', '  kept as: comparisons 2']
    """
    rows = report["rows"]
    quarantined, left_out = rows["quarantined"], rows["left_out"]
    parts = {
        "kept as": listed(report["by_table"]),
        "quarantined": listed(quarantined),
        "left out": listed(left_out),
        "annotations of kept rows that are not kept": listed(_beside(report)),
        "removed": listed(report["removed"]),
        "columns not used": ", ".join(report["unused_columns"]),
        "files not read": ", ".join(report["unread_files"]),
    }
    return [
        f"{name}: {rows['found']} rows found = {rows['kept']} kept + "
        f"{sum(quarantined.values())} quarantined + {sum(left_out.values())} left out",
        *(f"  {what}: {text}" for what, text in parts.items() if text),
    ]


def _beside(report: Mapping[str, Any]) -> dict[str, int]:
    """By reason, the rejected annotations of rows that are counted otherwise."""
    rows = report["rows"]
    counted = {**rows["quarantined"], **rows["left_out"]}
    return {reason: count - counted.get(reason, 0) for reason, count in report["by_reason"].items()}


def listed(counts: Mapping[str, int]) -> str:
    """The counts that are not 0, as text."""
    return ", ".join(f"{what} {count}" for what, count in counts.items() if count)
