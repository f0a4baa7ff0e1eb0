"""Keys of the labels, by which a later run knows which of its labels are new.

A key is four bytes of a hash of the label's content: prompt, answers, objective, annotator and what
was said. A label that was changed is a new one. With n known labels, a new one is taken for a known
one with probability n / 2^32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from concord.prepared.prompt_keys import prompt_keys
from concord.prepared.splits import SPLITS
from concord.stage import outputs

TABLES = ("pairs", "ratings", "steps")
"""The prepared tables with labels."""
PAIR = ("objective", "annotator", "chosen", "rejected")
"""With the prompt, the content of a pair."""


def read_labels(prepared: Path) -> dict[str, pd.DataFrame]:
    """Table -> its labels of all splits, from the folder of the prepared data."""
    return {
        table: pd.concat(
            [outputs.read_table(prepared / table / f"{split}.parquet") for split in SPLITS],
            ignore_index=True,
        )
        for table in TABLES
    }


def label_keys(table: pd.DataFrame) -> np.ndarray:
    """The key of each row of pairs, ratings or steps, `(rows,)`, unsigned 32-bit integers."""
    if "row_id" in table:
        contents = table["row_id"]
    else:
        columns = [prompt_keys(table), *(table[name] for name in PAIR)]
        contents = pd.Series(["\0".join(row) for row in zip(*columns, strict=True)], dtype=object)
    digests = (hashlib.sha256(content.encode("utf-8", "surrogatepass")) for content in contents)
    return np.array([int.from_bytes(each.digest()[:4], "big") for each in digests], dtype="uint32")


def all_keys(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The keys of all labels, sorted, as a table with the column `key`."""
    keys = [label_keys(tables[table]) for table in TABLES]
    return pd.DataFrame({"key": np.unique(np.concatenate(keys))})


def divide(
    tables: Mapping[str, pd.DataFrame], known: np.ndarray
) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """The labels whose keys are in `known`, `(labels,)`, and the other ones, by table."""
    old, new = {}, {}
    for name in TABLES:
        is_known = np.isin(label_keys(tables[name]), known)
        old[name] = tables[name][is_known].reset_index(drop=True)
        new[name] = tables[name][~is_known].reset_index(drop=True)
    return old, new
