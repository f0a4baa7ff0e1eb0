"""Chooses the weights to publish, by validation and proxies only.

    reports/samples/<policy>.parquet, reports/samples/<reference>.parquet
    -> reports/select.json (kept between runs, because it holds the history of choices)

    python -m tasks.select_weights

The stage is called `select`. Its module is not, because a file `select.py` would hide the module of
the standard library from a Python that is started in this folder.

Rule `given`, the default: the head weights are `select.weights`. A scalariser as the rule searches
the weights whose mean anchored proxies on validation (protocol `likelihood`: pair accuracies) it
values most. Either way, `at_least` and `max_kl` must hold; `concord.evaluation.policies.choice` has
the method. In the full vector each domain has the same share, and the sum is 1. Gold rewards are
never read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from concord.evaluation.policies.choice import (
    GIVEN,
    Measured,
    Wish,
    bound,
    choose,
    full_vector,
)
from concord.objectives import check_weights, domain_weights, objectives_of
from concord.stage import outputs, plugins
from concord.stage.command import command
from concord.stage.errors import DataError
from concord.stage.params import FORBID, load, read
from concord.stage.paths import REPORTS, SAMPLES

if TYPE_CHECKING:
    import pandas as pd

CHOICE = REPORTS / "select.json"


def _check_bound(value: float | str) -> float | str:
    bound(value, 0.0)
    return value


@dataclass(frozen=True, config=FORBID)
class SelectParams:
    """The section `select`."""

    policy: str
    """The policy that is exported at the chosen weights."""
    reference: str
    """The policy with the method `reference`, the SFT model: bounds refer to it, and it is the
    champion of the stage `gate` until a model is published."""
    rule: Annotated[str, plugins.named("concord.rewards.vector.scalarisers", GIVEN)] = GIVEN
    """`given`: the head weights are `weights`. Or a scalariser, a function of
    concord/rewards/vector/scalarisers.py, whose maximum is searched."""
    weights: dict[str, float] = field(default_factory=dict)
    """Objective -> its importance. Empty for equal weights within each domain."""
    at_least: dict[str, Annotated[float | str, AfterValidator(_check_bound)]] = field(
        default_factory=dict
    )
    """Objective -> lower bound of its mean proxy on validation: a number, or a difference to the
    SFT model such as `sft - 0.1`. In standard deviations of the SFT model's answers; protocol
    `likelihood`: in pair accuracy."""
    strength: Annotated[float, Field(gt=0)] | None = None
    """Scales what the heads change in the published checkpoint. Null for the number of domains:
    within each domain, the checkpoint then has the heads at their full weights."""
    max_kl: Annotated[float, Field(gt=0)] | None = None
    """Maximum KL divergence from the SFT model on validation, in nats per answer; null for no
    limit."""
    stay_near: Annotated[float, Field(ge=0)] = 0.4
    """What a rule that searches gives up per squared distance between the chosen and the given
    weights, in the units of the rule. It steadies choices that the data hardly tell apart."""


def run(
    params: SelectParams, all_params: Mapping[str, Any], resamples: int, seed: int
) -> dict[str, Any]:
    """Chooses the weights; writes the choice, and adds it to the history if it is new."""
    objectives = objectives_of(all_params)
    check_weights(params.weights, objectives, "select.weights")
    validation, reference = (_validation(name) for name in (params.policy, params.reference))
    chosen = {}
    for domain in sorted(set(validation["domain"])):
        measured = measure(validation, domain, resamples, seed)
        members = {name: objectives[name] for name in measured.names}
        weights = {name: params.weights.get(name, 0.0) for name in members}
        preferences = domain_weights(
            weights if params.weights else dict.fromkeys(members, 1.0),
            members,
            domain,
            "select.weights",
        )
        sft = measure(reference, domain, 1, seed)
        chosen[domain] = choose(measured, wish(params, preferences, sft))
    choice = {
        "policy": params.policy,
        "reference": params.reference,
        "rule": params.rule,
        "at_least": params.at_least,
        "max_kl": params.max_kl,
        "strength": len(chosen) if params.strength is None else params.strength,
        "steerable": bool((validation.groupby("domain")["point"].nunique() > 1).any()),
        "weights": full_vector([entry["weights"] for entry in chosen.values()]),
        "domains": chosen,
    }
    outputs.write_json(CHOICE, {**choice, "history": updated_history(choice)})
    return choice


def _validation(policy: str) -> pd.DataFrame:
    table = SAMPLES / f"{policy}.parquet"
    samples = outputs.read_table(table)
    validation = samples[samples["split"] == "validation"]
    if validation.empty:
        raise DataError(f"{table} has no answers to validation prompts; rerun evaluate@{policy}")
    return validation


def measure(validation: pd.DataFrame, domain: str, resamples: int, seed: int) -> Measured:
    """Means of the proxies and KL of every point, with bootstrap resamples."""
    import numpy as np

    from concord.evaluation.metrics import Clusters
    from concord.evaluation.policies.likelihood import judged_units
    from concord.evaluation.policies.summary import points_of

    samples = validation[validation["domain"] == domain]
    names = sorted(points_of(samples)[0].weights)
    units = judged_units(samples, domain, names)
    clusters = Clusters.of(units, [*(f"proxy.{name}" for name in names), "kl"])
    points = points_of(units)
    weights = np.array([[point.weights[name] for name in names] for point in points])
    return Measured(domain, names, weights, clusters.mean(), clusters.bootstrap(resamples, seed))


def wish(params: SelectParams, preferences: Mapping[str, float], sft: Measured) -> Wish:
    """What the parameters ask of one domain. The objectives have the order of `preferences`."""
    import numpy as np

    means = dict(zip(sft.names, sft.means[0, :-1].tolist(), strict=True))
    bounds = [
        bound(params.at_least[name], means[name]) if name in params.at_least else -np.inf
        for name in preferences
    ]
    return Wish(
        rule=params.rule,
        weights=np.array(list(preferences.values())),
        at_least=np.array(bounds),
        sft=np.array([means[name] for name in preferences]),
        max_kl=np.inf if params.max_kl is None else params.max_kl,
        stay_near=params.stay_near,
    )


def updated_history(choice: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All choices so far, oldest first; `choice` is added unless it equals the last one."""
    history: list[Mapping[str, Any]] = (
        outputs.read_json(CHOICE)["history"] if CHOICE.is_file() else []
    )
    choice = outputs.plain(choice)  # as in the file, where NaN is null
    return history if history and history[-1] == choice else [*history, choice]


def summary(choice: Mapping[str, Any], history: list[Mapping[str, Any]]) -> Iterator[str]:
    """What was asked and what was chosen, a line per objective, and what the owner should know."""
    yield f"{'objective':<20} asked  chosen"
    for entry in choice["domains"].values():
        for name, weight in entry["weights"].items():
            yield f"{name:<20} {entry['asked'][name]:.3f}  {weight:.3f}"
    if not choice["steerable"]:
        yield f"{choice['policy']} has no heads: weights do not change it"
    before = history[-2] if len(history) > 1 else None
    if before and before["policy"] == choice["policy"] and before["weights"] == choice["weights"]:
        yield "same point as before: the checkpoint does not change"


def main() -> None:
    """Runs the stage."""
    choice = run(
        load(SelectParams, "select"),
        read(),
        load(int, "evaluate", "bootstrap"),
        load(int, "seeds", "data"),
    )
    print("\n".join(summary(choice, outputs.read_json(CHOICE)["history"])))


if __name__ == "__main__":
    command(main)
