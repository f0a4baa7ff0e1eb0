"""Rows that repeat or contradict each other."""

import hashlib
import json
import unicodedata
from collections.abc import Sequence

import pandas as pd


def normalise(text: str) -> str:
    """Text without what hardly changes its meaning: case, spacing, forms of the same character."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def prompt_key(messages: Sequence[dict[str, str]]) -> str:
    """Equal for prompts that ask the same: a hash of the normalised turns, without the system's."""
    turns = [
        [turn["role"], normalise(turn["content"])] for turn in messages if turn["role"] != "system"
    ]
    return hashlib.sha256(json.dumps(turns).encode()).hexdigest()[:16]


def prompt_keys(frame: pd.DataFrame) -> pd.Series:
    """`prompt_key` of each row."""
    return frame["messages"].map(prompt_key).astype(object)


def repeated(frame: pd.DataFrame) -> pd.Series:
    """Rows whose content stands in an earlier row, of this source or another."""
    return frame["row_id"].duplicated()


def repeated_ratings(ratings: pd.DataFrame) -> pd.Series:
    """Like `repeated`, but a ranking repeats only where all of it does: A over B and A over C say two things."""
    again, ranked = repeated(ratings), ratings["kind"] == "ranking"
    place = ratings.loc[ranked, ["source", "source_file", "source_line", "objective", "annotator"]]
    again[ranked] = (
        again[ranked].groupby([place[name] for name in place], sort=False).transform("all")
    )
    return again


def repeated_prompts(prompts: pd.DataFrame) -> pd.Series:
    """Prompts that ask what an earlier one asks."""
    return prompt_keys(prompts).duplicated()


def contradicting_references(prompts: pd.DataFrame) -> pd.Series:
    """Prompts that ask the same and name different right answers: all of them, since nobody knows which is right."""
    return _several(pd.DataFrame({"prompt": prompt_keys(prompts)}), prompts["reference"].fillna(""))


def contradicting_ratings(ratings: pd.DataFrame) -> pd.Series:
    """Grades that one annotator gave to one answer on one objective, and that differ: all of them.

    Ranks are left out: an answer may well be second among these and first among those.
    """
    key = ratings[["objective", "annotator", "kind", "response"]].assign(
        prompt=prompt_keys(ratings)
    )
    return _several(key, ratings["rating"]) & (ratings["kind"] != "ranking")


def contradicting_pairs(pairs: pd.DataFrame) -> pd.Series:
    """Preferences of one annotator for a over b and for b over a, on one objective of one prompt: all of them.

    Annotators who disagree with each other contradict nobody: that is what the labels are for.
    """
    return _several(_pair_key(pairs), pairs["chosen"])


def repeated_pairs(pairs: pd.DataFrame) -> pd.Series:
    """Preferences that one annotator stated before, as another pair or through ratings."""
    return _pair_key(pairs).assign(chosen=pairs["chosen"]).duplicated()


def _pair_key(pairs: pd.DataFrame) -> pd.DataFrame:
    both = pairs[["chosen", "rejected"]]
    key = pairs[["objective", "annotator"]].assign(prompt=prompt_keys(pairs))
    return key.assign(first=both.min(axis=1), second=both.max(axis=1))


def _several(key: pd.DataFrame, value: pd.Series) -> pd.Series:
    """Rows whose key occurs with more than one value."""
    if key.empty:
        return pd.Series(False, index=key.index)
    return value.groupby([key[name] for name in key.columns], sort=False).transform("nunique") > 1
