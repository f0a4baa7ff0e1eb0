"""The likelihood protocol: no judge, no sampling; does the policy find the answer likelier that people rated higher?

Human-labelled answers of held-out questions are scored by their log-probability per token under the policy. Of two
answers to one question that people rated differently on an objective, the policy is right (1) where the better one is
likelier per token, half right at a tie. The share is the pair accuracy of that objective; moving the head weights
traces a front. An answer rated several times counts by its mean rating. KL is exact per position of the labelled
answers, in nats per answer.
"""

import itertools
import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from concord.annotations.interchange import content_hash
from concord.evaluation.policies.protocol import Point, Sampler
from concord.stage.errors import DataError


def labelled_answers(
    ratings: pd.DataFrame, domain: str, names: Sequence[str], groups: int
) -> pd.DataFrame:
    """One row per distinct answer with columns `rating.<objective>` (NaN: not rated), of the first `groups` groups.

    Groups are taken in the order of the hash of their first prompt, so that the choice does not hang on the file's
    order.
    """
    table = ratings[ratings["objective"].isin(names)]
    if table.empty:
        raise DataError(
            f"data/prepared/ratings holds no rating of {', '.join(names)}, so the domain cannot be evaluated"
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
    """The answers at every point, with the policy's log-probability per token, the answers' length and the KL."""
    likelihoods, kls, length = policy.likelihood(
        answers["messages"].tolist(),
        answers["response"].tolist(),
        [point.weights for point in points],
    )
    frames = [
        answers.assign(
            split=split, point=point.name, weights=json.dumps(point.weights, sort_keys=True),
            log_probability=likelihood / length, log_ratio=kl, length=length,
        )
        for point, likelihood, kl in zip(points, likelihoods, kls, strict=True)
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def judged_units(samples: pd.DataFrame, domain: str, names: Sequence[str]) -> pd.DataFrame:
    """The rows of a domain's samples that are averaged: answers (sandbox protocol), or pairs of labelled answers."""
    frame = samples[samples["domain"] == domain]
    return pairs(frame, names) if "log_probability" in frame.columns else frame


def pairs(samples: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Judged pairs of scored answers: `gold.<objective>` is 1, 0.5 or 0; one row per pair, point and objective.

    Each answer has a row too, which carries its KL and length, so that answers in many pairs count once in those.
    """
    index = ["split", "domain", "point", "weights", "prompt_id"]
    rows: list[dict[str, object]] = []
    for key, block in samples.groupby(index, sort=False):
        common = {**dict(zip(index, key, strict=True)), "group_id": block["group_id"].iloc[0]}
        measures = zip(block["log_ratio"], block["length"], strict=True)
        rows += [{**common, "log_ratio": ratio, "length": length} for ratio, length in measures]
        for name in names:
            rows += [{**common, f"gold.{name}": value} for value in _correct(block, name)]
    frame = pd.DataFrame(rows).reindex(
        columns=[*index, "group_id", "log_ratio", "length", *(f"gold.{n}" for n in names)]
    )
    return frame.assign(**{f"proxy.{name}": frame[f"gold.{name}"] for name in names})


def _correct(block: pd.DataFrame, objective: str) -> list[float]:
    """For each pair of answers with different ratings: whether the better one is likelier."""
    column = f"rating.{objective}"
    rated = block[block[column].notna()]
    found = zip(rated[column].to_numpy(), rated["log_probability"].to_numpy(), strict=True)
    return [
        float(np.heaviside((one[0] - two[0]) * (one[1] - two[1]), 0.5))
        for one, two in itertools.combinations(list(found), 2)
        if one[0] != two[0]
    ]


def longer_is_better(answers: pd.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Pair accuracy of each objective for who always takes the longer answer: the mark to beat; NaN without pairs."""
    longer = answers.assign(log_probability=answers["response"].str.len().astype(float))
    blocks = [block for _, block in longer.groupby("prompt_id", sort=False)]
    found = {name: [value for block in blocks for value in _correct(block, name)] for name in names}
    return {
        name: float(np.mean(values)) if values else float("nan") for name, values in found.items()
    }
