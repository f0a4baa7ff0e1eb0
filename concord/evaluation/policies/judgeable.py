"""What a protocol needs to judge every objective. `prepare` checks it before any training."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.policies import likelihood
from concord.evaluation.policies.protocol import by_domain
from concord.objectives import Objective
from concord.prepared.splits import Parts
from concord.stage.errors import DataError


@dataclass(frozen=True)
class Judging:
    """The keys of the section `evaluate` that decide which labels judge a policy."""

    protocol: str
    prompts: int
    """Groups of held-out prompts per domain."""
    validation_prompts: int
    """Groups of validation prompts per domain."""

    @classmethod
    def of(cls, evaluate: Mapping[str, Any]) -> "Judging":
        """These keys of the section."""
        return cls(evaluate["protocol"], evaluate["prompts"], evaluate["validation_prompts"])


def require_judged(judging: Judging, parts: Parts, objectives: Mapping[str, Objective]) -> None:
    """Raises DataError if the protocol cannot judge an objective of the reward vector.

    The protocol `sandbox` needs no labels.
    """
    vector = {name: objective for name, objective in objectives.items() if objective.in_vector}
    if judging.protocol == "likelihood":
        _require_pairs(judging, parts, vector)
    if judging.protocol == "judged":
        _require_grades(parts, vector)


def _require_pairs(judging: Judging, parts: Parts, vector: Mapping[str, Objective]) -> None:
    limits = {
        "test": (judging.prompts, "evaluate.prompts"),
        "validation": (judging.validation_prompts, "evaluate.validation_prompts"),
    }
    for split, (groups, key) in limits.items():
        labels = _labels(parts, split)
        if unjudged := list(_without_pairs(labels, vector, groups)):
            raise DataError(
                f"evaluate.protocol is likelihood, which asks which of two answers to a prompt "
                f"people preferred, but in the first {groups} groups of the split {split} no two "
                f"answers were judged differently on {', '.join(unjudged)}; add comparisons, "
                f"rankings, or ratings of several answers to a prompt, raise prepare.{split} or "
                f"{key}, set in_vector: false for these objectives, or use evaluate.protocol: "
                "judged"
            )


def _without_pairs(
    labels: likelihood.Labels, vector: Mapping[str, Objective], groups: int
) -> Iterator[str]:
    """The objectives without a judged pair, with their domains."""
    domains = by_domain({name: objective.domain for name, objective in vector.items()})
    for domain, names in domains.items():
        try:
            answers = likelihood.labelled_answers(labels, domain, names, groups)
        except DataError:  # the domain has no labels
            yield from (f"{name} (domain {domain})" for name in names)
            continue
        accuracy = likelihood.longer_is_better(answers, names)
        yield from (f"{name} (domain {domain})" for name in names if np.isnan(accuracy[name]))


def _require_grades(parts: Parts, vector: Mapping[str, Objective]) -> None:
    labels = _labels(parts, "test")
    for name, objective in vector.items():
        domain = objective.domain
        if not (parts["prompts"]["test"]["domain"] == domain).any():
            raise DataError(
                f"evaluate.protocol is judged, which samples answers to the test prompts of each "
                f"domain, but {domain} has none; add prompts of this domain, or raise prepare.test"
            )
        if objective.verifier is None and not _gradable(labels, domain, name):
            raise DataError(
                f"evaluate.protocol is judged, whose judge learns {name} (domain {domain}) from "
                "the labels of the test split, but these are missing, all equal, or of one group; "
                "add ratings, rankings or comparisons, raise prepare.test, or set in_vector: false"
            )


def _gradable(labels: likelihood.Labels, domain: str, name: str) -> bool:
    """Whether answers in two groups have different grades."""
    try:
        answers = likelihood.labelled_answers(labels, domain, [name])
    except DataError:
        return False
    graded = pd.Series(likelihood.grades(answers, name), index=answers["group_id"]).dropna()
    return graded.nunique() > 1 and graded.index.nunique() > 1


def _labels(parts: Parts, split: str) -> likelihood.Labels:
    return likelihood.Labels(parts["ratings"][split], parts["pairs"][split])
