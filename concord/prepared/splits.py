"""Splits by group: a prompt or dialogue lies in one split as a whole, in every table, whatever else there is.

Where a group goes depends on its own name and the salt alone. Groups that turn out to share a prompt, or to have near
duplicates, become one, which is named by, and goes where, the most held-out of them was: so new data may take rows out
of training, and never moves a row that was held out into it.
"""

import hashlib
from collections.abc import Iterable, Mapping

import pandas as pd

from concord.prepared.dedupe import prompt_keys
from concord.prepared.union_find import Partition

SPLITS = ("train", "validation", "test")


def position(group: str, salt: str) -> float:
    """Where a group lies in [0, 1): uniform over groups, and always the same."""
    digest = hashlib.sha256(f"{salt}{group}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def split_of(group: str, salt: str, validation: float, test: float) -> str:
    """The split of a group, given the shares of validation and test."""
    place = position(group, salt)
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"


def divide(
    frame: pd.DataFrame, salt: str, validation: float, test: float
) -> dict[str, pd.DataFrame]:
    """A table by split, rows in their order."""
    names = frame["group_id"].map(
        {group: split_of(group, salt, validation, test) for group in set(frame["group_id"])}
    )
    return {split: frame[names == split].reset_index(drop=True) for split in SPLITS}


def merge_groups(frames: Iterable[pd.DataFrame], salt: str) -> dict[str, str]:
    """Group -> the group that it belongs to once groups with a prompt in common are one (the first by position)."""
    members: dict[str, set[str]] = {}
    for frame in frames:
        for group, key in zip(frame["group_id"], prompt_keys(frame), strict=True):
            members.setdefault(key, set()).add(group)
    return join(members.values(), salt)


def join(sets: Iterable[Iterable[str]], salt: str) -> dict[str, str]:
    """Group -> the first by position of all that it is one with, once the groups of each set are one."""
    joined: Partition[str] = Partition()
    for members in sets:
        roots = sorted(
            {joined.root(member) for member in members},
            key=lambda group: (position(group, salt), group),
        )
        joined.join(roots[0], roots)
    return joined.roots()


def regroup(frame: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """The table with merged groups."""
    return frame.assign(group_id=frame["group_id"].map(groups).astype(object))
