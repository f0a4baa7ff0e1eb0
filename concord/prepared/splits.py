"""Splits by group: all rows of a prompt or dialogue are in the same split, in every table.

The split of a group depends only on its name and the salt. Unless the annotations name a group, it
is named after its prompt, so one prompt is in the same split whichever source it comes from. Groups
that share a prompt or contain near duplicates are merged. The merged group takes the name, and so
the split, of its most held-out member: test before validation before train. New data can merge
groups but never divide one, so a row that was held out is never trained on later: appended rows
move other rows only from train to validation or test, or from validation to test. The cost is that
merged groups are held out more often than asked.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas as pd

from concord.prepared import near_duplicates
from concord.prepared.prompt_keys import prompt_keys
from concord.prepared.union_find import Partition

SPLITS = ("train", "validation", "test")
Parts = Mapping[str, Mapping[str, pd.DataFrame]]
"""Table -> split -> the rows of the table in this split."""
CHANCE = 1e-3
"""The size of a split differs from what was asked if prompts that are drawn one by one would differ
as much with this probability."""


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
    """Merges groups that share a prompt; see `join_groups` for `salt` and the result."""
    members: dict[str, set[str]] = {}
    for frame in frames:
        for group, key in zip(frame["group_id"], prompt_keys(frame), strict=True):
            members.setdefault(key, set()).add(group)
    return join_groups(members.values(), salt)


def join_groups(sets: Iterable[Iterable[str]], salt: str) -> dict[str, str]:
    """Merges the groups within each set, transitively.

    Returns group -> merged group. It is named after the member with the smallest `position`, which
    is the most held-out one under any shares of validation and test. `salt` is that of the splits.
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


def sizes(
    prompts: Mapping[str, int], groups: Mapping[str, int], validation: float, test: float
) -> dict[str, dict[str, Any]]:
    """The size of each split beside the share that was asked.

    Args:
        prompts: split -> number of its distinct prompts.
        groups: split -> number of its groups.
        validation: share of validation, as asked.
        test: share of test, as asked.

    Returns split -> `asked` and `got`, shares of the prompts; `prompts` and `groups`, counts; and
    `by_chance`, whether drawing prompts one by one could easily give this size (`CHANCE`).
    """
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    asked = {"train": 1 - validation - test, "validation": validation, "test": test}
    total = sum(prompts.values())
    return {
        split: {
            "asked": asked[split],
            "got": prompts[split] / total,
            "prompts": prompts[split],
            "groups": groups[split],
            "by_chance": bool(binomtest(prompts[split], total, asked[split]).pvalue >= CHANCE),
        }
        for split in SPLITS
    }


def size_lines(report: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The sizes for the terminal, and a warning for each held-out split that differs by more than
    chance.
    """
    shares = [
        f"{split} {entry['prompts']} ({entry['got']:.1%}, asked {entry['asked']:.1%})"
        for split, entry in report.items()
    ]
    warnings = [
        f"warning: prepare.{split} asks for {entry['asked']:.1%} of the prompts, and the split has "
        f"{entry['got']:.1%}, which is more than chance. A group cannot be divided, so few groups "
        f"with many prompts each, here {entry['groups']} groups with {entry['prompts']} prompts, "
        "give uneven splits; and groups that are merged are held out if one of them is. Give "
        "smaller groups, name the group of a prompt alike in all sources, or change the share"
        for split, entry in report.items()
        if split != "train" and not entry["by_chance"]
    ]
    return [f"prompts by split: {', '.join(shares)}", *warnings]
