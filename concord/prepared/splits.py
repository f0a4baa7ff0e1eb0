"""Splits by group: all rows of a prompt or dialogue are in the same split, in every table.

The split of a group depends only on its name and the salt. Groups that share a prompt or contain
near duplicates are merged. The merged group takes the name, and therefore the split, of its first
member in the order test, validation, train. New data can thus remove rows from training, but never
moves a held-out row into training.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas as pd

from concord.prepared import near_duplicates
from concord.prepared.dedupe import prompt_keys
from concord.prepared.union_find import Partition

SPLITS = ("train", "validation", "test")
Parts = Mapping[str, Mapping[str, pd.DataFrame]]
"""Table -> split -> the rows of the table in this split."""


def position(group: str, salt: str) -> float:
    """A number in [0, 1) that is uniform over groups and always the same for one group."""
    digest = hashlib.sha256(f"{salt}{group}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def split_of(group: str, salt: str, validation: float, test: float) -> str:
    """The split of a group, given the shares of validation and test."""
    value = position(group, salt)
    if value < test:
        return "test"
    return "validation" if value < test + validation else "train"


def divide(
    frame: pd.DataFrame,
    salt: str,
    validation: float,
    test: float,
    test_only: Collection[str] = (),
) -> dict[str, pd.DataFrame]:
    """Divides a table by split and keeps the order of its rows.

    The groups in `test_only` are in the test split, whatever their name says.
    """
    names = frame["group_id"].map(
        {
            group: "test" if group in test_only else split_of(group, salt, validation, test)
            for group in set(frame["group_id"])
        }
    )
    return {split: frame[names == split].reset_index(drop=True) for split in SPLITS}


def test_only_groups(
    tables: Mapping[str, pd.DataFrame], sources: Collection[str]
) -> tuple[set[str], dict[str, dict[str, int]]]:
    """The groups of test-only sources, and what they hold out of the other sources.

    Returns the groups and, by test-only source, `groups` (their number), `shared_groups` (those
    that also have rows of other sources) and `other_rows` (the number of these rows).
    """
    rows = pd.concat(
        [frame[["group_id", "source"]] for frame in tables.values()], ignore_index=True
    )
    of_test = rows["source"].isin(list(sources))
    others = rows.loc[~of_test, "group_id"].value_counts()
    report = {}
    for source in sorted(sources):
        groups = set(rows.loc[rows["source"] == source, "group_id"])
        shared = others[others.index.isin(groups)]
        report[source] = {
            "groups": len(groups),
            "shared_groups": len(shared),
            "other_rows": int(shared.sum()),
        }
    return set(rows.loc[of_test, "group_id"]), report


def merge_groups(frames: Iterable[pd.DataFrame], salt: str) -> dict[str, str]:
    """Merges groups that share a prompt; see `join_groups` for the result."""
    members: dict[str, set[str]] = {}
    for frame in frames:
        for group, key in zip(frame["group_id"], prompt_keys(frame), strict=True):
            members.setdefault(key, set()).add(group)
    return join_groups(members.values(), salt)


def join_groups(sets: Iterable[Iterable[str]], salt: str) -> dict[str, str]:
    """Merges the groups within each set, transitively.

    Returns group -> merged group, which is named after its member with the lowest `position`.
    """
    joined: Partition[str] = Partition()
    for members in sets:
        roots = sorted(
            {joined.root(member) for member in members},
            key=lambda group: (position(group, salt), group),
        )
        joined.join(roots[0], roots)
    return joined.roots()


def regroup(frame: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """The table with the names of merged groups."""
    return frame.assign(group_id=frame["group_id"].map(groups).astype(object))


def regroup_all(
    tables: Mapping[str, pd.DataFrame], groups: Mapping[str, str]
) -> dict[str, pd.DataFrame]:
    """All tables with the names of merged groups."""
    return {table: regroup(frame, groups) for table, frame in tables.items()}


def merge_near_duplicates(
    tables: Mapping[str, pd.DataFrame],
    domains: Mapping[str, str],
    similarity: float,
    salt: str,
    validation: float,
    test: float,
) -> tuple[dict[str, pd.DataFrame], dict[str, Any], dict[str, int]]:
    """Merges groups with near-duplicate prompts.

    Args:
        tables: the prepared tables.
        domains: objective -> its domain.
        similarity: the Jaccard similarity from which prompts are near duplicates.
        salt: the salt of the splits.
        validation: share of the groups in the validation split.
        test: share of the groups in the test split.

    Returns the tables, the report on near duplicates, and for each held-out split the number of
    prompts with a near duplicate in train before the merge. Raises DataError if most prompts of a
    domain would be in one group.
    """
    prompts = near_duplicates.prompts(tables, domains)
    distinct = prompts.drop_duplicates("prompt")
    group_ids, texts = list(distinct["group_id"]), list(distinct["text"])
    links = near_duplicates.find_links(group_ids, texts, similarity)
    singles = [[group] for group in group_ids]
    linked = [[group_ids[link.one], group_ids[link.other]] for link in links]
    groups = join_groups([*singles, *linked], salt)
    near_duplicates.check_group_sizes(prompts, groups, similarity)
    before = [split_of(group, salt, validation, test) for group in group_ids]
    report = near_duplicates.report(texts, links, similarity, groups)
    return regroup_all(tables, groups), report, near_duplicates.count_near_train(links, before)
