"""Ratings and pairs of a source, cleaned as in the stages, and folds by group."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.steps import sources
from concord.annotations import reader
from concord.annotations.formats.mrbench import DIMENSIONS
from concord.annotations.quarantine import Quarantine
from concord.evaluation.rewards import baselines
from concord.prepared import labels, near_duplicates, pairs, splits
from concord.prepared import table_checks as clean
from concord.prepared.token_lengths import Tokens
from concord.stage.errors import DataError

MAX_LENGTH = 512
SIMILARITY = 0.8
"""Minimum similarity of near duplicates (`concord.prepared.near_duplicates`)."""
NAMES = "order of names"
"""Salt of the order in which merged groups take a name: another one than that of the folds."""
OPTIONS: dict[str, dict[str, Any]] = {"mrbench": {"objectives": list(DIMENSIONS)}}
"""Format -> options with which it is read. All other formats have none."""


@dataclass
class Data:
    """Ratings and pairs of a source without duplicates and contradictions."""

    ratings: pd.DataFrame
    pairs: pd.DataFrame
    """Comparisons, and the pairs that the ratings imply."""

    @property
    def names(self) -> list[str]:
        """The objectives with pairs."""
        return sorted(set(self.pairs["objective"]))

    @property
    def groups(self) -> set[str]:
        """The questions or dialogues."""
        return {*self.ratings["group_id"], *self.pairs["group_id"]}

    @property
    def authors(self) -> list[str]:
        """The known authors of answers, in alphabetical order."""
        columns = [self.ratings["author"], *(self.pairs[name] for name in pairs.AUTHORS)]
        return sorted(set(pd.concat(columns).dropna()))

    def labels(self, way: str) -> pd.DataFrame:
        """The table of labels: as `given`, or the `implied_pairs`."""
        if way == "given":
            return labels.collect(self.pairs, self.ratings)
        return labels.from_pairs(self.pairs)

    def of(self, groups: set[str]) -> Data:
        """The rows of these groups."""
        return Data(
            *(frame[frame["group_id"].isin(groups)] for frame in (self.ratings, self.pairs))
        )

    def first(self, count: int) -> Data:
        """The rows of the first `count` groups, in the order of their hash."""
        order = sorted(self.groups, key=lambda group: splits.position(group, "first"))
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
    options = _needed_options(name, path) | ({"answers": answers} if answers else {})
    tables = sources.tables(name, name, path, options)
    groups = merged(tables)
    quarantine, tokens = Quarantine(), Tokens(tokenizer, MAX_LENGTH)
    cleaned = clean.tables(
        {table: splits.regroup(frame, groups) for table, frame in tables.items()},
        tokens,
        quarantine,
    )
    ratings = cleaned["ratings"]
    stated = pairs.from_comparisons(cleaned["comparisons"])
    every = pd.concat([stated, pairs.from_ratings(ratings)], ignore_index=True)
    every = clean.pairs(every, tokens, quarantine)
    compared = int((every["origin"] == "comparisons").sum())
    print(
        f"{len(ratings)} ratings, {compared} stated and {len(every) - compared} implied pairs; "
        f"quarantined: {quarantine.by_reason()}"
    )
    if every.empty:
        raise DataError(
            f"{path} has no ratings that differ and no pairs, so there is nothing to predict; "
            "give a file with comparisons or ratings"
        )
    return Data(ratings, every)


def _needed_options(name: str, path: str) -> dict[str, Any]:
    """Options of the format that it cannot be read without, such as the name of its objective."""
    options = OPTIONS.get(name, {})
    for field in dataclasses.fields(reader.options_of(name, Path(path))):
        if field.name == "objective" and field.default is dataclasses.MISSING:
            options = {**options, "objective": "better"}
    return options


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
    same_prompt = splits.merge_groups(tables.values(), NAMES)
    near = [{groups[link.one], groups[link.other]} for link in links]
    equal = [{group, first} for group, first in same_prompt.items()]
    return splits.join_groups([*equal, *near], NAMES)


def folds(data: Data, count: int) -> Iterator[tuple[Data, Data]]:
    """Training and test data of each fold; a group is in exactly one test fold."""
    fold_of = {group: int(splits.position(group, "folds") * count) for group in data.groups}
    for fold in range(count):
        test = {group for group, number in fold_of.items() if number == fold}
        yield data.of(set(fold_of) - test), data.of(test)
