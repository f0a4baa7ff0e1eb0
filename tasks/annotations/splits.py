"""Splits by group: a prompt or dialogue lies in one split as a whole, in every table, whatever else there is.

Where a group goes depends on its own name and the salt alone, so that new data never moves old rows.
"""

import hashlib
from collections.abc import Iterable, Mapping

import pandas as pd

from tasks.annotations.dedupe import prompt_keys

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


def divide(frame: pd.DataFrame, salt: str, validation: float, test: float) -> dict[str, pd.DataFrame]:
    """A table by split, rows in their order."""
    names = frame["group_id"].map({group: split_of(group, salt, validation, test) for group in set(frame["group_id"])})
    return {split: frame[names == split].reset_index(drop=True) for split in SPLITS}


def merge_groups(frames: Iterable[pd.DataFrame]) -> dict[str, str]:
    """Group -> the group that it belongs to once groups with a prompt in common are one (the first by name)."""
    members: dict[str, set[str]] = {}
    for frame in frames:
        for group, key in zip(frame["group_id"], prompt_keys(frame), strict=True):
            members.setdefault(key, set()).add(group)
    return _components(members.values())


def regroup(frame: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """The table with merged groups."""
    return frame.assign(group_id=frame["group_id"].map(groups).astype(object))


def _components(sets: Iterable[set[str]]) -> dict[str, str]:
    parent: dict[str, str] = {}

    def root(group: str) -> str:
        while parent.setdefault(group, group) != group:
            parent[group] = group = parent[parent[group]]
        return group

    for members in sets:
        roots = sorted({root(member) for member in members})
        parent.update(dict.fromkeys(roots, roots[0]))
    return {group: root(group) for group in list(parent)}
