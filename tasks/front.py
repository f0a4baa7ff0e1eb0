"""Compare all policies: hypervolume, differences, control and KL per domain, as JSON and as one picture.

reports/samples/<policy>.parquet of every policy -> reports/front.json, reports/front.svg

    python -m tasks.front
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.stage import outputs
from tasks.stage.errors import ParamsError, command
from tasks.stage.params import FORBID, load, objectives, read

if TYPE_CHECKING:
    import pandas as pd

    from tasks.evaluation.comparison import Bootstrap

CONTROL = "control"


@dataclass(frozen=True, config=FORBID)
class Params:
    """The section `front`."""

    reference_point: float | dict[str, float]
    """Worst value that counts, of every objective or by objective; fixed before any result is seen."""


@dataclass(frozen=True, config=FORBID)
class Protocol:
    """What the evaluation fixed."""

    sweep: Annotated[int, Field(ge=2)]
    """Values of each objective's own weight."""
    bootstrap: Annotated[int, Field(gt=0)]
    """Resamples of each interval."""


def run(params: Params, protocol: Protocol, everything: Mapping[str, Any], seed: int) -> None:
    """Writes the comparison of all policies in params.yaml."""
    from tasks.evaluation import pictures
    from tasks.evaluation.comparison import Bootstrap

    members = domains(everything)
    if CONTROL in members:
        raise ParamsError(f"a domain is called {CONTROL!r}, a key of reports/front.json; give the domain another name")
    samples = {name: outputs.read_table(f"reports/samples/{name}.parquet") for name in everything["policies"]}
    report: dict[str, Any] = {CONTROL: {}}
    for domain, names in members.items():
        point = [_reference(params, name) for name in names]
        entry, control = _domain(
            samples, domain, names, point, protocol, Bootstrap(protocol.bootstrap, seed), everything
        )
        if entry:
            report[domain] = entry
            for policy, figures in control.items():
                report[CONTROL].setdefault(policy, {}).update(figures)
    outputs.write_json("reports/front.json", report)
    written = outputs.read_json("reports/front.json")
    outputs.write_text("reports/front.svg", pictures.standalone_fronts(written))


def domains(everything: Mapping[str, Any]) -> dict[str, list[str]]:
    """Domain -> the objectives of the reward vector in it."""
    from tasks.evaluation.protocol import by_domain

    return by_domain({name: o.domain for name, o in objectives(everything).items() if o.in_vector})


def _reference(params: Params, objective: str) -> float:
    point = params.reference_point
    if isinstance(point, dict) and objective not in point:
        raise ParamsError(f"front.reference_point has no value for {objective}; give one, or a single number for all")
    return point[objective] if isinstance(point, dict) else point


def _domain(
    samples: Mapping[str, pd.DataFrame],
    domain: str,
    names: list[str],
    point: list[float],
    protocol: Protocol,
    bootstrap: Bootstrap,
    everything: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entry of one domain and the control of its policies; empty where no policy was evaluated in it."""
    from tasks.evaluation.comparison import Comparison, borderline, judged_units

    held_out = {policy: frame[frame["split"] != "validation"] for policy, frame in samples.items()}
    units = {policy: judged_units(frame, domain, names) for policy, frame in held_out.items()}
    units = {policy: frame for policy, frame in units.items() if len(frame)}
    if not units:
        return {}, {}
    comparison = Comparison(units, names, bootstrap)
    reference = next((name for name in units if everything["policies"][name]["method"] == "reference"), None)
    curves = {policy: borderline(frame, names, protocol.sweep, bootstrap) for policy, frame in units.items()}
    entry = {
        "objectives": names,
        "reference_point": point,
        "reference_policy": reference,
        "split": str(next(iter(units.values()))["split"].iloc[0]),
        "units": {policy: int(frame.groupby("point").size().iloc[0]) for policy, frame in units.items()},
        "hypervolume": {policy: comparison.hypervolume(policy, point) for policy in units},
        "differences": {p: comparison.differences(p, reference) for p in units if reference and p != reference},
        "points": [row for policy in units for row in comparison.table(policy)],
        "borderline": {policy: curve for policy, curve in curves.items() if curve},
        "validation": _validation(samples, domain, names),
    }
    return entry, {policy: control for policy in units if (control := comparison.control(policy, protocol.sweep))}


def _validation(samples: Mapping[str, pd.DataFrame], domain: str, names: list[str]) -> list[dict[str, Any]]:
    """The front over the swept weights by proxies on validation prompts: what `select` chooses from."""
    from tasks.evaluation.comparison import judged_units
    from tasks.evaluation.front import non_dominated
    from tasks.evaluation.summary import points_of

    rows = []
    for policy, frame in samples.items():
        units = judged_units(frame[frame["split"] == "validation"], domain, names)
        if units.empty:
            continue
        means = units.groupby("point", sort=False)[[f"proxy.{name}" for name in names]].mean()
        best = non_dominated(means.to_numpy())
        rows += [
            {
                "policy": policy,
                "point": point.name,
                "weights": point.weights,
                "proxies": dict(zip(names, values, strict=True)),
                "non_dominated": bool(kept),
            }
            for point, values, kept in zip(points_of(units), means.to_numpy(), best, strict=True)
        ]
    return rows


def main() -> None:
    """Runs the stage."""
    protocol = Protocol(load(int, "evaluate", "sweep"), load(int, "evaluate", "bootstrap"))
    run(load(Params, "front"), protocol, read(), load(int, "seeds", "data"))


if __name__ == "__main__":
    command(main)
