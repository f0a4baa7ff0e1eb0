"""Objectives, their domains, and weights over them.

An objective is one thing that "better" means. Weights are bound by name, never by position.
"""

from collections.abc import Mapping
from typing import Any

from pydantic.dataclasses import dataclass

from concord.stage.errors import ParamsError
from concord.stage.params import FORBID, mapping_of, suggest


@dataclass(frozen=True, config=FORBID)
class Objective:
    """One thing that "better" means."""

    domain: str
    """The kind of prompts that it is judged on; `all` for one that spans the domains."""
    description: str
    """For people: what a high score means."""
    verifier: str | None = None
    """Exact check of the answer, by name or as module:function; or"""
    reward: str | None = None
    """the reward model whose head of this objective's name scores it."""
    in_vector: bool = True
    """Whether it is a member of the reward vector that policies are trained on."""

    def __post_init__(self) -> None:
        if (self.verifier is None) == (self.reward is None):
            given = "neither" if self.verifier is None else "both"
            raise ValueError(
                f"names {given} of `verifier` and `reward`, so what scores it is not settled; name one"
            )


def objectives_of(params: Mapping[str, Any]) -> dict[str, Objective]:
    """The `objectives` section of `params`, in its order."""
    return mapping_of(Objective, params, "objectives")


def domain_weights(
    weights: Mapping[str, float],
    objectives: Mapping[str, Objective],
    domain: str,
    where: str = "weights",
) -> dict[str, float]:
    """The weights of one domain's objectives in the vector, in the order of `objectives`, made to sum to 1.

    An objective without a weight counts 0. Raises ParamsError for unknown objectives, negative weights, or no
    positive one in the domain.
    """
    check_weights(weights, objectives, where)
    members = [
        name
        for name, objective in objectives.items()
        if objective.domain == domain and objective.in_vector
    ]
    total = sum(weights.get(name, 0.0) for name in members)
    if total <= 0:
        given = {name: weights.get(name) for name in members}
        raise ParamsError(
            f"{where}: no objective of domain {domain} has a positive weight ({given}); give one"
        )
    return {name: weights.get(name, 0.0) / total for name in members}


def check_weights(weights: Mapping[str, float], known: Mapping[str, Any], where: str) -> None:
    """Raises ParamsError unless each weight is of a known objective, finite and not negative, and one is positive."""
    for name, weight in weights.items():
        if name not in known:
            raise ParamsError(
                f"{where}.{name} is a weight for an unknown objective; {suggest(name, list(known))}"
            )
        if not 0 <= weight < float("inf"):
            raise ParamsError(
                f"{where}.{name} is {weight}; a weight must be finite and not negative"
            )
    if weights and not any(weights.values()):
        raise ParamsError(f"{where}: all weights are 0, so nothing is asked for; make one positive")
