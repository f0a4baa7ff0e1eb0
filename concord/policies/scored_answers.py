"""Answers that have a score per objective, from which preference pairs are chosen.

They are samples of the SFT model that the reward models scored (`pairs: rollouts`), or answers that
people rated (`pairs: ratings`). With ratings, no reward model has a part in the policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from concord.annotations.interchange import content_hash
from concord.objectives import Objective
from concord.policies.job import RATED, ROLLOUTS, PolicyJob
from concord.policies.training_pairs import RAW
from concord.rewards.vector.anchors import Anchors
from concord.stage import outputs
from concord.stage.errors import DataError
from concord.stage.paths import ANCHORS

if TYPE_CHECKING:
    import pandas as pd


def scored_answers(job: PolicyJob) -> tuple[pd.DataFrame, Anchors]:
    """The answers, a row each, and the scale of every score.

    The columns are prompt_id, domain, messages, response, sample, finished, and `raw.<objective>`,
    which is NaN where an answer has no score.
    """
    if job.params.pairs == "ratings":
        return rated_answers(outputs.read_table(RATED), job.objectives, job.vector)
    return outputs.read_table(ROLLOUTS), Anchors.load(ANCHORS)


def rated_answers(
    ratings: pd.DataFrame, objectives: Mapping[str, Objective], names: Sequence[str]
) -> tuple[pd.DataFrame, Anchors]:
    """The answers that people rated, with the mean rating per objective.

    The scale of an objective is the mean and the standard deviation of its ratings. Ratings are
    higher for better answers, whatever the objective's direction in its source.

    Args:
        ratings: a table of data/prepared/ratings.
        objectives: all objectives.
        names: the objectives to use.

    Raises:
        DataError: an objective has no ratings.
    """
    table = ratings[ratings["objective"].isin(list(names))]
    missing = sorted(set(names) - set(table["objective"]))
    if missing:
        raise DataError(
            f"{RATED} has no rating of {', '.join(missing)}; use `pairs: rollouts` or `pairs: "
            "annotations`, or add ratings of these objectives"
        )
    domains = {name: objectives[name].domain for name in names}
    table = table.assign(
        prompt_id=[content_hash(messages) for messages in table["messages"]],
        domain=table["objective"].map(domains),
    )
    keys = ["domain", "prompt_id", "response"]
    scores = table.pivot_table(index=keys, columns="objective", values="rating", aggfunc="mean")
    answers = table.drop_duplicates(keys).set_index(keys).loc[scores.index, ["messages"]]
    answers = answers.join(scores[list(names)].add_prefix(RAW)).reset_index()
    sample = answers.groupby(["domain", "prompt_id"]).cumcount()
    anchors = Anchors.fit({name: answers[RAW + name].to_numpy() for name in names})
    return answers.assign(sample=sample, finished=True), anchors
