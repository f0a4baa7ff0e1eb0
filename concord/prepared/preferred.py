"""Demonstrations for sources that have none: the answers that people preferred."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from concord.annotations import schemas
from concord.annotations.interchange import content_hash
from concord.objectives import Objective
from concord.prepared.prompt_keys import prompt_keys

NAME = "preferred"
"""Author of a demonstration whose author is unknown."""


def preferred_answers(pairs: pd.DataFrame, objectives: Mapping[str, Objective]) -> pd.DataFrame:
    """The answers that more pairs prefer than reject, over all objectives, as demonstrations.

    Args:
        pairs: the table of pairs, of comparisons and those that ratings imply.
        objectives: all objectives; their domains become those of the demonstrations.

    Returns:
        The table `demonstrations`, with one row per prompt and answer.
    """
    sides = []
    for side, vote in (("chosen", 1), ("rejected", -1)):
        sides.append(
            pairs.assign(
                vote=vote,
                prompt=prompt_keys(pairs),
                response=pairs[side],
                author=pairs[f"{side}_author"].fillna(NAME),
                domain=[objectives[name].domain for name in pairs["objective"]],
            )
        )
    answers = pd.concat(sides, ignore_index=True)
    key = ["prompt", "response"]
    votes = answers.groupby(key, sort=False)["vote"].transform("sum")
    rows = answers[(votes > 0) & (answers["vote"] > 0)].drop_duplicates(key)
    contents = zip(rows["messages"], rows["response"], strict=True)
    rows = rows.assign(row_id=[content_hash(*content) for content in contents])
    return schemas.typed("demonstrations", rows.reset_index(drop=True))
