"""Where the pairs of a policy come from: scored answers, people's comparisons, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concord.policies.job import ANNOTATED, RATED, ROLLOUTS, PolicyJob
from concord.policies.preference_settings import PreferenceParams, loss_weights
from concord.stage import outputs
from concord.stage.paths import ANCHORS, SFT

if TYPE_CHECKING:
    from pathlib import Path

    from concord.policies.training_pairs import Pair


def pairs_by_objective(job: PolicyJob) -> dict[str, list[Pair]]:
    """Objective -> its pairs, from the sources in `job.params.pairs`.

    Covers the objectives of the reward vector with a positive loss weight.
    """
    from concord.policies import training_pairs as pairs
    from concord.policies.scored_answers import scored_answers

    names = [
        name for name, weight in loss_weights(job.params.alpha, job.vector).items() if weight > 0
    ]
    parts = []
    if job.params.pairs != "annotations":
        answers, anchors = scored_answers(job)
        parts.append(
            pairs.by_objective(
                answers,
                job.objectives,
                names,
                anchors,
                job.params.min_gap,
                job.params.pairs_per_prompt,
            )
        )
    if job.params.pairs in ("annotations", "both"):
        parts.append(pairs.from_annotations(outputs.read_table(ANNOTATED), names))
    return pairs.merge_groups(*parts)


def input_files(params: PreferenceParams) -> list[Path]:
    """The files and folders that training with `params.pairs` reads."""
    tables = {
        "rollouts": [ROLLOUTS, ANCHORS],
        "annotations": [ANNOTATED],
        "both": [ROLLOUTS, ANCHORS, ANNOTATED],
        "ratings": [RATED],
    }
    return [SFT, *tables[params.pairs]]
