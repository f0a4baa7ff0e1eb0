"""Ratings of a source, cleaned as in the stages, the pairs they imply, and folds by group."""

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
"""Share of the training groups used for choosing hyperparameters."""
MAX_LENGTH = 512
SIMILARITY = 0.8
"""Minimum similarity of near duplicates (`concord.prepared.near_duplicates`)."""
OPTIONS: dict[str, dict[str, Any]] = {
    "truthfulqa": {},
    "mrbench": {"objectives": list(DIMENSIONS)},
    "gsm8k": {},
}


@dataclass
class Data:
    """Ratings of a source without duplicates and contradictions, and the pairs they imply."""

    ratings: pd.DataFrame
    pairs: pd.DataFrame

    @property
    def names(self) -> list[str]:
        """The rated objectives."""
        return sorted(set(self.ratings["objective"]))

    def of(self, groups: set[str]) -> Data:
        """The rows of these groups."""
        return Data(
            *(frame[frame["group_id"].isin(groups)] for frame in (self.ratings, self.pairs))
        )

    def first(self, count: int) -> Data:
        """The rows of the first `count` groups, in the order of their hash."""
        order = sorted(
            set(self.ratings["group_id"]), key=lambda group: splits.position(group, "first")
        )
        return self.of(set(order[:count]))

    def on(self, name: str) -> Data:
        """The rows of one objective."""
        return Data(*(frame[frame["objective"] == name] for frame in (self.ratings, self.pairs)))

    def by(self, authors: set[str]) -> Data:
        """The rows whose answers these authors wrote."""
        return Data(
            self.ratings[self.ratings["author"].isin(authors)],
            baselines.within(self.pairs, authors),
        )


def load(name: str, path: str, tokenizer: Any, answers: int | None) -> Data:
    """Reads and cleans a source as the stages do."""
    tables = sources.tables(
        name, name, path, OPTIONS[name] | ({"answers": answers} if answers else {})
    )
    groups = merged(tables)
    quarantine, tokens = Quarantine(), Tokens(tokenizer, MAX_LENGTH)
    cleaned = clean.tables(
        {table: splits.regroup(frame, groups) for table, frame in tables.items()},
        tokens,
        quarantine,
    )
    ratings = cleaned["ratings"]
    implied = clean.pairs(pairs.from_ratings(ratings), tokens, quarantine)
    print(
        f"{len(ratings)} ratings, {len(implied)} implied pairs; "
        f"quarantined: {quarantine.by_reason()}"
    )
    return Data(ratings, implied)


def merged(tables: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Group -> merged group. Groups with equal or nearly equal prompts are merged."""
    prompts = pd.concat(tables.values()).drop_duplicates("group_id")
    links = near_duplicates.find_links(
        prompts["group_id"].tolist(),
        [near_duplicates.comparison_text(messages) for messages in prompts["messages"]],
        SIMILARITY,
    )
    groups = prompts["group_id"].tolist()
    print(f"{len(links)} pairs of groups have nearly equal prompts")
    same_prompt = splits.merge_groups(tables.values(), "folds")
    near = [{groups[link.one], groups[link.other]} for link in links]
    equal = [{group, first} for group, first in same_prompt.items()]
    return splits.join_groups([*equal, *near], "folds")


def folds(data: Data, count: int) -> Iterator[tuple[Data, Data]]:
    """Training and test data of each fold; a group is in exactly one test fold."""
    fold_of = {
        group: int(splits.position(group, "folds") * count)
        for group in set(data.ratings["group_id"])
    }
    for fold in range(count):
        test = {group for group, number in fold_of.items() if number == fold}
        yield data.of(set(fold_of) - test), data.of(test)
