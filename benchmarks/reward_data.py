"""Grades of a source, read and cleaned as the stages do, the pairs that they imply, and folds of both by group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmarks.steps import sources
from concord.annotations.formats.mrbench import DIMENSIONS
from concord.annotations.quarantine import Quarantine
from concord.evaluation.rewards import baselines
from concord.prepared import near_duplicates, pairs, splits
from concord.prepared import table_checks as clean
from concord.prepared.token_lengths import Tokens

INNER = 0.2
"""Share of the training groups on which is chosen."""
MAX_LENGTH = 512
SIMILARITY = 0.8
"""Of prompts that are near duplicates (`concord.prepared.near_duplicates`)."""
OPTIONS: dict[str, dict[str, Any]] = {
    "truthfulqa": {},
    "mrbench": {"objectives": list(DIMENSIONS)},
    "gsm8k": {},
}


@dataclass
class Data:
    """What a source holds, without what repeats or contradicts: grades, and the pairs that they imply."""

    ratings: pd.DataFrame
    pairs: pd.DataFrame

    @property
    def names(self) -> list[str]:
        """The objectives that were graded."""
        return sorted(set(self.ratings["objective"]))

    def of(self, groups: set[str]) -> Data:
        """What lies in these groups."""
        return Data(
            *(frame[frame["group_id"].isin(groups)] for frame in (self.ratings, self.pairs))
        )

    def first(self, count: int) -> Data:
        """What lies in so many groups, the first by hash."""
        order = sorted(
            set(self.ratings["group_id"]), key=lambda group: splits.position(group, "first")
        )
        return self.of(set(order[:count]))

    def on(self, name: str) -> Data:
        """What says something of this objective."""
        return Data(*(frame[frame["objective"] == name] for frame in (self.ratings, self.pairs)))

    def by(self, authors: set[str]) -> Data:
        """What these authors wrote."""
        return Data(
            self.ratings[self.ratings["author"].isin(authors)],
            baselines.within(self.pairs, authors),
        )


def load(name: str, path: str, tokenizer: Any, answers: int | None) -> Data:
    """The source, read and cleaned as the stages do."""
    tables = sources.tables(
        name, name, path, OPTIONS[name] | ({"answers": answers} if answers else {})
    )
    groups = merged(tables)
    aside, tokens = Quarantine(), Tokens(tokenizer, MAX_LENGTH)
    found = clean.tables(
        {table: splits.regroup(frame, groups) for table, frame in tables.items()}, tokens, aside
    )
    ratings = found["ratings"]
    made = clean.pairs(pairs.from_ratings(ratings), tokens, aside)
    print(f"{len(ratings)} grades, {len(made)} implied pairs; set aside: {aside.by_reason()}")
    return Data(ratings, made)


def merged(tables: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Group -> the group that it is one with, since they share a prompt or have near duplicates."""
    asked = pd.concat(tables.values()).drop_duplicates("group_id")
    alike = near_duplicates.links(
        asked["group_id"].tolist(),
        [near_duplicates.plain(messages) for messages in asked["messages"]],
        SIMILARITY,
    )
    places = asked["group_id"].tolist()
    print(f"{len(alike)} pairs of groups have near duplicates")
    same = splits.merge_groups(tables.values(), "folds")
    pairs_of = [{places[link.one], places[link.other]} for link in alike]
    together = [{group, first} for group, first in same.items()]
    return splits.join([*together, *pairs_of], "folds")


def folds(data: Data, count: int) -> Iterator[tuple[Data, Data]]:
    """Training and test data of each fold; groups lie in one fold."""
    place = {
        group: int(splits.position(group, "folds") * count)
        for group in set(data.ratings["group_id"])
    }
    for fold in range(count):
        test = {group for group, own in place.items() if own == fold}
        yield data.of(set(place) - test), data.of(test)
