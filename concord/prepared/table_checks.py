"""The checks that need the whole of a table, or the tokenizer: each sets rows aside with a reason."""

import json
from collections.abc import Mapping

import pandas as pd

from concord.annotations.quarantine import Place, Quarantine
from concord.annotations.record import Rejection
from concord.prepared import dedupe
from concord.prepared.token_lengths import RESPONSES, Tokens

Tables = Mapping[str, pd.DataFrame]
PLACE = ("source", "source_file", "source_line", "row_id")


def tables(found: Tables, tokens: Tokens, quarantine: Quarantine) -> dict[str, pd.DataFrame]:
    """The tables without rows that repeat or contradict others, or whose answer is too long for the model."""
    kept = {table: _rows(table, frame, quarantine) for table, frame in found.items()}
    for table, columns in RESPONSES.items():
        for column in columns:
            rejection = Rejection(
                "too_long",
                column,
                "the answer exceeds model.max_length with the assistant's header",
            )
            kept[table] = set_aside(
                kept[table], tokens.too_long(kept[table], column), table, rejection, quarantine
            )
    return kept


def pairs(found: pd.DataFrame, tokens: Tokens, quarantine: Quarantine) -> pd.DataFrame:
    """The pairs without those that one annotator also holds the other way round, or that the model cannot tell apart.

    A preference that is stated twice, as a comparison and through ratings, counts once.
    """
    found = found[~dedupe.repeated_pairs(found)]
    both_ways = Rejection(
        "contradiction", "chosen", "the same annotator also prefers the other answer"
    )
    found = _pairs_aside(found, dedupe.contradicting_pairs(found), both_ways, quarantine)
    same = Rejection(
        "identical_responses", "rejected", "the answers differ as text, but are the same tokens"
    )
    return _pairs_aside(found, tokens.same(found), same, quarantine).reset_index(drop=True)


def set_aside(
    frame: pd.DataFrame, bad: pd.Series, table: str, rejection: Rejection, quarantine: Quarantine
) -> pd.DataFrame:
    """The rows that are not `bad`; those that are go to the quarantine."""
    for row in frame[bad].to_dict("records"):
        content = {key: value for key, value in row.items() if key not in PLACE}
        raw = json.dumps(content, ensure_ascii=False)
        place = Place(str(row["source"]), str(row["source_file"]), int(row["source_line"]))
        quarantine.add(place, table, rejection, raw)
    return frame[~bad]


def _rows(table: str, frame: pd.DataFrame, quarantine: Quarantine) -> pd.DataFrame:
    if table == "prompts":
        answers = Rejection(
            "contradiction", "reference", "the same prompt is given with another reference answer"
        )
        frame = set_aside(frame, dedupe.contradicting_references(frame), table, answers, quarantine)
        again = Rejection(
            "duplicate_prompt",
            "messages",
            "the same prompt, but for case and spacing, stands earlier",
        )
        return set_aside(frame, dedupe.repeated_prompts(frame), table, again, quarantine)
    same = Rejection("duplicate", "row_id", "the same content stands earlier")
    repeats = dedupe.repeated_ratings(frame) if table == "ratings" else dedupe.repeated(frame)
    frame = set_aside(frame, repeats, table, same, quarantine)
    if table == "ratings":
        grades = Rejection(
            "contradiction", "rating", "the same annotator graded the same answer otherwise"
        )
        frame = set_aside(frame, dedupe.contradicting_ratings(frame), table, grades, quarantine)
    return frame


def _pairs_aside(
    found: pd.DataFrame, bad: pd.Series, rejection: Rejection, quarantine: Quarantine
) -> pd.DataFrame:
    for origin, rows in found[bad].groupby("origin", sort=True):
        set_aside(rows, pd.Series(True, index=rows.index), str(origin), rejection, quarantine)
    return found[~bad]
