"""Statistics of the labels before training: agreement, conflict of objectives and length bias."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from concord.prepared.prompt_keys import prompt_keys


def survey(pairs: pd.DataFrame, ratings: pd.DataFrame, objectives: Sequence[str]) -> dict[str, Any]:
    """`agreement` and `length_bias` per objective, and `conflict` per pair of objectives."""
    return {
        "agreement": {
            name: agreement(_of_objective(pairs, name), _of_objective(ratings, name))
            for name in objectives
        },
        "length_bias": {name: length_bias(_of_objective(pairs, name)) for name in objectives},
        "conflict": conflict(pairs, objectives),
    }


def agreement(pairs: pd.DataFrame, ratings: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Krippendorff's alpha for the labels of one objective.

    1 means full agreement, 0 agreement as expected by chance; below 0, annotators disagree more
    often than by chance.

    Returns:
        `comparisons`: alpha of which of two responses is preferred (nominal).
        `grades`: alpha of the grades of a response (ordinal), the mean over scales weighted by the
            number of labels.

        Each has `alpha`, `units` (responses or pairs judged by at least two annotators) and
        `labels`. `alpha` is None if there are no units, or if all labels are equal.
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
    """The mean of alpha over scales, weighted by the number of labels."""
    per_scale = []
    for _, rows in grades.groupby(["scale_low", "scale_high"]):
        unit = pd.DataFrame({"prompt": prompt_keys(rows), "a": rows["response"], "b": ""})
        per_scale.append(
            _alpha(unit.assign(annotator=rows["annotator"], value=rows["rating"]), "ordinal")
        )
    defined = [scale for scale in per_scale if scale["alpha"] is not None]
    labels = sum(scale["labels"] for scale in defined)
    mean = sum(scale["alpha"] * scale["labels"] for scale in defined) / labels if labels else None
    return {"alpha": mean, "units": sum(scale["units"] for scale in defined), "labels": labels}


def _alpha(labels: pd.DataFrame, level: Literal["nominal", "ordinal"]) -> dict[str, Any]:
    """Alpha of labels with the columns prompt, a, b (which identify the unit), annotator, value."""
    import krippendorff

    unit = ["prompt", "a", "b"]
    labels = labels.drop_duplicates([*unit, "annotator"])
    if len(labels):
        several = labels.groupby(unit, sort=False)["annotator"].transform("size") > 1
        labels = labels[several]
    if labels["value"].nunique() < 2:  # Alpha is undefined if all labels are equal.
        return {"alpha": None, "units": 0, "labels": 0}
    counts = pd.crosstab([labels[name] for name in unit], labels["value"])
    alpha = krippendorff.alpha(
        value_counts=counts.to_numpy(),
        value_domain=counts.columns.to_numpy(dtype=float),
        level_of_measurement=level,
    )
    return {"alpha": float(alpha), "units": len(counts), "labels": len(labels)}


def conflict(pairs: pd.DataFrame, objectives: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How often two objectives prefer opposite responses of the same pair.

    The preference of an objective on a pair is the majority vote of its annotators; ties are
    ignored. Objectives with no pair in common are left out.

    Returns a mapping `<one>/<other>` -> `objectives`, `opposed` (share of the pairs) and `pairs`
    (number of pairs judged on both).
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
    """`conflict` from the table of majority votes (1, -1 or NaN), pairs by objectives."""
    for one, other in combinations(names, 2):
        both = table[[one, other]].dropna()
        if len(both):
            share = float((both[one] != both[other]).mean())
            yield (
                f"{one}/{other}",
                {"objectives": [one, other], "opposed": share, "pairs": len(both)},
            )


def length_bias(pairs: pd.DataFrame) -> dict[str, Any]:
    """How often the chosen response is the longer one, and by how many characters on average.

    Responses of equal length count half. Both values are None if there are no pairs.
    """
    more = pairs["chosen"].str.len() - pairs["rejected"].str.len()
    longer = float(np.heaviside(more, 0.5).mean()) if len(pairs) else None
    return {
        "longer_chosen": longer,
        "mean_characters_more": float(more.mean()) if len(pairs) else None,
    }


def _of_objective(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    return frame[frame["objective"] == name]
