"""Figures of one policy from its samples: means with intervals per point and objective, KL, length.

Both protocols use it. The input is a long table with one row per judged unit (an answer, or a pair
of human-labelled answers) and the columns `gold.<objective>`, `proxy.<objective>`, `kl` and
`length`, NaN where a measure does not apply.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.metrics import Clusters, interval
from concord.evaluation.policies.protocol import (
    DEFAULT,
    EQUAL,
    Point,
    find,
    focused_weights,
    same,
    sweep_weights,
)


def points_of(frame: pd.DataFrame) -> list[Point]:
    """The operating points in a table of samples, in order."""
    rows = frame[["point", "domain", "weights"]].drop_duplicates()
    return [
        Point(row["point"], row["domain"], json.loads(row["weights"]))
        for row in rows.to_dict("records")
    ]


def entry_at(entries: Sequence[dict[str, Any]], domain: str, name: str) -> dict[str, Any]:
    """The entry of a named point, or of `equal` if the point was not sampled separately."""
    of_domain = [entry for entry in entries if entry["domain"] == domain]
    named = [entry for entry in of_domain if entry["point"] == name]
    return (named or [entry for entry in of_domain if entry["point"] == EQUAL])[0]


def figures(
    frame: pd.DataFrame, names: Sequence[str], count: int, seed: int
) -> list[dict[str, Any]]:
    """One entry per point of one domain: gold and proxy mean of each objective, KL to the
    reference, length.
    """
    measures = [
        *(f"gold.{name}" for name in names),
        *(f"proxy.{name}" for name in names),
        "kl",
        "length",
    ]
    clusters = Clusters.of(frame, measures)
    means, draws = clusters.mean(), clusters.bootstrap(count, seed)
    units = clusters.counts.sum(axis=0)
    entries = []
    for row, point in enumerate(points_of(frame)):
        objectives = {}
        for column, name in enumerate(names):
            gold = interval(means[row, column], draws[:, row, column])
            proxy = means[row, len(names) + column]
            objectives[name] = {
                **gold.named("gold_mean"),
                "proxy_mean": proxy,
                "n": int(units[row, column]),
            }
        kl = interval(means[row, -2], draws[:, row, -2])
        entries.append(
            {
                "point": point.name,
                "domain": point.domain,
                "weights": point.weights,
                "objectives": objectives,
                "kl": kl.value,
                "kl_ci_low": kl.low,
                "kl_ci_high": kl.high,
                "length": means[row, -1],
            }
        )
    return entries


def merged(entries: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """Figures of one named point over all domains; KL and length are means over domains."""
    domains = list(dict.fromkeys(entry["domain"] for entry in entries))
    chosen = [entry_at(entries, domain, name) for domain in domains]
    per_domain = ("kl", "kl_ci_low", "kl_ci_high", "length")
    return {
        "objectives": {
            objective: value for entry in chosen for objective, value in entry["objectives"].items()
        },
        "weights": {
            objective: value for entry in chosen for objective, value in entry["weights"].items()
        },
        "kl": float(np.mean([entry["kl"] for entry in chosen])),
        "length": float(np.mean([entry["length"] for entry in chosen])),
        "by_domain": {entry["domain"]: {key: entry[key] for key in per_domain} for entry in chosen},
    }


def sweep(
    entries: Sequence[dict[str, Any]], names: Mapping[str, Sequence[str]], count: int
) -> dict[str, Any]:
    """Per swept objective: its weights, and all objectives of its domain at each weight."""
    points = [Point(entry["point"], entry["domain"], entry["weights"]) for entry in entries]
    curves: dict[str, Any] = {}
    for domain, members in names.items():
        for objective in members:
            vectors = [
                focused_weights(members, objective, weight) for weight in sweep_weights(count)
            ]
            matches = [find(points, domain, vector) for vector in vectors]
            if len(members) > 1 and all(matches):
                curves[objective] = [
                    {"weight": vector[objective], **entry}
                    for vector in vectors
                    for entry in entries
                    if entry["domain"] == domain and same(entry["weights"], vector)
                ]
    return curves


def policy_report(
    held_out: pd.DataFrame,
    validation: pd.DataFrame,
    names: Mapping[str, Sequence[str]],
    sweep_count: int,
    count: int,
    seed: int,
) -> dict[str, Any]:
    """The full report of one policy from its judged units, with `equal` at the top level.

    `names` maps each domain to its evaluated objectives. `sweep_count` is 0 for a policy that
    cannot be steered.
    """
    entries, tuned = (
        [
            entry
            for domain, members in names.items()
            for entry in figures(_rows_of(frame, domain), members, count, seed)
        ]
        for frame in (held_out, validation)
    )
    return {
        **merged(entries, EQUAL),
        "default": merged(entries, DEFAULT),
        "points": entries,
        "sweep": sweep(entries, names, sweep_count) if sweep_count else {},
        "validation": {"points": [_proxies(entry) for entry in tuned]},
    }


def _rows_of(frame: pd.DataFrame, domain: str) -> pd.DataFrame:
    return frame[frame["domain"] == domain]


def _proxies(entry: dict[str, Any]) -> dict[str, Any]:
    """A validation point without gold: what selection may use."""
    proxies = {name: value["proxy_mean"] for name, value in entry["objectives"].items()}
    return {
        **{key: entry[key] for key in ("point", "domain", "weights", "kl", "length")},
        "proxies": proxies,
    }
