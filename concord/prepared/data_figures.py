"""Figures of the prepared data that a later run is compared with, in small form.

A figure is a mean with its standard error, clustered by group of prompts. `kind` says which margin
of the gate `data` it has:

- `labels`: how often the longer answer is preferred; how often an answer with a word is preferred
  to one without it, for the `WORDS` words that tell most pairs apart; the mean rating; the mean
  label of a step. Flipped labels of an objective change its shares p to 1 - p.
- `coverage`: the share of an objective among the pairs of its domain.
- `agreement`: how often two annotators of the same answers agree.
- `quarantine`: the share of the rows that were quarantined, per source and over all.
- `length`: the mean logarithm of the number of characters, so that 0.1 is about 10 %.
- `duplicates`: the share of rows that were removed as copies; with `prepare.near_duplicates`, also
  the share of prompts with a near duplicate.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from concord.objectives import Objective
from concord.prepared.prompt_keys import prompt_keys

WORDS = 24
"""Number of words per objective."""
MIN_GROUPS = 10
"""A figure of fewer groups says too little, and is left out."""
MAX_PAIRS = 20_000
"""Of an objective with more pairs, a random sample of this size is used."""
DUPLICATES = ("duplicate", "duplicate_prompt")
"""Reasons for which a copy is quarantined."""
TOKEN = re.compile(r"\w+")
Figures = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Figure:
    """A mean with its standard error."""

    kind: str
    mean: float
    error: float
    rows: int
    groups: int


def data_figures(
    tables: Mapping[str, pd.DataFrame],
    objectives: Mapping[str, Objective],
    read: Mapping[str, int],
    quarantined: pd.DataFrame,
    near: Mapping[str, Any] | None,
) -> Figures:
    """Name -> figure.

    Args:
        tables: the prepared tables, with `pairs`.
        objectives: the known objectives.
        read: source -> number of rows that were read.
        quarantined: rows with the columns source and reason.
        near: the report on near duplicates; None if they were not searched for.
    """
    named = [
        *_labels(tables, objectives),
        *_coverage(tables["pairs"], objectives),
        *_lengths(tables, objectives),
        *_rejected(read, quarantined, near),
    ]
    return _sufficient(named)


def label_figures(
    tables: Mapping[str, pd.DataFrame], objectives: Mapping[str, Objective]
) -> Figures:
    """Name -> figure, for those of the kind `labels` alone. `tables`: pairs, ratings and steps."""
    figures = _sufficient(_labels(tables, objectives))
    return {name: figure for name, figure in figures.items() if figure["kind"] == "labels"}


def _sufficient(named: Iterable[tuple[str, Figure | None]]) -> Figures:
    return {
        name: asdict(figure)
        for name, figure in named
        if figure is not None and figure.groups >= MIN_GROUPS
    }


def clustered(kind: str, values: ArrayLike, groups: ArrayLike, share: bool = True) -> Figure | None:
    """The mean of `values`, `(rows,)`, with its standard error over `groups`; None without rows.

    The error of a share is at least that of independent rows, with two successes and two failures
    added (Agresti and Coull, The American Statistician 52, 1998): a share of 0 has one too.
    """
    values = np.asarray(values, dtype=np.float64)
    if not values.size:
        return None
    codes, names = pd.factorize(np.asarray(groups))
    residuals = np.bincount(codes, values - values.mean())
    count, clusters = len(values), len(names)
    error = float(np.sqrt(clusters / max(clusters - 1, 1) * (residuals**2).sum()) / count)
    if share:
        error = max(error, binomial_error(float(values.sum()), count))
    return Figure(kind, float(values.mean()), error, count, clusters)


def binomial_error(successes: float, count: int) -> float:
    """The standard error of a share of independent rows, with two of each kind added."""
    likely = (successes + 2) / (count + 4)
    return float(np.sqrt(likely * (1 - likely) / (count + 4)))


def _labels(
    tables: Mapping[str, pd.DataFrame], objectives: Mapping[str, Objective]
) -> Iterator[tuple[str, Figure | None]]:
    for name in objectives:
        yield from _labels_of(tables, name)


def _labels_of(
    tables: Mapping[str, pd.DataFrame], name: str
) -> Iterator[tuple[str, Figure | None]]:
    """What the labels of one objective prefer, and how far annotators agree."""
    pairs, ratings, steps = (
        table[table["objective"] == name]
        for table in (tables["pairs"], tables["ratings"], tables["steps"])
    )
    compared = pairs[pairs["origin"] == "comparisons"]
    yield f"{name}: two annotators prefer the same answer", _same_preference(compared)
    yield f"{name}: two annotators give the same grade", _same_grade(ratings)
    yield f"{name}: mean rating", clustered("labels", ratings["rating"], ratings["group_id"])
    yield f"{name}: mean label of a step", _steps(steps)
    pairs = pairs.sample(MAX_PAIRS, random_state=0) if len(pairs) > MAX_PAIRS else pairs
    longer = np.heaviside(pairs["chosen"].str.len() - pairs["rejected"].str.len(), 0.5)
    yield f"{name}: the longer answer is preferred", clustered("labels", longer, pairs["group_id"])
    for word, rows, preferred in telling_words(pairs):
        groups = pairs["group_id"].to_numpy()[rows]
        yield (
            f"{name}: the answer with `{word}` is preferred",
            clustered("labels", preferred, groups),
        )


def telling_words(pairs: pd.DataFrame) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The words that most often occur in one answer of a pair only.

    Each comes with the positions of these pairs, and for each of them whether the answer with the
    word is preferred (1 or 0). Words are chosen by their frequency, not by what the labels say.
    """
    sides = [
        [frozenset(TOKEN.findall(text.lower())) for text in pairs[side]]
        for side in ("chosen", "rejected")
    ]
    counts: Counter[str] = Counter()
    for chosen, rejected in zip(*sides, strict=True):
        counts.update(chosen ^ rejected)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for word, _ in ranked[:WORDS]:
        chosen_has, rejected_has = (np.array([word in text for text in side]) for side in sides)
        rows = np.flatnonzero(chosen_has != rejected_has)
        yield word, rows, chosen_has[rows].astype(np.float64)


def _same_preference(compared: pd.DataFrame) -> Figure | None:
    """Of two annotators of the same pair, how often both prefer the same answer."""
    sides = compared[["chosen", "rejected"]]
    votes = pd.DataFrame(
        {
            "prompt": prompt_keys(compared),
            "a": sides.min(axis=1),
            "b": sides.max(axis=1),
            "annotator": compared["annotator"],
            "group_id": compared["group_id"],
            "value": (compared["chosen"] < compared["rejected"]).astype(float),
        }
    )
    return _pairwise(votes, ["prompt", "a", "b"])


def _same_grade(ratings: pd.DataFrame) -> Figure | None:
    """One less the mean distance of the grades, from 0 to 1, of two annotators of an answer."""
    grades = ratings[ratings["kind"] != "ranking"]
    votes = pd.DataFrame(
        {
            "prompt": prompt_keys(grades),
            "response": grades["response"],
            "low": grades["scale_low"],
            "high": grades["scale_high"],
            "annotator": grades["annotator"],
            "group_id": grades["group_id"],
            "value": grades["rating"],
        }
    )
    return _pairwise(votes, ["prompt", "response", "low", "high"])


def _pairwise(votes: pd.DataFrame, unit: list[str]) -> Figure | None:
    """The mean over units of 1 - |x - y| over all pairs of annotators x and y of the unit."""
    votes = votes.drop_duplicates([*unit, "annotator"]).sort_values("value", kind="stable")
    if votes.empty:
        return None
    by_unit = votes.groupby(unit, sort=False, dropna=False)
    count, rank = by_unit["value"].transform("size"), by_unit.cumcount() + 1
    several = count > 1
    distance = ((2 * rank - count - 1) * votes["value"] * 2 / (count * (count - 1)))[several]
    votes = votes[several].assign(distance=distance)
    units = votes.groupby(unit, sort=False, dropna=False).agg(
        distance=("distance", "sum"), group_id=("group_id", "first")
    )
    return clustered("agreement", 1 - units["distance"], units["group_id"])


def _steps(steps: pd.DataFrame) -> Figure | None:
    labels = [np.asarray(row, dtype=np.float64) for row in steps["labels"]]
    groups = np.repeat(steps["group_id"].to_numpy(), [len(row) for row in labels])
    values = np.concatenate([*labels, np.empty(0)])
    labelled = np.isfinite(values)
    return clustered("labels", values[labelled], groups[labelled])


def _coverage(
    pairs: pd.DataFrame, objectives: Mapping[str, Objective]
) -> Iterator[tuple[str, Figure | None]]:
    domains = pairs["objective"].map({name: o.domain for name, o in objectives.items()})
    for name, objective in objectives.items():
        rows = pairs if objective.domain == "all" else pairs[domains == objective.domain]
        figure = clustered("coverage", rows["objective"] == name, rows["group_id"])
        yield f"{name}: share of the pairs of its domain", figure


def _lengths(
    tables: Mapping[str, pd.DataFrame], objectives: Mapping[str, Objective]
) -> Iterator[tuple[str, Figure | None]]:
    pairs, demonstrations = tables["pairs"], tables["demonstrations"]
    for name in objectives:
        rows = pairs[pairs["objective"] == name]
        characters = np.log1p([*rows["chosen"].str.len(), *rows["rejected"].str.len()])
        figure = clustered("length", characters, [*rows["group_id"]] * 2, share=False)
        yield f"{name}: log of the characters of an answer", figure
    characters = np.log1p(demonstrations["response"].str.len().to_numpy(dtype=np.float64))
    figure = clustered("length", characters, demonstrations["group_id"], share=False)
    yield "demonstrations: log of the characters of an answer", figure


def _rejected(
    read: Mapping[str, int], quarantined: pd.DataFrame, near: Mapping[str, Any] | None
) -> Iterator[tuple[str, Figure | None]]:
    """Shares of the rows that were read; the rows count as independent."""
    counts, total = quarantined["source"].value_counts(), sum(read.values())
    for source, rows in read.items():
        yield f"{source}: rows quarantined", _share("quarantine", int(counts.get(source, 0)), rows)
    yield "all sources: rows quarantined", _share("quarantine", len(quarantined), total)
    copies = int(quarantined["reason"].isin(DUPLICATES).sum())
    yield "all sources: copies of other rows", _share("duplicates", copies, total)
    if near is not None:
        figure = _share("duplicates", int(near["near_duplicates"]), int(near["prompts"]))
        yield "prompts with a near duplicate", figure


def _share(kind: str, part: int, whole: int) -> Figure | None:
    if not whole:
        return None
    part = min(part, whole)  # one row of a source can give several rows of a table
    return Figure(kind, part / whole, binomial_error(part, whole), whole, whole)
