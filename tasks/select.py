"""Choose the weights to publish: the point of the sweep that a stated rule likes best on validation, by proxies alone.

reports/policies/<policy>.json -> reports/select.json (kept between runs: it carries the history of choices)

    python -m tasks.select

Within each domain the rule ranks the swept points by their mean anchored proxies (likelihood protocol: pair accuracy
on validation) under the owner's preferences. Domains then share equally in the full vector, which sums to 1. Gold is
never read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.stage import outputs
from tasks.stage.errors import DataError, command
from tasks.stage.params import FORBID, check_weights, domain_weights, load, objectives, read

CHOICE = Path("reports/select.json")


@dataclass(frozen=True, config=FORBID)
class Params:
    """The section `select`."""

    policy: str
    """Whose weights are chosen, and which policy is exported."""
    rule: Literal["weighted_sum", "chebyshev", "geometric", "gate"]
    """The scalariser that ranks the points (tasks/rewards/scalarisers.py)."""
    weights: dict[str, float] = field(default_factory=dict)
    """objective -> what it is worth to the owner; empty: equal within each domain."""
    max_kl: Annotated[float, Field(gt=0)] | None = None
    """Points further than this from the SFT model on validation, in nats per answer, are not chosen."""


def run(params: Params, everything: Mapping[str, Any]) -> dict[str, Any]:
    """Chooses, adds the choice to the history if it is another than the last, and writes both."""
    known = objectives(everything)
    check_weights(params.weights, known, "select.weights")
    report = outputs.read_json(f"reports/policies/{params.policy}.json")
    points = report["validation"]["points"]
    if not points:
        raise DataError(
            f"reports/policies/{params.policy}.json has no validation points; rerun evaluate@{params.policy}"
        )
    domains = list(dict.fromkeys(point["domain"] for point in points))
    chosen = {}
    for domain in sorted(domains):
        preferences = domain_weights(params.weights or dict.fromkeys(known, 1.0), known, domain, "select.weights")
        chosen[domain] = best([point for point in points if point["domain"] == domain], preferences, params)
    choice = {
        "policy": params.policy,
        "rule": params.rule,
        "preferences": params.weights or "equal",
        "max_kl": params.max_kl,
        "weights": full_vector([point["weights"] for point in chosen.values()]),
        "points": {domain: point["point"] for domain, point in chosen.items()},
        "proxies": {name: value for point in chosen.values() for name, value in point["proxies"].items()},
        "kl": {domain: point["kl"] for domain, point in chosen.items()},
    }
    outputs.write_json(CHOICE, {**choice, "history": remembered(choice)})
    return choice


def best(points: Sequence[Mapping[str, Any]], preferences: Mapping[str, float], params: Params) -> Mapping[str, Any]:
    """The point that the rule likes best; of equals the one nearest to the SFT model, then the first by name."""
    import numpy as np

    from tasks.rewards.scalarisers import SCALARISERS

    near = [p for p in points if params.max_kl is None or p["kl"] is None or p["kl"] <= params.max_kl]
    if not near:
        least = min(point["kl"] for point in points)
        raise DataError(
            f"no point of {points[0]['domain']} is within select.max_kl {params.max_kl}; the nearest has {least}"
        )
    names = sorted(points[0]["proxies"])
    table = np.array([[_number(point["proxies"][name]) for name in names] for point in near])
    weights = np.array([preferences[name] for name in names])
    scores = SCALARISERS[params.rule](table, weights)
    ranked = sorted(zip(-scores, near, strict=True), key=lambda pair: (pair[0], pair[1]["kl"] or 0.0, pair[1]["point"]))
    return ranked[0][1]


def full_vector(vectors: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One vector over all domains: each domain's weights, divided by the number of domains."""
    return {name: weight / len(vectors) for vector in vectors for name, weight in vector.items()}


def remembered(choice: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All choices so far, oldest first, with this one at the end unless it repeats the last."""
    history: list[Mapping[str, Any]] = outputs.read_json(CHOICE)["history"] if CHOICE.is_file() else []
    return history if history and history[-1] == choice else [*history, choice]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def main() -> None:
    """Runs the stage."""
    choice = run(load(Params, "select"), read())
    for name, weight in sorted(choice["weights"].items()):
        print(f"{name:<20} {weight:.3f}")


if __name__ == "__main__":
    command(main)
