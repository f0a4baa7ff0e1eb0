"""One judge for the candidate and the champion, under the protocol `judged`.

The judge is fitted to the labels that there are, so that of the candidate knows more of them than
that of the champion did, and its predictions may be higher or lower for every answer. The answers
of the champion are therefore judged once more, by the judge of the candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from concord.evaluation.gates.sides import Side, on_shared_prompts
from concord.evaluation.policies.answer_judge import fitted
from concord.evaluation.policies.protocol import by_domain

if TYPE_CHECKING:
    from concord.evaluation.policies.answer_judge import Embed
    from concord.evaluation.policies.likelihood import Labels
    from concord.objectives import Objective

ANOTHER_JUDGE = "was judged at other weights by another judge, which knew fewer labels"
"""Why the fronts cannot be compared."""


def judged_alike(
    candidate: Side,
    champion: Side,
    objectives: Mapping[str, Objective],
    labels: Labels,
    embed: Embed | None,
) -> Side:
    """The champion, its answers to the candidate's prompts judged by the judge of the candidate.

    If that changes nothing, both had the same judge. Otherwise the champion loses its front, whose
    answers are not kept.

    Args:
        candidate: the candidate.
        champion: the champion, measured in the same way.
        objectives: the objectives of the policies. Those with a verifier or a named judge have the
            same judge at all times.
        labels: the held-out labels, to which the judge of the candidate was fitted.
        embed: its sentence embeddings; None without.
    """
    params = candidate.conditions["judge"]
    rated = {
        name: one.domain
        for name, one in objectives.items()
        if one.verifier is None and name not in params["judges"]
    }
    samples = on_shared_prompts(candidate, champion)[1].samples.copy()
    for domain, names in by_domain(rated).items():
        prompts = candidate.samples[candidate.samples["domain"] == domain]
        answers = samples[samples["domain"] == domain]
        if prompts.empty or answers.empty:
            continue
        judge = fitted(labels, prompts, domain, names, params["folds"], embed)
        for name, scores in judge.scores(answers).items():
            samples.loc[answers.index, f"gold.{name}"] = scores
    columns = [f"gold.{name}" for name in rated]
    before = champion.samples.loc[samples.index, columns].to_numpy(float)
    if np.allclose(samples[columns].to_numpy(float), before, rtol=0, atol=1e-9, equal_nan=True):
        return champion
    return replace(champion, samples=samples, front=None, why_no_front=ANOTHER_JUDGE)
