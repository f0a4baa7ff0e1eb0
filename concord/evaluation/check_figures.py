"""How often the comparisons of the checks come out right, and the verdict on each check.

The unit is the prompt: a prompt with several comparisons counts by its mean. The interval is
Wilson's, because a bootstrap has no width if every comparison comes out right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.metrics import wilson
from concord.objectives import Objective
from concord.prepared.check_params import Check
from concord.stage import outputs
from concord.stage.errors import DataError
from concord.stage.paths import CANDIDATE, PREPARED, REPORTS

HOLDS, UNCERTAIN, FAILS = "holds", "uncertain", "fails"
UNCHANGED = "same as SFT"
Figures = Mapping[str, Any]


def read_pairs() -> dict[str, pd.DataFrame]:
    """Check -> its pairs, with the columns messages, chosen, rejected, objective and group_id."""
    table = outputs.read_table(PREPARED / "checks.parquet")
    return {str(name): rows.reset_index(drop=True) for name, rows in table.groupby("check")}


def both_sides(pairs: pd.DataFrame) -> tuple[list[Any], list[str]]:
    """The prompts and the answers of all pairs: the right answers first, then the wrong ones."""
    return pairs["messages"].tolist() * 2, [*pairs["chosen"], *pairs["rejected"]]


def figures(pairs: pd.DataFrame, scores: np.ndarray) -> dict[str, Any]:
    """The share of comparisons that come out right, with an interval over prompts.

    Args:
        pairs: the pairs of one check.
        scores: `(2 * pairs,)`, of the answers in the order of `both_sides`. A tie counts one half.

    `longer` is the share if the longer answer had the higher score.
    """
    lengths = np.array([len(answer) for answer in both_sides(pairs)[1]])
    share = mean_over_prompts(pairs, scores)
    prompts = pairs["group_id"].nunique()
    return {
        "objective": str(pairs["objective"].iloc[0]),
        **wilson(share, prompts).named("share"),
        "longer": mean_over_prompts(pairs, lengths),
        "pairs": len(pairs),
        "prompts": prompts,
    }


def mean_over_prompts(pairs: pd.DataFrame, scores: np.ndarray) -> float:
    """The mean over prompts of the share of pairs whose right answer has the higher score."""
    right, wrong = np.split(np.asarray(scores, dtype=np.float64), 2)
    hits = pd.Series(np.heaviside(right - wrong, 0.5))
    return float(hits.groupby(pairs["group_id"].to_numpy()).mean().mean())


def verdict(measured: Figures, at_least: float) -> str:
    """`holds` if the whole interval is at or above the mark, `fails` if the whole interval is below
    it, else `uncertain`. A policy that is the SFT model has no verdict.

    Examples:
        >>> verdict({"ci_low": 0.72, "ci_high": 0.9}, 0.7)
        'holds'
        >>> verdict({"ci_low": 0.62, "ci_high": 0.8}, 0.7)
        'uncertain'
    """
    if measured.get("unchanged"):
        return UNCHANGED
    if measured["ci_high"] < at_least:
        return FAILS
    return HOLDS if measured["ci_low"] >= at_least else UNCERTAIN


def judged(
    checks: Mapping[str, Check], subjects: Sequence[tuple[str, Mapping[str, Figures]]]
) -> Iterator[dict[str, Any]]:
    """A row per check and subject that it was measured for, with its mark and its verdict.

    `subjects` has the name of a head or a model, and check -> its figures.
    """
    for name, check in checks.items():
        for subject, measured in subjects:
            if name in measured:
                row = {"check": name, "subject": subject, **measured[name]}
                yield row | {
                    "at_least": check.at_least,
                    "verdict": verdict(measured[name], check.at_least),
                }


def of_candidate(
    checks: Mapping[str, Check], objectives: Mapping[str, Objective]
) -> list[dict[str, Any]]:
    """The rows of the candidate and of the reward heads in the reward vector, for the gate.

    `objectives` are those of the reward vector. Raises DataError if the candidate was not measured.
    """
    measured = outputs.read_json(CANDIDATE / "results.json").get("checks", {})
    if missing := sorted(checks.keys() - measured.keys()):
        raise DataError(
            f"{CANDIDATE}/results.json has no figures for the check {', '.join(missing)}; run the "
            "stage candidate (`dvc repro candidate`)"
        )
    subjects = [("the candidate", measured)]
    for name in dict.fromkeys(check.objective for check in checks.values()):
        if name in objectives and (group := objectives[name].reward):
            head = outputs.read_json(REPORTS / f"rewards/{group}.json")[name]
            subjects.append((f"the reward head {name} of {group}", head["checks"]))
    return list(judged(checks, subjects))


def in_words(row: Figures) -> str:
    """A row of `judged`, for a message.

    Examples:
        >>> row = {"check": "calm", "subject": "candidate", "share": 0.2, "ci_low": 0.1}
        >>> in_words({**row, "ci_high": 0.35, "at_least": 0.7})
        'calm by candidate: 0.20 (0.10 to 0.35), must be at least 0.7'
    """
    return (
        f"{row['check']} by {row['subject']}: {row['share']:.2f} ({row['ci_low']:.2f} to "
        f"{row['ci_high']:.2f}), must be at least {row['at_least']:g}"
    )
