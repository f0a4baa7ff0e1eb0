"""Lets the candidate pass a row of gates, most of them against the champion; writes the verdict.

    reports/candidate, models/champion, reports/samples/<reference>.parquet,
    reports/policies/<reference>.json, reports/rewards, data/checks.json,
    data/prepared/{pairs,ratings,steps}
    -> reports/gate.json

    python -m tasks.gate

The candidate is the checkpoint that would be published (stage `candidate`). Each gate is a function
of `concord.evaluation.gates` and a row of the verdict, with a margin and an error rate of its own:
what was compared, the figures, whether it holds, and why. The candidate is accepted if no required
gate fails. A gate that cannot be tested says so, and refuses nothing. Two models that were not
measured in the same way are not comparable, and the candidate is refused. The test split grows with
the data, so the two are compared on the prompts that both answered. Under the protocol `judged`,
the judge of the candidate judges the answers of the champion once more.

The champion is the content of `reports/candidate` when a model was published, copied to
models/champion; without one it is the SFT model. The verdict is a metric: a refusal does not fail
the stage, but `export` obeys it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass

from concord.evaluation import check_figures
from concord.evaluation.gates.gate_params import (
    ChecksGate,
    ConstraintsGate,
    DataGate,
    HackingGate,
    HypervolumeGate,
    MeansGate,
)
from concord.evaluation.gates.verdict import summary, verdict
from concord.evaluation.policies.protocol import by_domain
from concord.objectives import check_weights, objectives_of
from concord.prepared.check_params import Check, read_checks
from concord.stage import outputs
from concord.stage.command import command
from concord.stage.params import FORBID, load, read
from concord.stage.paths import CANDIDATE, PREPARED, REPORTS

if TYPE_CHECKING:
    from concord.evaluation.gates.data_gate import NewLabels
    from concord.evaluation.gates.quality_gates import Compared
    from concord.evaluation.gates.sides import Side
    from concord.evaluation.gates.verdict import Row
    from concord.objectives import Objective


@dataclass(frozen=True, config=FORBID)
class GateParams:
    """The section `gate`."""

    champion: str = "models/champion"
    """Folder with the results of the published model, a copy of `reports/candidate`. Without
    results.json in it, the SFT model is the champion."""
    objectives: MeansGate = field(default_factory=MeansGate)
    """Objectives without a verifier: none is below the champion's."""
    verifiers: MeansGate = field(default_factory=MeansGate)
    """Objectives with a verifier: none is below the champion's."""
    hypervolume: HypervolumeGate = field(default_factory=HypervolumeGate)
    """The hypervolume of the policy, over all weights at which it was measured, is not below the
    champion's."""
    constraints: ConstraintsGate = field(default_factory=ConstraintsGate)
    """The candidate keeps `select.at_least` and `select.max_kl` on held-out prompts."""
    hacking: HackingGate = field(default_factory=HackingGate)
    """The candidate shows no sign of reward hacking."""
    checks: ChecksGate = field(default_factory=ChecksGate)
    """No check of the section `checks` fails."""
    data: DataGate = field(default_factory=DataGate)
    """The data, and the new labels alone, have not changed much from the champion's."""


def run(
    params: GateParams,
    all_params: Mapping[str, Any],
    checks: Mapping[str, Check],
    reference_point: float | Mapping[str, float],
) -> dict[str, Any]:
    """Writes and returns the verdict. `reference_point` is that of the hypervolume."""
    from concord.evaluation.gates import sides
    from concord.evaluation.gates.data_gate import new_labels
    from concord.evaluation.gates.quality_gates import Compared

    labelled = objectives_of(all_params)
    objectives = {name: objective for name, objective in labelled.items() if objective.in_vector}
    check_weights(params.objectives.margins, objectives, "gate.objectives.margins")
    check_weights(params.verifiers.margins, objectives, "gate.verifiers.margins")
    domains = by_domain({name: objective.domain for name, objective in objectives.items()})
    sft = sides.reference(all_params["select"]["reference"], domains)
    candidate = sides.side(CANDIDATE)
    champion = sides.published(Path(params.champion)) or sft
    compared = Compared(candidate, _judged_alike(candidate, champion, objectives), sft, objectives)
    added = new_labels(PREPARED, labelled, champion)
    content = verdict(champion.name, [*rows(params, compared, checks, reference_point, added)])
    outputs.write_json(REPORTS / "gate.json", content)
    return content


def _judged_alike(candidate: Side, champion: Side, objectives: Mapping[str, Objective]) -> Side:
    """The champion, judged as the candidate was, if the two can be compared at all."""
    from concord.evaluation.gates.same_judge import judged_alike
    from concord.evaluation.gates.sides import obstacles
    from concord.evaluation.policies.answer_judge import embeddings
    from concord.evaluation.policies.likelihood import labels_of

    if candidate.conditions["protocol"] != "judged" or obstacles(candidate, champion):
        return champion
    embed = embeddings(candidate.conditions["judge"]["embeddings"])
    return judged_alike(candidate, champion, objectives, labels_of("test"), embed)


def rows(
    params: GateParams,
    compared: Compared,
    checks: Mapping[str, Check],
    reference_point: float | Mapping[str, float],
    added: NewLabels | None = None,
) -> Iterator[Row]:
    """The row of every gate. Those against the champion need a comparable champion.

    `added`: the labels that the champion's data do not have; None if that is not known.
    """
    from concord.evaluation.gates import quality_gates, watched_gates
    from concord.evaluation.gates.data_gate import data

    yield (comparable := quality_gates.comparable(compared))
    if comparable.holds:
        paired = compared.paired()
        yield quality_gates.objectives(params.objectives, paired)
        yield quality_gates.verifiers(params.verifiers, paired)
        yield quality_gates.hypervolume(params.hypervolume, paired, reference_point)
    yield quality_gates.constraints(params.constraints, compared)
    yield watched_gates.hacking(params.hacking, compared)
    measured = check_figures.of_candidate(checks, compared.objectives)
    yield watched_gates.checks(params.checks, checks, measured)
    yield data(params.data, compared.candidate, compared.champion, added)


def main() -> None:
    """Runs the stage."""
    point = load(dict, "front").get("reference_point", 0.0)
    print("\n".join(summary(run(load(GateParams, "gate"), read(), read_checks(), point))))


if __name__ == "__main__":
    command(main)
