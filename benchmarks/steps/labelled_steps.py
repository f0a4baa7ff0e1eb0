"""Reads solutions with labelled steps from a file in any source format."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.steps.sources import tables
from concord.annotations import reader, schemas
from concord.annotations.formats.mr_gsm8k import TYPES
from concord.annotations.formats.prmbench import CLASSES, WITHOUT_ERRORS
from concord.evaluation.rewards.step_quality import first_error
from concord.stage.errors import DataError

KINDS: dict[str, tuple[str, list[str]]] = {
    "prmbench": ("classes", [name for name in CLASSES if name != WITHOUT_ERRORS]),
    "mr_gsm8k": ("types", list(TYPES)),
}
"""Format -> the option that selects rows of one kind, and the kinds.

Each kind is read as a separate source, because the tables have no column for it."""
EMPTY = schemas.build("steps", []).assign(kind="")
NUMBER = re.compile(r"^\s*(step\s*)?\d+\s*[.:)]\s*", re.IGNORECASE)


def solutions(source: str, path: str, objective: str) -> pd.DataFrame:
    """One row per solution with step labels for `objective`.

    The columns are kind, place (file and line), group_id, messages, steps, gold (steps,) and wrong.
    `gold` is a label in [0, 1], or NaN for an unlabelled step. A solution is wrong if one of its
    steps is. Raises DataError if no step is labelled for the objective.
    """
    read = [
        tables(kind, source, path, options)["steps"].assign(kind=kind)
        for kind, options in _choices(source, path, objective)
    ]
    table = pd.concat([EMPTY, *read], ignore_index=True)
    if (labelled := table[table["objective"] == objective]).empty:
        others = sorted(set(table["objective"]))
        raise DataError(
            f"{path} has no step labels for the objective {objective} "
            f"(it has labels for: {', '.join(others) or 'none'}). "
            "Give a file with step labels, or one of its objectives."
        )
    gold = [np.array(labels, dtype=float) for labels in labelled["labels"]]
    return pd.DataFrame(
        {
            "kind": labelled["kind"],
            "place": labelled["kind"]
            + " "
            + labelled["source_file"]
            + " "
            + labelled["source_line"].astype(str),
            "group_id": labelled["group_id"],
            "messages": labelled["messages"],
            "steps": labelled["steps"],
            "gold": gold,
            "wrong": [first_error(each) >= 0 for each in gold],
        }
    ).reset_index(drop=True)


def _choices(source: str, path: str, objective: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The kinds of rows in a file, each with the options that select it."""
    named = any(
        field.name == "objective"
        for field in dataclasses.fields(reader.options_of(source, Path(path)))
    )
    options: dict[str, Any] = {"objective": objective} if named else {}
    if source not in KINDS:
        yield source, options
        return
    option, kinds = KINDS[source]
    for kind in kinds:
        selected = {**options, option: [kind]}
        if any(record.row is not None for record in reader.read(source, Path(path), selected, {})):
            yield kind, selected
        else:
            print(f"{kind}: no readable rows")


def pairs(table: pd.DataFrame) -> np.ndarray:
    """Row numbers (n, 2) of a correct and an incorrect solution from one line, as in PRMBench."""
    numbers = [
        (line.index[~line["wrong"]][0], line.index[line["wrong"]][0])
        for _, line in table.groupby("place", sort=False)
        if len(line) == 2 and line["wrong"].sum() == 1
    ]
    return np.array(numbers, dtype=int).reshape(-1, 2)


def copied(steps: Sequence[str], original: Sequence[str]) -> np.ndarray:
    """Whether each step is in the original too, up to numbering and spacing: bool (steps,)."""
    known = {_bare(step) for step in original}
    return np.array([_bare(step) in known for step in steps])


def _bare(step: str) -> str:
    return " ".join(NUMBER.sub("", step).split())
