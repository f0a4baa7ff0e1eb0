"""The likelihood protocol: does the policy prefer the answers that people rated higher?

The protocol needs no judge and no sampling. Human-labelled answers to held-out questions are scored
by their log-probability per token under the policy. Two answers to one question with different
ratings on an objective make a pair. The policy scores 1 if the better answer has the higher
log-probability per token, and 0.5 for a tie. The mean is the pair accuracy of the objective; moving
the head weights traces a front. Repeated ratings of an answer are averaged. KL is exact per
position of the labelled answers, in nats per answer.
"""

import itertools
import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from concord.annotations.interchange import content_hash
from concord.evaluation.policies.protocol import EQUAL, Judged, Point, Sampler
from concord.stage.errors import DataError

MEASURE = (
    "pair accuracy of human-labelled answers by log-probability per token, "
    f"points `{EQUAL}` and sweep"
)
"""What is measured, for the report."""


def judge(
    policy: Sampler,
    ratings: Mapping[str, pd.DataFrame],
    groups: Mapping[str, int],
    names: Mapping[str, Sequence[str]],
    points: Mapping[str, Sequence[Point]],
) -> Judged:
    """Scores the human-labelled answers at all points, and judges their pairs.

    Args:
        policy: the policy.
        ratings: the ratings of the split `test`, and of `validation` if it is evaluated.
        groups: number of groups of prompts in each split.
        names: domain -> its evaluated objectives.
        points: the operating points of each split.
    """
    flat = [name for members in names.values() for name in members]
    scored, paired = {}, {}
    baseline: dict[str, float] = {}
    for split, table in ratings.items():
        frames = []
        for domain, members in names.items():
            if not table["objective"].isin(members).any():
                continue  # the domain is used by reward models only
            answers = labelled_answers(table, domain, members, groups[split])
            domain_points = [point for point in points[split] if point.domain == domain]
            frames.append(score(policy, answers, domain_points, split))
            if split == "test":
                baseline |= longer_is_better(answers, members)
        scored[split] = pd.concat(frames, ignore_index=True)
        paired[split] = pairs(scored[split], flat)
    return Judged(
        pd.concat(scored.values(), ignore_index=True),
        paired["test"],
        paired.get("validation", paired["test"].iloc[:0]),
        {"measure": MEASURE, "length_baseline": baseline},
    )


def labelled_answers(
    ratings: pd.DataFrame, domain: str, names: Sequence[str], groups: int
) -> pd.DataFrame:
    """Distinct answers of the first `groups` groups, with columns `rating.<objective>`.

    A rating is NaN if the answer has none. Groups are ordered by the hash of their first prompt, so
    the choice does not depend on the order of the file. Raises DataError if there are no ratings.
    """
    table = ratings[ratings["objective"].isin(names)]
    if table.empty:
        raise DataError(
            f"data/prepared/ratings has no rating of {', '.join(names)}, so the domain {domain} "
            "cannot be evaluated. Add ratings of these objectives."
        )
    table = table.assign(prompt_id=[content_hash(messages) for messages in table["messages"]])
    order = table.groupby("group_id")["prompt_id"].min().sort_values(kind="stable").index[:groups]
    table = table[table["group_id"].isin(set(order))]
    keys = ["prompt_id", "response"]
    rated = table.pivot_table(
        index=keys, columns="objective", values="rating", aggfunc="mean"
    ).reindex(columns=list(names))
    answers = (
        table.drop_duplicates(keys)[["messages", "group_id", *keys]]
        .set_index(keys)
        .loc[rated.index]
    )
    return answers.join(rated.add_prefix("rating.")).reset_index().assign(domain=domain)


def score(
    policy: Sampler, answers: pd.DataFrame, points: Sequence[Point], split: str
) -> pd.DataFrame:
    """The answers at every point, with log-probability per token, KL, and length in tokens."""
    likelihoods, kls, length = policy.likelihood(
        answers["messages"].tolist(),
        answers["response"].tolist(),
        [point.weights for point in points],
    )
    frames = [
        answers.assign(
            split=split, point=point.name, weights=json.dumps(point.weights, sort_keys=True),
            log_probability=likelihood / length, kl=kl, length=length,
        )
        for point, likelihood, kl in zip(points, likelihoods, kls, strict=True)
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def judged_units(samples: pd.DataFrame, domain: str, names: Sequence[str]) -> pd.DataFrame:
    """The rows of a domain to average: answers (sandbox protocol), or pairs of labelled answers."""
    frame = samples[samples["domain"] == domain]
    return pairs(frame, names) if "log_probability" in frame.columns else frame


def pairs(samples: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Judged pairs of scored answers, one row per pair, point and objective.

    `gold.<objective>` is 1, 0.5 or 0. Each answer has another row with its KL and length, so that
    an answer in many pairs counts once in those.
    """
    index = ["split", "domain", "point", "weights", "prompt_id"]
    rows: list[dict[str, object]] = []
    for key, block in samples.groupby(index, sort=False):
        common = {**dict(zip(index, key, strict=True)), "group_id": block["group_id"].iloc[0]}
        measures = zip(block["kl"], block["length"], strict=True)
        rows += [{**common, "kl": ratio, "length": length} for ratio, length in measures]
        for name in names:
            rows += [{**common, f"gold.{name}": value} for value in _correct(block, name)]
    frame = pd.DataFrame(rows).reindex(
        columns=[*index, "group_id", "kl", "length", *(f"gold.{n}" for n in names)]
    )
    return frame.assign(**{f"proxy.{name}": frame[f"gold.{name}"] for name in names})


def _correct(block: pd.DataFrame, objective: str) -> list[float]:
    """1, 0.5 or 0 per pair of differently rated answers: whether the better one is more likely."""
    column = f"rating.{objective}"
    rated = block[block[column].notna()]
    scored = zip(rated[column].to_numpy(), rated["log_probability"].to_numpy(), strict=True)
    return [
        float(np.heaviside((one[0] - two[0]) * (one[1] - two[1]), 0.5))
        for one, two in itertools.combinations(list(scored), 2)
        if one[0] != two[0]
    ]


def longer_is_better(answers: pd.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Pair accuracy per objective of preferring the longer answer; NaN without pairs."""
    longer = answers.assign(log_probability=answers["response"].str.len().astype(float))
    blocks = [block for _, block in longer.groupby("prompt_id", sort=False)]
    correct = {
        name: [value for block in blocks for value in _correct(block, name)] for name in names
    }
    return {
        name: float(np.mean(values)) if values else float("nan") for name, values in correct.items()
    }
