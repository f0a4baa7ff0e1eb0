"""Detects rows that repeat or contradict each other; every check returns a boolean mask of rows."""

import pandas as pd

from concord.prepared.prompt_keys import prompt_keys


def repeated(frame: pd.DataFrame) -> pd.Series:
    """Rows whose content already occurred in an earlier row, of any source."""
    return frame["row_id"].duplicated()


def repeated_ratings(ratings: pd.DataFrame) -> pd.Series:
    """Like `repeated`, but rankings are compared as a whole.

    The rankings A > B and A > C both contain "A is first" and are still different labels.
    """
    is_repeated, ranked = repeated(ratings), ratings["kind"] == "ranking"
    ranking = ratings.loc[
        ranked, ["source", "source_file", "source_line", "objective", "annotator"]
    ]
    is_repeated[ranked] = (
        is_repeated[ranked]
        .groupby([ranking[name] for name in ranking], sort=False)
        .transform("all")
    )
    return is_repeated


def repeated_prompts(prompts: pd.DataFrame) -> pd.Series:
    """Prompts with the same `prompt_key` as an earlier prompt."""
    return prompt_keys(prompts).duplicated()


def contradicting_references(prompts: pd.DataFrame) -> pd.Series:
    """All copies of a prompt that has different reference answers in different rows."""
    key = pd.DataFrame({"prompt": prompt_keys(prompts)})
    return _has_several_values(key, prompts["reference"].fillna(""))


def contradicting_ratings(ratings: pd.DataFrame) -> pd.Series:
    """All grades of one response, objective and annotator if these grades differ.

    Ranks are ignored: a response can be second in one ranking and first in another.
    """
    key = ratings[["objective", "annotator", "kind", "response"]].assign(
        prompt=prompt_keys(ratings)
    )
    return _has_several_values(key, ratings["rating"]) & (ratings["kind"] != "ranking")


def contradicting_pairs(pairs: pd.DataFrame) -> pd.Series:
    """All preferences of one annotator who prefers a over b and also b over a.

    Both must be on the same prompt and objective. Disagreement between annotators is allowed.
    """
    return _has_several_values(_pair_key(pairs), pairs["chosen"])


def repeated_pairs(pairs: pd.DataFrame) -> pd.Series:
    """Preferences that the same annotator already stated, as a pair or through ratings."""
    return _pair_key(pairs).assign(chosen=pairs["chosen"]).duplicated()


def _pair_key(pairs: pd.DataFrame) -> pd.DataFrame:
    """The columns that identify the two responses of a pair and who judged them."""
    both = pairs[["chosen", "rejected"]]
    key = pairs[["objective", "annotator"]].assign(prompt=prompt_keys(pairs))
    return key.assign(first=both.min(axis=1), second=both.max(axis=1))


def _has_several_values(key: pd.DataFrame, value: pd.Series) -> pd.Series:
    """Rows whose key occurs with more than one distinct value."""
    if key.empty:
        return pd.Series(False, index=key.index)
    return value.groupby([key[name] for name in key.columns], sort=False).transform("nunique") > 1
