"""Checks of policies: whether training moved a policy to the right answer of each comparison.

- `share`: the log-probability of the right answer, summed over its tokens, rose by more than that
  of the wrong one from the SFT model to the policy. This is the preference of the implicit reward
  of DPO (Rafailov et al., arXiv 2305.18290), so a policy is tested as a reward head is.
- `likelier`: the right answer has the higher log-probability per token under the policy;
  `likelier_sft`: under the SFT model. These depend on the wording more than on what a policy does:
  a refusal in fixed words is more likely than any one of many possible pieces of advice. The change
  from the SFT model is free of that (docs/results/reward-models.md).
- `unchanged`: the policy is the SFT model, so there is nothing to test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from concord.evaluation.check_figures import both_sides, figures, mean_over_prompts
from concord.evaluation.policies.protocol import DEFAULT, Point
from concord.evaluation.policies.run_protocol import SAME_AS_SFT
from concord.objectives import Objective

if TYPE_CHECKING:
    from concord.steering.steered import Steered


def policy_checks(
    policy: Steered,
    checks: Mapping[str, pd.DataFrame],
    objectives: Mapping[str, Objective],
    points: Sequence[Point],
) -> dict[str, Any]:
    """Check -> its figures, at the weights `default` of its domain.

    Args:
        policy: the policy, with the SFT model as its reference.
        checks: check -> its pairs, from `concord.evaluation.check_figures.read_pairs`.
        objectives: all objectives.
        points: the operating points of all domains, from which the weights are taken.
    """
    report = {}
    for name, pairs in checks.items():
        domain = objectives[str(pairs["objective"].iloc[0])].domain
        messages, answers = both_sides(pairs)
        compared, lengths = policy.compared(messages, answers, weights(points, domain))
        now, before = compared.logprobs, compared.reference_logprobs
        report[name] = {
            **figures(pairs, now - before),
            "likelier": mean_over_prompts(pairs, now / lengths),
            "likelier_sft": mean_over_prompts(pairs, before / lengths),
            "unchanged": bool(np.abs(now - before).max() < SAME_AS_SFT),
        }
    return report


def weights(points: Sequence[Point], domain: str) -> dict[str, float]:
    """The weights `default` of a domain; those of all domains, if none of the points has it.

    A domain in which `default` has the weights of `equal` has only `equal`, which comes first.

    Examples:
        >>> points = [Point("equal", "a", {"true": 1.0}), Point("equal", "b", {"kind": 1.0})]
        >>> weights(points, "a"), weights(points, "all")
        ({'true': 1.0}, {'true': 1.0, 'kind': 1.0})
    """
    first: dict[str, Point] = {}
    for point in points:
        if point.domain not in first or point.name == DEFAULT:
            first[point.domain] = point
    chosen = [first[domain]] if domain in first else list(first.values())
    return {name: weight for point in chosen for name, weight in point.weights.items()}
