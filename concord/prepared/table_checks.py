"""Checks that need a whole table, the tokenizer or the list of objectives.

Rejected rows are quarantined with a reason. Labels of unknown objectives are an error, unless
`prepare.ignore_objectives` lists them; then they are counted.
"""

import difflib
import json
from collections import Counter
from collections.abc import Collection, Mapping

import pandas as pd

from concord.annotations.quarantine import Location, Quarantine
from concord.annotations.record import Rejection
from concord.prepared import dedupe
from concord.prepared.token_lengths import RESPONSES, Tokens
from concord.stage.errors import DataError

Tables = Mapping[str, pd.DataFrame]
PLACE = ("source", "source_file", "source_line", "row_id")
UNKNOWN = ("objective", "source")
"""Columns that say which unknown objective a label has, and where."""


def drop_ignored_objectives(
    frames: Tables, known: Collection[str], ignored: Collection[str]
) -> tuple[dict[str, pd.DataFrame], dict[str, int]]:
    """The tables without labels of the `ignored` objectives, and how many labels each of these has.

    Raises DataError if there are labels of an objective that is neither known nor ignored.
    """
    counts: Counter[tuple[str, str]] = Counter()
    kept = dict(frames)
    for table, frame in frames.items():
        if "objective" in frame.columns:
            is_known = frame["objective"].isin(list(known))
            kept[table] = frame[is_known]
            counts.update(zip(*(frame[~is_known][name] for name in UNKNOWN), strict=True))
    _refuse_unknown({key: count for key, count in counts.items() if key[0] not in ignored}, known)
    unused: Counter[str] = Counter()
    for (name, _), count in counts.items():
        unused[name] += count
    return kept, dict(unused)


def _refuse_unknown(counts: Mapping[tuple[str, str], int], known: Collection[str]) -> None:
    """Raises DataError if there are counts; they are by objective and source."""
    if not counts:
        return
    described = []
    for (name, source), count in sorted(counts.items()):
        close = difflib.get_close_matches(name, list(known), n=1)
        meant = f", did you mean {close[0]}?" if close else ""
        described.append(f"{name} ({count} labels in the source {source}{meant})")
    names = sorted({name for name, _ in counts})
    raise DataError(
        f"the sources have labels of objectives that `objectives` does not have: "
        f"{'; '.join(described)}. It has {', '.join(known)}. Correct the labels or `columns`, add "
        f"the objectives, or drop their labels with prepare.ignore_objectives: "
        f"[{', '.join(names)}]"
    )


def tables(frames: Tables, tokens: Tokens, quarantine: Quarantine) -> dict[str, pd.DataFrame]:
    """Quarantines duplicates, contradictions and responses that are too long; returns the rest."""
    kept = {table: _check_rows(table, frame, quarantine) for table, frame in frames.items()}
    for table, columns in RESPONSES.items():
        for column in columns:
            rejection = Rejection(
                "too_long",
                column,
                "the answer exceeds model.max_length with the assistant's header",
            )
            kept[table] = quarantine_rows(
                kept[table], tokens.too_long(kept[table], column), table, rejection, quarantine
            )
    return kept


def pairs(frame: pd.DataFrame, tokens: Tokens, quarantine: Quarantine) -> pd.DataFrame:
    """Quarantines pairs that contradict each other or have equal tokens; returns the others.

    A preference that was stated twice, as a comparison and through ratings, is kept once.
    """
    frame = frame[~dedupe.repeated_pairs(frame)]
    both_ways = Rejection(
        "contradiction", "chosen", "the same annotator also prefers the other answer"
    )
    frame = _quarantine_pairs(frame, dedupe.contradicting_pairs(frame), both_ways, quarantine)
    same = Rejection(
        "identical_responses", "rejected", "the answers differ as text, but are the same tokens"
    )
    kept = _quarantine_pairs(frame, tokens.same_tokens(frame), same, quarantine)
    return kept.reset_index(drop=True)


def quarantine_rows(
    frame: pd.DataFrame, bad: pd.Series, table: str, rejection: Rejection, quarantine: Quarantine
) -> pd.DataFrame:
    """Moves the rows marked in `bad` to the quarantine; returns the others."""
    for row in frame[bad].to_dict("records"):
        content = {key: value for key, value in row.items() if key not in PLACE}
        raw = json.dumps(content, ensure_ascii=False)
        origin = Location(str(row["source"]), str(row["source_file"]), int(row["source_line"]))
        quarantine.add(origin, table, rejection, raw)
    return frame[~bad]


def _check_rows(table: str, frame: pd.DataFrame, quarantine: Quarantine) -> pd.DataFrame:
    if table == "prompts":
        answers = Rejection(
            "contradiction", "reference", "the same prompt is given with another reference answer"
        )
        frame = quarantine_rows(
            frame, dedupe.contradicting_references(frame), table, answers, quarantine
        )
        again = Rejection(
            "duplicate_prompt",
            "messages",
            "the same prompt, but for case and spacing, stands earlier",
        )
        return quarantine_rows(frame, dedupe.repeated_prompts(frame), table, again, quarantine)
    same = Rejection("duplicate", "row_id", "the same content stands earlier")
    repeats = dedupe.repeated_ratings(frame) if table == "ratings" else dedupe.repeated(frame)
    frame = quarantine_rows(frame, repeats, table, same, quarantine)
    if table == "ratings":
        grades = Rejection(
            "contradiction", "rating", "the same annotator graded the same answer otherwise"
        )
        frame = quarantine_rows(
            frame, dedupe.contradicting_ratings(frame), table, grades, quarantine
        )
    return frame


def _quarantine_pairs(
    frame: pd.DataFrame, bad: pd.Series, rejection: Rejection, quarantine: Quarantine
) -> pd.DataFrame:
    """Like `quarantine_rows`; each pair is reported under the table that it was derived from."""
    for origin, rows in frame[bad].groupby("origin", sort=True):
        every = pd.Series(True, index=rows.index)
        quarantine_rows(rows, every, str(origin), rejection, quarantine)
    return frame[~bad]
