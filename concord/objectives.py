"""Objectives, their domains, and weights over objectives.

An objective is one aspect of quality, such as honesty. Weights refer to objectives by name, never
by position.
"""

from collections.abc import Mapping
from typing import Any

from pydantic.dataclasses import dataclass

from concord.stage.errors import ParamsError
from concord.stage.params import FORBID, mapping_of, suggest


@dataclass(frozen=True, config=FORBID)
class Objective:
    """One aspect of quality. Set exactly one of `verifier` and `reward`; neither, if no stage of
    the run scores answers."""

    domain: str
    """The kind of prompts that the objective applies to; `all` for every domain."""
    description: str
    """What a high score means, for readers of the report."""
    verifier: str | None = None
    """Exact check of the answer: the name of a verifier, or module:function."""
    reward: str | None = None
    """The reward model that scores the objective, with the head of the same name."""
    in_vector: bool = True
    """Whether the objective is part of the reward vector that policies are trained on."""

    def __post_init__(self) -> None:
        if self.verifier is not None and self.reward is not None:
            raise ValueError(
                "names both of `verifier` and `reward`, so it is unclear what scores the "
                "objective; name exactly one"
            )


def objectives_of(params: Mapping[str, Any]) -> dict[str, Objective]:
    """The `objectives` section of `params`, in the order of the file."""
    return mapping_of(Objective, params, "objectives")


def domain_weights(
    weights: Mapping[str, float],
    objectives: Mapping[str, Objective],
    domain: str,
    where: str = "weights",
) -> dict[str, float]:
    """The weights of the objectives of one domain, scaled to sum to 1.

    Only objectives in the reward vector are included, in the order of `objectives`. A missing
    weight counts as 0. `where` is the path of the weights, for messages.

    Raises ParamsError if an objective is unknown, a weight is negative or not finite, or no weight
    of the domain is positive.

    Examples:
        >>> objectives = {
        ...     name: Objective(domain="values", description="", reward="values")
        ...     for name in ("helpful", "honest")
        ... }
        >>> domain_weights({"helpful": 1.0, "honest": 3.0}, objectives, "values")
        {'helpful': 0.25, 'honest': 0.75}
    """
    check_weights(weights, objectives, where)
    members = [
        name
        for name, objective in objectives.items()
        if objective.domain == domain and objective.in_vector
    ]
    total = sum(weights.get(name, 0.0) for name in members)
    if total <= 0:
        current = {name: weights.get(name) for name in members}
        raise ParamsError(
            f"{where}: no objective of domain {domain} has a positive weight ({current}); "
            "set at least one"
        )
    return {name: weights.get(name, 0.0) / total for name in members}


def check_weights(weights: Mapping[str, float], known: Mapping[str, Any], where: str) -> None:
    """Raises ParamsError if a weight is invalid.

    Each weight must belong to a known objective and be finite and not negative. At least one must
    be positive, unless the mapping is empty. `where` is the path of the weights, for messages.
    """
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
        raise ParamsError(
            f"{where}: all weights are 0, so no objective is pursued; set at least one above 0"
        )
