"""Choose the weights to publish: the point of the sweep that a stated rule likes best on validation, by proxies alone.

reports/samples/<policy>.parquet -> reports/select.json (kept between runs: it carries the history of choices)

    python -m tasks.select

Within each domain the rule ranks the swept points by their mean anchored proxies (likelihood protocol: pair accuracy)
on validation under the owner's preferences. Validation is small, so points that it cannot tell from the best count as
equal, and of those the one whose head weights are nearest to the preferences is taken; where validation has nothing to
compare, all are equal. Domains then share equally in the full vector, which sums to 1. Gold is never read.
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
    """Whose weights are chosen, and which policy is exported."""
    rule: str
    """The scalariser that ranks the points (concord/rewards/vector/scalarisers.py)."""
    weights: dict[str, float] = field(default_factory=dict)
    """objective -> what it is worth to the owner; empty: equal within each domain."""
    tolerance: Annotated[float, Field(ge=0)] = 1.0
    """Standard errors of the paired difference by which a point may fall short of the best and still count as equal."""
    max_kl: Annotated[float, Field(gt=0)] | None = None
    """Points further than this from the SFT model on validation, in nats per answer, are not chosen."""

    def __post_init__(self) -> None:
        plugins.check_name("concord.rewards.vector.scalarisers", self.rule, "rule")


class Measured(NamedTuple):
    """The points of one domain on validation, in the order of the samples."""

    points: list[Point]
    names: list[str]
    """Objectives, the columns of the proxies."""
    proxies: np.ndarray
    """(points, objectives)"""
    draws: np.ndarray
    """(resamples, points, objectives), paired: one resample of the prompts serves all points."""
    kl: np.ndarray
    """(points,), nats per answer"""


def run(
    params: SelectParams, everything: Mapping[str, Any], resamples: int, seed: int
) -> dict[str, Any]:
    """Chooses, adds the choice to the history if it is another than the last, and writes both."""
    known = objectives_of(everything)
    check_weights(params.weights, known, "select.weights")
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
            params.weights or dict.fromkeys(known, 1.0), known, domain, "select.weights"
        )
        chosen[domain] = best(measured(validation, domain, resamples, seed), preferences, params)
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
    outputs.write_json(CHOICE, {**choice, "history": remembered(choice)})
    return choice


def measured(validation: pd.DataFrame, domain: str, resamples: int, seed: int) -> Measured:
    """Means of every point's proxies and KL, and their resamples."""
    from concord.evaluation.metrics import Clusters
    from concord.evaluation.policies.likelihood import judged_units
    from concord.evaluation.policies.summary import points_of

    own = validation[validation["domain"] == domain]
    names = sorted(points_of(own)[0].weights)
    units = judged_units(own, domain, names)
    clusters = Clusters.of(units, [*(f"proxy.{name}" for name in names), "log_ratio"])
    means, draws = clusters.mean(), clusters.bootstrap(resamples, seed)
    return Measured(points_of(units), names, means[:, :-1], draws[:, :, :-1], means[:, -1])


def best(found: Measured, preferences: Mapping[str, float], params: SelectParams) -> dict[str, Any]:
    """The point to publish: of those as good as the best, the nearest to the preferences, then to the SFT model."""
    import numpy as np

    rule, weights = (
        plugins.function("concord.rewards.vector.scalarisers", params.rule),
        np.array([preferences[name] for name in found.names]),
    )
    allowed = np.isnan(found.kl) | (found.kl <= (params.max_kl or np.inf))
    if not allowed.any():
        raise DataError(
            f"no point of {found.points[0].domain} is within select.max_kl {params.max_kl}; "
            f"the nearest has {found.kl.min():.3g}"
        )
    scores = np.where(allowed, rule(found.proxies, weights), np.nan)
    equal = np.flatnonzero(allowed).tolist()
    if not np.isnan(scores).all():  # else validation has nothing to tell one point from another by
        top = int(np.nanargmax(scores))
        drawn = np.stack(
            [rule(found.draws[:, place], weights) for place in range(len(scores))], axis=1
        )
        errors = np.nanstd(drawn[:, [top]] - drawn, axis=0)
        equal = np.flatnonzero(scores[top] - scores <= params.tolerance * errors + 1e-12).tolist()

    def order(place: int) -> tuple[float, float, str]:
        point = found.points[place]
        distance = sum(abs(point.weights[name] - preferences[name]) for name in found.names)
        return round(distance, 9), float(np.nan_to_num(found.kl[place])), point.name

    place = min(equal, key=order)
    return {
        "point": found.points[place].name,
        "weights": found.points[place].weights,
        "equal": len(equal),
        "proxies": dict(zip(found.names, found.proxies[place].tolist(), strict=True)),
        "kl": float(found.kl[place]),
    }


def full_vector(vectors: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One vector over all domains: each domain's weights, divided by the number of domains."""
    return {name: weight / len(vectors) for vector in vectors for name, weight in vector.items()}


def remembered(choice: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All choices so far, oldest first, with this one at the end unless it repeats the last."""
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
