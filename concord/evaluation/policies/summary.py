"""From samples to the figures of one policy: per point and objective a mean with its interval, KL and length.

Works on either protocol: it sees a long table with one row per judged unit (an answer, or a pair of human-labelled
answers) and columns `gold.<objective>`, `proxy.<objective>`, `log_ratio`, `length`, NaN where a measure does not
apply.
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
    own_weight,
    same,
    sweep_weights,
)


def points_of(frame: pd.DataFrame) -> list[Point]:
    """The operating points that a table of samples holds, in its order."""
    rows = frame[["point", "domain", "weights"]].drop_duplicates()
    return [
        Point(row["point"], row["domain"], json.loads(row["weights"]))
        for row in rows.to_dict("records")
    ]


def at(entries: Sequence[dict[str, Any]], domain: str, name: str) -> dict[str, Any]:
    """The entry of a named point; a name whose weights repeat an earlier point's, or that move nothing, means equal."""
    of_domain = [entry for entry in entries if entry["domain"] == domain]
    named = [entry for entry in of_domain if entry["point"] == name]
    return (named or [entry for entry in of_domain if entry["point"] == EQUAL])[0]


def figures(
    frame: pd.DataFrame, names: Sequence[str], count: int, seed: int
) -> list[dict[str, Any]]:
    """One entry per point of one domain: gold and proxy mean of each objective, KL to the reference, length."""
    measures = [
        *(f"gold.{name}" for name in names),
        *(f"proxy.{name}" for name in names),
        "log_ratio",
        "length",
    ]
    clusters = Clusters.of(frame, measures)
    means, draws = clusters.mean(), clusters.bootstrap(count, seed)
    units = clusters.counts.sum(axis=0)
    entries = []
    for place, point in enumerate(points_of(frame)):
        objectives = {}
        for column, name in enumerate(names):
            gold = interval(means[place, column], draws[:, place, column])
            proxy = means[place, len(names) + column]
            objectives[name] = {
                **gold.named("gold_mean"),
                "proxy_mean": proxy,
                "n": int(units[place, column]),
            }
        kl = interval(means[place, -2], draws[:, place, -2])
        entries.append({
            "point": point.name, "domain": point.domain, "weights": point.weights, "objectives": objectives,
            "kl": kl.value, "kl_ci_low": kl.low, "kl_ci_high": kl.high, "length": means[place, -1],
        })  # fmt: skip
    return entries


def merged(entries: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """The figures of one named point over all domains: objectives side by side, KL and length as means over domains."""
    domains = list(dict.fromkeys(entry["domain"] for entry in entries))
    chosen = [at(entries, domain, name) for domain in domains]
    return {
        "objectives": {objective: value for entry in chosen for objective, value in entry["objectives"].items()},
        "weights": {objective: value for entry in chosen for objective, value in entry["weights"].items()},
        "kl": float(np.mean([entry["kl"] for entry in chosen])),
        "length": float(np.mean([entry["length"] for entry in chosen])),
        "by_domain": {entry["domain"]: {key: entry[key] for key in ("kl", "kl_ci_low", "kl_ci_high", "length")}
                      for entry in chosen},
    }  # fmt: skip


def sweep(
    entries: Sequence[dict[str, Any]], names: Mapping[str, Sequence[str]], count: int
) -> dict[str, Any]:
    """Per objective its own weight and, at that weight, every objective of its domain; only where heads were swept."""
    points = [Point(entry["point"], entry["domain"], entry["weights"]) for entry in entries]
    curves: dict[str, Any] = {}
    for domain, members in names.items():
        for objective in members:
            vectors = [own_weight(members, objective, weight) for weight in sweep_weights(count)]
            found = [find(points, domain, vector) for vector in vectors]
            if len(members) > 1 and all(found):
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
    """The whole report of one policy from its judged units; the figures at equal weights stand at the top.

    `names` maps each domain to the objectives evaluated in it; `sweep_count` is 0 for a policy that cannot be steered.
    """
    entries, tuned = (
        [
            entry
            for domain, members in names.items()
            for entry in figures(_of(frame, domain), members, count, seed)
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


def _of(frame: pd.DataFrame, domain: str) -> pd.DataFrame:
    return frame[frame["domain"] == domain]


def _proxies(entry: dict[str, Any]) -> dict[str, Any]:
    """A validation point: what a choice may look at, and no gold."""
    proxies = {name: value["proxy_mean"] for name, value in entry["objectives"].items()}
    return {
        **{key: entry[key] for key in ("point", "domain", "weights", "kl", "length")},
        "proxies": proxies,
    }
