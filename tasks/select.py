"""Chooses the weights to publish: the best point of the sweep on validation, by proxies only.

    reports/samples/<policy>.parquet
    -> reports/select.json (kept between runs, because it holds the history of choices)

    python -m tasks.select

Within each domain, the rule `select.rule` ranks the points by their mean anchored proxies on
validation (protocol `likelihood`: pair accuracy), weighted by `select.weights`. Validation is
small, so points that are not clearly worse than the best count as equal. Among these, the point
whose head weights are nearest to `select.weights` wins. If validation has no data to compare, all
points count as equal. In the full vector each domain has the same share, and the sum is 1. Gold
rewards are never read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.objectives import check_weights, domain_weights, objectives_of
from concord.stage import outputs, plugins
from concord.stage.errors import DataError, command
from concord.stage.params import FORBID, load, read
from concord.stage.paths import REPORTS, SAMPLES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from concord.evaluation.policies.protocol import Point

CHOICE = REPORTS / "select.json"


@dataclass(frozen=True, config=FORBID)
class SelectParams:
    """The section `select`."""

    policy: str
    """The policy whose weights are chosen, and which is exported."""
    rule: Annotated[str, plugins.named("concord.rewards.vector.scalarisers")]
    """The scalariser that ranks the points: a function of concord/rewards/vector/scalarisers.py."""
    weights: dict[str, float] = field(default_factory=dict)
    """Objective -> its importance. Empty for equal weights within each domain."""
    tolerance: Annotated[float, Field(ge=0)] = 1.0
    """A point counts as equal to the best if it is worse by at most this number of standard errors
    of the paired difference."""
    max_kl: Annotated[float, Field(gt=0)] | None = None
    """Maximum KL divergence from the SFT model on validation, in nats per answer; null for no
    limit."""


class Measured(NamedTuple):
    """Validation results of the points of one domain, in the order of the samples."""

    points: list[Point]
    names: list[str]
    """Objectives: the columns of `proxies`."""
    proxies: np.ndarray
    """`(points, objectives)`, means on validation."""
    draws: np.ndarray
    """`(resamples, points, objectives)`, bootstrap means. All points share the resampled
    prompts."""
    kl: np.ndarray
    """`(points,)`, in nats per answer."""


def run(
    params: SelectParams, all_params: Mapping[str, Any], resamples: int, seed: int
) -> dict[str, Any]:
    """Chooses the weights; writes the choice, and adds it to the history if it is new."""
    objectives = objectives_of(all_params)
    check_weights(params.weights, objectives, "select.weights")
    table = SAMPLES / f"{params.policy}.parquet"
    samples = outputs.read_table(table)
    validation = samples[samples["split"] == "validation"]
    if validation.empty:
        raise DataError(
            f"{table} has no answers to validation prompts; rerun evaluate@{params.policy}"
        )
    chosen = {}
    for domain in sorted(set(validation["domain"])):
        preferences = domain_weights(
            params.weights or dict.fromkeys(objectives, 1.0), objectives, domain, "select.weights"
        )
        chosen[domain] = best(measure(validation, domain, resamples, seed), preferences, params)
    choice = {
        "policy": params.policy,
        "rule": params.rule,
        "preferences": params.weights or "equal",
        "tolerance": params.tolerance,
        "max_kl": params.max_kl,
        "weights": full_vector([point["weights"] for point in chosen.values()]),
        "points": {domain: point["point"] for domain, point in chosen.items()},
        "equal_points": {domain: point["equal"] for domain, point in chosen.items()},
        "proxies": {
            name: value for point in chosen.values() for name, value in point["proxies"].items()
        },
        "kl": {domain: point["kl"] for domain, point in chosen.items()},
    }
    outputs.write_json(CHOICE, {**choice, "history": updated_history(choice)})
    return choice


def measure(validation: pd.DataFrame, domain: str, resamples: int, seed: int) -> Measured:
    """Means of the proxies and KL of every point, with bootstrap resamples."""
    from concord.evaluation.metrics import Clusters
    from concord.evaluation.policies.likelihood import judged_units
    from concord.evaluation.policies.summary import points_of

    samples = validation[validation["domain"] == domain]
    names = sorted(points_of(samples)[0].weights)
    units = judged_units(samples, domain, names)
    clusters = Clusters.of(units, [*(f"proxy.{name}" for name in names), "log_ratio"])
    means, draws = clusters.mean(), clusters.bootstrap(resamples, seed)
    return Measured(points_of(units), names, means[:, :-1], draws[:, :, :-1], means[:, -1])


def best(
    measured: Measured, preferences: Mapping[str, float], params: SelectParams
) -> dict[str, Any]:
    """The point to publish.

    Among the points that count as equal to the best, the nearest to the preferences; on a tie, the
    one with the smallest KL from the SFT model.
    """
    import numpy as np

    rule = plugins.function("concord.rewards.vector.scalarisers", params.rule)
    weights = np.array([preferences[name] for name in measured.names])
    allowed = np.isnan(measured.kl) | (measured.kl <= (params.max_kl or np.inf))
    if not allowed.any():
        raise DataError(
            f"select.max_kl is {params.max_kl}, but the smallest KL in the domain "
            f"{measured.points[0].domain} is {measured.kl.min():.3g}; raise max_kl"
        )
    scores = np.where(allowed, rule(measured.proxies, weights), np.nan)
    equal = np.flatnonzero(allowed).tolist()
    if not np.isnan(scores).all():  # otherwise validation has no data to compare points
        top = int(np.nanargmax(scores))
        drawn = np.stack(
            [rule(measured.draws[:, index], weights) for index in range(len(scores))], axis=1
        )
        errors = np.nanstd(drawn[:, [top]] - drawn, axis=0)
        equal = np.flatnonzero(scores[top] - scores <= params.tolerance * errors + 1e-12).tolist()

    def order(index: int) -> tuple[float, float, str]:
        point = measured.points[index]
        distance = sum(abs(point.weights[name] - preferences[name]) for name in measured.names)
        return round(distance, 9), float(np.nan_to_num(measured.kl[index])), point.name

    index = min(equal, key=order)
    return {
        "point": measured.points[index].name,
        "weights": measured.points[index].weights,
        "equal": len(equal),
        "proxies": dict(zip(measured.names, measured.proxies[index].tolist(), strict=True)),
        "kl": float(measured.kl[index]),
    }


def full_vector(vectors: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One vector over all domains: each domain's weights, divided by the number of domains."""
    return {name: weight / len(vectors) for vector in vectors for name, weight in vector.items()}


def updated_history(choice: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All choices so far, oldest first; `choice` is added unless it equals the last one."""
    history: list[Mapping[str, Any]] = (
        outputs.read_json(CHOICE)["history"] if CHOICE.is_file() else []
    )
    return history if history and history[-1] == choice else [*history, choice]


def main() -> None:
    """Runs the stage."""
    choice = run(
        load(SelectParams, "select"),
        read(),
        load(int, "evaluate", "bootstrap"),
        load(int, "seeds", "data"),
    )
    for name, weight in sorted(choice["weights"].items()):
        print(f"{name:<20} {weight:.3f}")


if __name__ == "__main__":
    command(main)
