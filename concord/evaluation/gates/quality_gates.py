"""The gates that measure the candidate: objectives, verifiers, hypervolume, constraints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.gates.gate_params import ConstraintsGate, HypervolumeGate, MeansGate
from concord.evaluation.gates.sides import (
    Side,
    differences,
    obstacles,
    on_shared_prompts,
)
from concord.evaluation.gates.verdict import PASSES, Row
from concord.evaluation.metrics import Clusters
from concord.evaluation.policies import front, noninferiority
from concord.evaluation.policies.choice import bound
from concord.evaluation.policies.likelihood import judged_units
from concord.evaluation.policies.protocol import EQUAL, STANDARDS, by_domain
from concord.objectives import Objective

SEED = 0
"""Of the bootstrap: the same data give the same verdict."""


@dataclass(frozen=True)
class Compared:
    """What the gates compare."""

    candidate: Side
    champion: Side
    sft: Side
    objectives: Mapping[str, Objective]
    """Those of the reward vector."""

    @property
    def standard(self) -> str:
        """What judges the models, in words."""
        return STANDARDS[str(self.candidate.conditions["protocol"])]

    @property
    def domains(self) -> dict[str, list[str]]:
        """Domain -> its objectives."""
        return by_domain({name: o.domain for name, o in self.objectives.items()})

    def paired(self) -> Compared:
        """The same, with the candidate and the champion on the prompts that both answered."""
        candidate, champion = on_shared_prompts(self.candidate, self.champion)
        return replace(self, candidate=candidate, champion=champion)


def comparable(compared: Compared) -> Row:
    """Whether the candidate and the champion were measured in the same way, and on what."""
    reasons = obstacles(compared.candidate, compared.champion)
    name = compared.champion.name
    text = f"how the candidate and {name} were measured"
    if reasons:
        return Row("comparable", text, f"not comparable with {name} ({'; '.join(reasons)})", False)
    sides = {
        "candidate": compared.candidate,
        "champion": compared.champion,
        "both": compared.paired().candidate,
    }
    prompts = {
        which: side.samples.groupby("domain")["prompt_id"].nunique()
        for which, side in sides.items()
    }
    counts = pd.DataFrame(prompts).fillna(0).astype(int)
    why = "in the same way, on the same prompts"
    if (counts.nunique(axis=1) > 1).any():
        shared = ", ".join(f"{count} in {domain}" for domain, count in counts["both"].items())
        why = f"in the same way; compared on the prompts that both answered: {shared}"
    figures = {str(domain): count for domain, count in counts.to_dict("index").items()}
    return Row("comparable", text, why, True, figures)


def objectives(params: MeansGate, compared: Compared) -> Row:
    """No objective without a verifier is below the champion."""
    names = [name for name, objective in compared.objectives.items() if not objective.verifier]
    return _means("objectives", params, compared, names)


def verifiers(params: MeansGate, compared: Compared) -> Row:
    """No objective with a verifier is below the champion."""
    names = [name for name, objective in compared.objectives.items() if objective.verifier]
    return _means("verifiers", params, compared, names)


def _means(gate: str, params: MeansGate, compared: Compared, names: Sequence[str]) -> Row:
    """A paired test of non-inferiority for each of the objectives `names`."""
    champion = compared.champion.name
    kind = "mean of each objective" if gate == "objectives" else "mean of each verified objective"
    text = f"{kind} on held-out prompts, candidate and {champion}"
    rows = noninferiority.compare(
        compared.candidate.samples,
        compared.champion.samples,
        by_domain({name: compared.objectives[name].domain for name in names}),
        {name: params.margin_of(name) for name in names},
        params.error_rate,
    )
    settings = _settings(params)
    if not rows:
        judged = compared.candidate.samples.filter(like="gold.").notna().any(axis=None)
        if judged or not names:
            return Row(gate, text, "there is no such objective that was judged", None, **settings)
        return Row(gate, text, "no objective was judged", False, **settings)
    failed = [
        f"{name} {row['difference']:+.3f}, at worst {row['lower_bound']:+.3f}, "
        f"margin {row['margin']:g}"
        for name, row in rows.items()
        if not row["holds"]
    ]
    why = f"may be worse than {champion} by more than its margin: {'; '.join(failed)}"
    if not failed:
        name, row = min(rows.items(), key=lambda i: i[1]["lower_bound"] + i[1]["margin"])
        why = f"closest to its margin is {name}, at worst {row['lower_bound']:+.3f} of "
        why += f"{-row['margin']:+.3f}"
    return Row(gate, text, why, not failed, rows, **settings)


def hypervolume(
    params: HypervolumeGate, compared: Compared, reference: float | Mapping[str, float]
) -> Row:
    """No domain has a lower hypervolume than the champion, at the points of both."""
    champion = compared.champion.name
    text = f"hypervolume of each domain on held-out prompts, candidate and {champion}"
    fronts = compared.candidate.front, compared.champion.front
    settings = _settings(params)
    if fronts[0] is None or fronts[1] is None:
        side = compared.candidate if fronts[0] is None else compared.champion
        who = "the candidate" if fronts[0] is None else champion
        return Row("hypervolume", text, f"{who} {side.why_no_front}", None, **settings)
    figures = {}
    for domain, names in compared.domains.items():
        point = [reference if isinstance(reference, int | float) else reference[n] for n in names]
        sides = [frame[frame["domain"] == domain] for frame in (fronts[0], fronts[1])]
        if row := _volumes(params, sides, dict(zip(names, point, strict=True))):
            figures[domain] = row
    if not figures:
        return Row("hypervolume", text, "no domain was judged for both", None, **settings)
    failed = [
        f"{domain} {row['change']:+.1%}, at worst {row['lower_bound']:+.1%}, margin "
        f"{params.margin:.0%}"
        for domain, row in figures.items()
        if not row["holds"]
    ]
    why = f"the hypervolume may be lower than that of {champion}: {'; '.join(failed)}"
    if not failed:
        domain, row = min(figures.items(), key=lambda item: item[1]["lower_bound"])
        why = f"lowest in {domain}, at worst {row['lower_bound']:+.1%} of {-params.margin:+.0%}"
    return Row("hypervolume", text, why, not failed, figures, **settings)


def _settings(params: MeansGate | HypervolumeGate | ConstraintsGate) -> dict[str, Any]:
    """What params.yaml says of a gate, for its row."""
    return {name: getattr(params, name) for name in ("margin", "error_rate", "required")}


def shared_points(candidate: Sequence[str], champion: Sequence[str]) -> list[tuple[str, str]]:
    """The points to compare, as (candidate's, champion's).

    Fronts of different numbers of points are not comparable: noise alone gives more volume to more
    points. A model that cannot be steered has the same answers at all weights, so its point
    `equal` stands for each point of the other, unless the other is the candidate: a champion that
    cannot be steered is compared at one point.

    Examples:
        >>> shared_points(["equal", "a=0", "a=1"], ["equal", "a=0", "a=1"])
        [('equal', 'equal'), ('a=0', 'a=0'), ('a=1', 'a=1')]
        >>> shared_points(["equal"], ["equal", "a=0", "a=1"])
        [('equal', 'equal'), ('equal', 'a=0'), ('equal', 'a=1')]
        >>> shared_points(["equal", "a=0", "a=1"], ["equal"])
        [('equal', 'equal')]
    """
    if set(candidate) == {EQUAL}:
        return [(EQUAL, point) for point in champion]
    return [(point, point) for point in champion if point in candidate]


def _volumes(
    params: HypervolumeGate,
    sides: Sequence[pd.DataFrame],
    reference: Mapping[str, float],
) -> dict[str, Any]:
    """The test of one domain; empty if it was not judged for both, or the champion has no volume.

    `standard_error` is that of the logarithm of the ratio of both volumes.
    """
    measures = [f"gold.{name}" for name in reference]
    judged = [
        name
        for name, measure in zip(reference, measures, strict=True)
        if all(side[measure].notna().any() for side in sides)
    ]
    points = shared_points(*(list(dict.fromkeys(side["point"])) for side in sides))
    if not judged or not points:
        return {}
    both = pd.concat(
        [frame.assign(key=f"{side}/" + frame["point"]) for side, frame in enumerate(sides)],
        ignore_index=True,
    )
    clusters = Clusters.of(both, [f"gold.{name}" for name in judged], across="key")
    at = [[clusters.keys.index(f"{side}/{pair[side]}") for pair in points] for side in range(2)]
    corner = [reference[name] for name in judged]
    means, draws = clusters.mean(), clusters.bootstrap(params.resamples, SEED)
    volumes = [front.hypervolume(means[rows], corner) for rows in at]
    if volumes[1] == 0:
        return {}
    drawn = np.array([[front.hypervolume(draw[rows], corner) for rows in at] for draw in draws])
    ratios = drawn[(drawn > 0).all(axis=1)]
    error = float(np.log(ratios[:, 0] / ratios[:, 1]).std()) if len(ratios) else float("inf")
    changes = np.divide(drawn[:, 0], drawn[:, 1], out=np.zeros(len(drawn)), where=drawn[:, 1] > 0)
    lower = float(np.quantile(changes, params.error_rate)) - 1
    quantile = NormalDist().inv_cdf(1 - params.error_rate)
    passes = NormalDist().cdf(-math.log1p(-params.margin) / error - quantile) if error else 1.0
    return {
        "candidate": volumes[0],
        "champion": volumes[1],
        "change": volumes[0] / volumes[1] - 1,
        "standard_error": error,
        "lower_bound": lower,
        "margin": params.margin,
        PASSES: passes,
        "points": len(points),
        "holds": lower >= -params.margin,
    }


def constraints(params: ConstraintsGate, compared: Compared) -> Row:
    """The owner's constraints hold for the candidate's answers to held-out prompts."""
    text = "select.at_least and select.max_kl, on the candidate's answers to held-out prompts"
    settings = _settings(params)
    given = compared.candidate.constraints or {}
    if not given.get("at_least") and given.get("max_kl") is None:
        return Row("constraints", text, "none is set", None, **settings)
    figures = {
        name: {
            "room": room.mean,
            "standard_error": room.error,
            "lower_bound": (lower := room.lower(params.error_rate)),
            "margin": margin,
            "holds": lower >= -margin,
        }
        for name, room, margin in _rooms(params, compared, given)
    }
    if not figures:
        reasons = "; ".join(differences(compared.candidate, compared.sft)) or "nothing was scored"
        return Row("constraints", text, reasons, None, **settings)
    failed = [
        f"{name} by {-row['room']:.3f}, at worst {-row['lower_bound']:.3f}, margin "
        f"{row['margin']:.3g}"
        for name, row in figures.items()
        if not row["holds"]
    ]
    why = f"constraints may be broken by more than their margin: {'; '.join(failed)}"
    return Row(
        "constraints", text, why if failed else "all are kept", not failed, figures, **settings
    )


def _rooms(
    params: ConstraintsGate, compared: Compared, given: Mapping[str, Any]
) -> Iterator[tuple[str, noninferiority.Difference, float]]:
    """Constraint, the distance to its bound (negative if it is broken), and its margin."""
    at_least: Mapping[str, float | str] = given.get("at_least") or {}
    paired = not differences(compared.candidate, compared.sft)
    for domain, names in compared.domains.items():
        measures = [*(f"proxy.{name}" for name in names), "kl"]
        sums, counts = _sums(compared.candidate.samples, domain, names, measures)
        sft, _ = _sums(compared.sft.samples, domain, names, measures) if paired else (None, None)
        for column, name in enumerate(names):
            limit, used = at_least.get(name), counts[:, column]
            if limit is None or not used.any() or (isinstance(limit, str) and sft is None):
                continue
            mark = bound(limit, 0.0) * used
            if isinstance(limit, str) and sft is not None:
                mark = mark + sft[:, column]
            room = noninferiority.difference(sums[:, column], mark, used)
            yield f"at_least.{name}", room, params.margin
        if (most := given.get("max_kl")) is not None and counts[:, -1].any():
            room = noninferiority.difference(most * counts[:, -1], sums[:, -1], counts[:, -1])
            yield f"max_kl.{domain}", room, params.kl_margin * most


def _sums(
    samples: pd.DataFrame, domain: str, names: Sequence[str], measures: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts of each measure per group of prompts, `(groups, measures)` each."""
    units = judged_units(samples, domain, names).assign(side="one")
    clusters = Clusters.of(units, measures, across="side")
    if not clusters.keys:
        return np.zeros((0, len(measures))), np.zeros((0, len(measures)))
    return clusters.sums[:, 0], clusters.counts[:, 0]
