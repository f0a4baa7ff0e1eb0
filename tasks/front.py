"""Compares all policies per domain, and watches them for reward hacking.

reports/samples/<policy>.parquet and reports/scaled/<policy>.parquet of every policy
-> reports/front.json, reports/front.svg, reports/hacking.json

python -m tasks.front
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.evaluation.policies.protocol import CONTROL, by_domain
from concord.objectives import domain_weights, objectives_of
from concord.stage import outputs
from concord.stage.command import command
from concord.stage.params import FORBID, load, read
from concord.stage.paths import REPORTS, SAMPLES, SCALED

if TYPE_CHECKING:
    import pandas as pd

    from concord.evaluation.policies.comparison import Bootstrap


@dataclass(frozen=True, config=FORBID)
class FrontParams:
    """The section `front`."""

    reference_point: float | dict[str, float] = 0.0
    """Reference point of the hypervolume: one value for all objectives, or objective -> value. Set
    it before you see any results."""


@dataclass(frozen=True, config=FORBID)
class Protocol:
    """Settings from the section `evaluate`."""

    sweep: Annotated[int, Field(ge=2)]
    """Number of weight values per objective."""
    bootstrap: Annotated[int, Field(gt=0)]
    """Bootstrap resamples per confidence interval."""
    weights: dict[str, float]
    """Objective -> weight at the operating point `default`."""


def run(params: FrontParams, protocol: Protocol, all_params: Mapping[str, Any], seed: int) -> None:
    """Writes the comparison of all policies, the chart of their fronts, and the hacking report."""
    from concord.evaluation.policies import hacking
    from concord.evaluation.policies.comparison import Bootstrap
    from concord.report.policy_figures import standalone_fronts

    samples = {
        name: outputs.read_table(SAMPLES / f"{name}.parquet") for name in all_params["policies"]
    }
    scaled = {policy: outputs.read_table(SCALED / f"{policy}.parquet") for policy in samples}
    report: dict[str, Any] = {CONTROL: {}}
    for domain, names in domains(all_params).items():
        entry, control = _domain(
            params,
            samples,
            scaled,
            domain,
            names,
            protocol,
            Bootstrap(protocol.bootstrap, seed),
            all_params,
        )
        if entry:
            report[domain] = entry
            for policy, figures in control.items():
                report[CONTROL].setdefault(policy, {}).update(figures)
    outputs.write_json(REPORTS / "front.json", report)
    written = outputs.read_json(REPORTS / "front.json")
    outputs.write_text(REPORTS / "front.svg", standalone_fronts(written))
    watched = hacking.watch(
        {policy: _held_out(frame) for policy, frame in samples.items()},
        domains(all_params),
        [name for name, objective in objectives_of(all_params).items() if objective.verifier],
        _reference_policy(all_params, samples),
    )
    outputs.write_json(REPORTS / "hacking.json", watched)


def domains(all_params: Mapping[str, Any]) -> dict[str, list[str]]:
    """Domain -> its objectives in the reward vector."""

    return by_domain(
        {name: o.domain for name, o in objectives_of(all_params).items() if o.in_vector}
    )


def _held_out(samples: pd.DataFrame) -> pd.DataFrame:
    return samples[samples["split"] != "validation"]


def _reference_policy(all_params: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """The SFT model among the policies `names`, or None."""
    policies = all_params["policies"]
    return next((name for name in names if policies[name]["method"] == "reference"), None)


def _reference(params: FrontParams, objective: str) -> float:
    point = params.reference_point
    return point[objective] if isinstance(point, dict) else point


def _domain(
    params: FrontParams,
    samples: Mapping[str, pd.DataFrame],
    scaled: Mapping[str, pd.DataFrame],
    domain: str,
    names: list[str],
    protocol: Protocol,
    bootstrap: Bootstrap,
    all_params: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entry of one domain, and policy -> control. Both are empty if nothing was judged."""
    from concord.evaluation.policies.comparison import Comparison, borderline
    from concord.evaluation.policies.likelihood import judged_units

    units = {
        policy: judged_units(_held_out(frame), domain, names) for policy, frame in samples.items()
    }
    units = {policy: frame for policy, frame in units.items() if len(frame)}
    judged = [
        name
        for name in names
        if any(frame[f"gold.{name}"].notna().any() for frame in units.values())
    ]
    if not judged:
        return {}, {}
    names, unjudged = judged, [name for name in names if name not in judged]
    point = [_reference(params, name) for name in names]
    comparison = Comparison(units, names, bootstrap)
    reference = _reference_policy(all_params, units)
    curves = {
        policy: borderline(frame, names, protocol.sweep, bootstrap)
        for policy, frame in units.items()
    }
    entry = {
        "objectives": names,
        "unjudged": unjudged,
        "reference_point": point,
        "reference_policy": reference,
        "split": str(next(iter(units.values()))["split"].iloc[0]),
        "units": {policy: _units(frame, names) for policy, frame in units.items()},
        "hypervolume": {policy: comparison.hypervolume(policy, point) for policy in units},
        "differences": {
            p: comparison.differences(p, reference) for p in units if reference and p != reference
        },
        "points": [row for policy in units for row in comparison.table(policy)],
        "borderline": {policy: curve for policy, curve in curves.items() if curve},
        "equal_kl": _equal_kl(
            units, scaled, domain, names, protocol, bootstrap, all_params, reference
        ),
    }
    return entry, {
        policy: control
        for policy in units
        if (control := comparison.control(policy, protocol.sweep))
    }


def _equal_kl(
    units: Mapping[str, pd.DataFrame],
    scaled: Mapping[str, pd.DataFrame],
    domain: str,
    names: list[str],
    protocol: Protocol,
    bootstrap: Bootstrap,
    all_params: Mapping[str, Any],
    reference: str | None,
) -> dict[str, Any]:
    """The comparison at equal KL; empty without `evaluate.scales` or without the SFT model."""
    from concord.evaluation.policies.equal_kl import equal_kl

    scaled = {policy: scaled[policy] for policy in units}
    if reference is None or not any(map(len, scaled.values())):
        return {}
    objectives = objectives_of(all_params)
    given = {name: protocol.weights.get(name, 0.0) for name in names}
    members = {name: objectives[name] for name in names}
    weights = domain_weights(given, members, domain, "evaluate.weights")
    return equal_kl(units, scaled, domain, weights, reference, bootstrap)


def _units(frame: pd.DataFrame, names: list[str]) -> int:
    """The number of judged answers, or pairs, at each point."""
    judged = frame[[f"gold.{name}" for name in names]].notna().any(axis=1)
    return int(judged.groupby(frame["point"], sort=False).sum().iloc[0])


def main() -> None:
    """Runs the stage."""
    protocol = Protocol(
        load(int, "evaluate", "sweep"),
        load(int, "evaluate", "bootstrap"),
        load(dict, "evaluate", "weights"),
    )
    run(load(FrontParams, "front"), protocol, read(), load(int, "seeds", "data"))


if __name__ == "__main__":
    command(main)
