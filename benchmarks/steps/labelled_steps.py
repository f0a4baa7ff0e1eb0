"""Solutions with labelled steps out of a file in any format, read as the stages read it, for measuring on it."""

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
"""Format -> the option that picks the rows of one kind, and the kinds: each is read as a source of its own, since the
tables do not tell them."""
EMPTY = schemas.build("steps", []).assign(kind="")
NUMBER = re.compile(r"^\s*(step\s*)?\d+\s*[.:)]\s*", re.IGNORECASE)


def solutions(source: str, path: str, objective: str) -> pd.DataFrame:
    """One row per solution whose steps are labelled for `objective`: kind, place (file and line), group_id, messages,
    steps, gold (steps,), wrong.

    `gold` is a label in [0, 1], NaN where nobody judged, and a solution is wrong where a step is. Raises DataError
    where no step is labelled for the objective.
    """
    read = [
        tables(kind, source, path, options)["steps"].assign(kind=kind)
        for kind, options in _choices(source, path, objective)
    ]
    table = pd.concat([EMPTY, *read], ignore_index=True)
    if (own := table[table["objective"] == objective]).empty:
        others = sorted(set(table["objective"]))
        raise DataError(
            f"{path} labels no step for the objective {objective} (but for {', '.join(others) or 'none'}), so there is "
            "nothing to measure scores of steps on; give a file with step labels, or one of its objectives"
        )
    gold = [np.array(labels, dtype=float) for labels in own["labels"]]
    return pd.DataFrame(
        {
            "kind": own["kind"],
            "place": own["kind"] + " " + own["source_file"] + " " + own["source_line"].astype(str),
            "group_id": own["group_id"].str.partition("/")[
                2
            ],  # without the kind: kinds share questions
            "messages": own["messages"],
            "steps": own["steps"],
            "gold": gold,
            "wrong": [first_error(each) >= 0 for each in gold],
        }
    ).reset_index(drop=True)


def _choices(source: str, path: str, objective: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The kinds of rows that a file holds, each with the options that read it."""
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
        own = {**options, option: [kind]}
        if any(record.row is not None for record in reader.read(source, Path(path), own, {})):
            yield kind, own
        else:
            print(f"{kind}: no rows that can be read")


def pairs(table: pd.DataFrame) -> np.ndarray:
    """Rows (n, 2) of a right and a wrong solution that one line of a file holds both of, as in PRMBench."""
    found = [
        (own.index[~own["wrong"]][0], own.index[own["wrong"]][0])
        for _, own in table.groupby("place", sort=False)
        if len(own) == 2 and own["wrong"].sum() == 1
    ]
    return np.array(found, dtype=int).reshape(-1, 2)


def copied(steps: Sequence[str], original: Sequence[str]) -> np.ndarray:
    """bool (steps,): whether the step stands in the original solution too, but for its number and spacing."""
    known = {_bare(step) for step in original}
    return np.array([_bare(step) in known for step in steps])


def _bare(step: str) -> str:
    return " ".join(NUMBER.sub("", step).split())
