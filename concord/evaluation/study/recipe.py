"""The recipe of a study: policies, weights, seeds, and the comparisons that are made.

An entry with `weights: each` is a specialist: it is trained once per weight vector of the study.
Every other policy is trained once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.objectives import Objective, check_weights, domain_weights
from concord.stage.params import FORBID, suggest

REFERENCE = "sft"
"""The name of the SFT model among the policies of a study."""
EACH = "each"
"""The value of `weights` in the entry of a specialist."""


@dataclass(frozen=True, config=FORBID)
class StudyParams:
    """The recipe of a study."""

    prompts: Annotated[int, Field(gt=0)]
    """Prompts per domain; with `likelihood`, groups of prompts."""
    seeds: Annotated[list[int], Field(min_length=1)]
    """Each is a training of every policy, with its own rollouts, pairs and batches."""
    scales: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2)]
    """Where each policy is measured between SFT (0) and what was trained (1), ascending; see
    `concord.lm.interpolate`. They trace utility against KL."""
    steered: str
    """The policy with heads that is compared."""
    rivals: Annotated[list[str], Field(min_length=1)]
    """The policies that it is compared with. Name them before you see results: p-values are
    corrected for their number."""
    weights: Annotated[list[dict[str, float]], Field(min_length=1)]
    """Weight vectors over the objectives of all domains, normalised within each domain. Missing
    objectives get weight 0."""
    policies: dict[str, dict[str, Any]]
    """Entries as in the section `policies` of params.yaml, without the SFT model. `weights: each`
    trains one policy per vector of `weights`."""
    protocol: Literal["sandbox", "likelihood"] = "sandbox"
    """`sandbox`: gold rewards of answers to prompts of a world. `likelihood`: how often the policy
    gives the better one of two human-labelled answers of the test split the higher likelihood."""
    world: Literal["dev", "locked"] | None = None
    """The world whose prompts are answered, for `sandbox`. Choose settings on `dev`; `locked` is
    for claims."""
    world_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the prompts, for `sandbox`."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature of the measured answers."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 96
    """Maximum length of an answer, in tokens."""
    batch_size: Annotated[int, Field(gt=0)] = 100
    """Answers sampled at once. It does not change the results."""
    bootstrap: Annotated[int, Field(gt=0)] = 1000
    """Resamples per interval."""

    def __post_init__(self) -> None:
        for key in ("seeds", "scales"):
            values = getattr(self, key)
            if values != sorted(set(values)):
                raise ValueError(f"{key}: {values} must be ascending, without duplicates")
        if (self.world is None) == (self.protocol == "sandbox"):
            raise ValueError(
                "world: the protocol `sandbox` needs `world: dev` or `world: locked`, and "
                f"`likelihood` has no world; this is {self.protocol!r} with world {self.world!r}"
            )
        if 1 not in self.scales:
            raise ValueError(f"scales: {self.scales} must contain 1, the policy as it was trained")
        if REFERENCE in self.policies:
            raise ValueError(f"policies: {REFERENCE!r} is the SFT model, which is always measured")
        for key, names in {"steered": [self.steered], "rivals": self.rivals}.items():
            for name in names:
                if name not in self.policies:
                    raise ValueError(
                        f"{key}: {name!r} is not in policies; {suggest(name, list(self.policies))}"
                    )


class Cell(NamedTuple):
    """A weight vector in one domain."""

    domain: str
    line: int
    """Index of the first entry of `weights` with this vector."""
    weights: dict[str, float]
    """objective -> weight; the sum is 1"""


class Variant(NamedTuple):
    """One training of a policy, per seed."""

    policy: str
    line: int | None
    """The entry of `weights` that a specialist is trained for; None for other policies."""
    entry: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the training, and of its folder."""
        return self.policy if self.line is None else f"{self.policy}_w{self.line}"


def cells(params: StudyParams, objectives: Mapping[str, Objective]) -> list[Cell]:
    """The distinct weight vectors of every domain.

    Raises ParamsError if a weight has an unknown name, or a vector has no weight in a domain.
    """
    vector = {name: objective for name, objective in objectives.items() if objective.in_vector}
    result: list[Cell] = []
    for line, weights in enumerate(params.weights):
        check_weights(weights, objectives, f"weights[{line}]")
        for domain in dict.fromkeys(objective.domain for objective in vector.values()):
            members = {name: o for name, o in vector.items() if o.domain == domain}
            given = {name: weights[name] for name in members if name in weights}
            shares = domain_weights(given, members, domain, f"weights[{line}]")
            if not any(cell.domain == domain and cell.weights == shares for cell in result):
                result.append(Cell(domain, line, shares))
    return result


def variants(params: StudyParams) -> list[Variant]:
    """Every training of one seed: specialists once per weight vector, other policies once."""
    result = []
    for name, entry in params.policies.items():
        if entry.get("weights") == EACH:
            result += [
                Variant(name, line, {**entry, "weights": dict(weights)})
                for line, weights in enumerate(params.weights)
            ]
        else:
            result.append(Variant(name, None, dict(entry)))
    return result


def tree_params(params: Mapping[str, Any], study: StudyParams, seed: int) -> dict[str, Any]:
    """The params.yaml of one seed: that of the finished run, with the policies of the study."""
    policies = {REFERENCE: {"method": "reference"}}
    policies |= {variant.name: variant.entry for variant in variants(study)}
    choice = {"policy": study.steered, "reference": REFERENCE, "rule": "given"}
    kept = {key: value for key, value in params.items() if key != "budget"}
    return {
        **kept,
        "seeds": {"data": seed, "sampling": seed},
        "policies": policies,
        "select": choice,
    }
