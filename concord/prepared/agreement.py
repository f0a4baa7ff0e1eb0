"""What labels tell about themselves before anything is learned from them: whether annotators agree, whether objectives
pull apart, and whether the longer answer wins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from concord.prepared.dedupe import prompt_keys


def survey(pairs: pd.DataFrame, ratings: pd.DataFrame, objectives: Sequence[str]) -> dict[str, Any]:
    """`agreement` and `length_bias` by objective, and `conflict` by two objectives."""
    return {
        "agreement": {
            name: agreement(_own(pairs, name), _own(ratings, name)) for name in objectives
        },
        "length_bias": {name: length_bias(_own(pairs, name)) for name in objectives},
        "conflict": conflict(pairs, objectives),
    }


def agreement(pairs: pd.DataFrame, ratings: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Krippendorff's alpha of one objective: 1 is full agreement, 0 what chance gives, below 0 annotators differ more.

    `comparisons`: which of two answers (nominal); `grades`: the grade of an answer on one scale (ordinal), the mean
    over scales by labels. `units` counts what two annotators judged at least; alpha is null where there is none.
    """
    compared = pairs[pairs["origin"] == "comparisons"]
    first = compared["chosen"] < compared["rejected"]
    sides = compared[["chosen", "rejected"]]
    judged = pd.DataFrame(
        {"prompt": prompt_keys(compared), "a": sides.min(axis=1), "b": sides.max(axis=1)}
    )
    grades = ratings[ratings["kind"] != "ranking"]
    return {
        "comparisons": _alpha(
            judged.assign(annotator=compared["annotator"], value=first.astype(float)), "nominal"
        ),
        "grades": _mean_alpha(grades),
    }


def _mean_alpha(grades: pd.DataFrame) -> dict[str, Any]:
    found = []
    for _, rows in grades.groupby(["scale_low", "scale_high"]):
        unit = pd.DataFrame({"prompt": prompt_keys(rows), "a": rows["response"], "b": ""})
        found.append(
            _alpha(unit.assign(annotator=rows["annotator"], value=rows["rating"]), "ordinal")
        )
    known = [each for each in found if each["alpha"] is not None]
    labels = sum(each["labels"] for each in known)
    mean = sum(each["alpha"] * each["labels"] for each in known) / labels if labels else None
    return {"alpha": mean, "units": sum(each["units"] for each in known), "labels": labels}


def _alpha(labels: pd.DataFrame, level: Literal["nominal", "ordinal"]) -> dict[str, Any]:
    """Of labels with the columns prompt, a, b (which make the unit), annotator and value."""
    import krippendorff

    unit = ["prompt", "a", "b"]
    labels = labels.drop_duplicates([*unit, "annotator"])
    several = (
        labels.groupby(unit, sort=False)["annotator"].transform("size") > 1
        if len(labels)
        else labels.index < 0
    )
    labels = labels[several]
    if labels["value"].nunique() < 2:  # nothing to agree on
        return {"alpha": None, "units": 0, "labels": 0}
    counts = pd.crosstab([labels[name] for name in unit], labels["value"])
    alpha = krippendorff.alpha(
        value_counts=counts.to_numpy(),
        value_domain=counts.columns.to_numpy(dtype=float),
        level_of_measurement=level,
    )
    return {"alpha": float(alpha), "units": len(counts), "labels": len(labels)}


def conflict(pairs: pd.DataFrame, objectives: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`<one>/<other>` -> share of the pairs judged on both objectives on which they prefer opposite answers.

    Whoever judged; a pair that annotators of one objective prefer both ways counts by their majority, a draw not at
    all. Objectives that share no pair are left out.
    """
    sides = pairs[["chosen", "rejected"]]
    key = prompt_keys(pairs) + "\0" + sides.min(axis=1) + "\0" + sides.max(axis=1)
    votes = pd.DataFrame(
        {
            "key": key,
            "objective": pairs["objective"],
            "vote": np.where(pairs["chosen"] < pairs["rejected"], 1, -1),
        }
    )
    table = votes.pivot_table(index="key", columns="objective", values="vote", aggfunc="sum").map(
        np.sign, na_action="ignore"
    )
    table = table.replace(0, np.nan)
    return dict(_opposed(table, [name for name in objectives if name in table.columns]))


def _opposed(table: pd.DataFrame, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for one, other in combinations(names, 2):
        both = table[[one, other]].dropna()
        if len(both):
            share = float((both[one] != both[other]).mean())
            yield (
                f"{one}/{other}",
                {"objectives": [one, other], "opposed": share, "pairs": len(both)},
            )


def length_bias(pairs: pd.DataFrame) -> dict[str, Any]:
    """How often the chosen answer is the longer one (equally long counts half), and by how many characters."""
    more = pairs["chosen"].str.len() - pairs["rejected"].str.len()
    longer = float(np.heaviside(more, 0.5).mean()) if len(pairs) else None
    return {
        "longer_chosen": longer,
        "mean_characters_more": float(more.mean()) if len(pairs) else None,
    }


def _own(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    return frame[frame["objective"] == name]
