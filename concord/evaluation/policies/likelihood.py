"""The likelihood protocol: does the policy prefer the answers that people preferred?

The protocol needs no judge and no sampling. Human-labelled answers to held-out questions are scored
by their log-probability per token under the policy. Two answers to one question make a pair of an
objective if people preferred one of them: by different ratings, in a ranking, or in a comparison.
The policy scores 1 if the better answer has the higher log-probability per token, and 0.5 for a
tie. The mean is the pair accuracy of the objective; moving the head weights traces a front.

Ratings of an answer are averaged. If several labels compare two answers (their mean ratings, each
ranking, each comparison), the majority decides, and a tie makes no pair. KL is exact per position
of the labelled answers, in nats per answer.
"""

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from concord.annotations.interchange import content_hash
from concord.evaluation.policies.protocol import EQUAL, Judged, Point, Sampler
from concord.prepared import pairs as preferences
from concord.stage import outputs
from concord.stage.errors import DataError
from concord.stage.paths import PREPARED

MEASURE = (
    "pair accuracy of human-labelled answers by log-probability per token, "
    f"points `{EQUAL}` and sweep"
)
"""What is measured, for the report."""
KEYS = ["prompt_id", "response"]
"""What identifies an answer."""
LABELLED = ("ratings", "pairs")
"""Folders of `data/prepared` with labels of answers, in the order of `Labels`."""
ANSWER = ["messages", "group_id", *KEYS]


@dataclass(frozen=True)
class Labels:
    """The labels of one split, in the columns of the prepared tables."""

    ratings: pd.DataFrame
    """Ratings, ranks and binary labels."""
    pairs: pd.DataFrame
    """Pairs. Those that were derived from ratings are not read, because the ratings are."""


def labels_of(split: str) -> Labels:
    """The prepared labels of a split."""
    tables = (outputs.read_table(PREPARED / f"{name}/{split}.parquet") for name in LABELLED)
    return Labels(*tables)


def judge(
    policy: Sampler,
    labels: Mapping[str, Labels],
    groups: Mapping[str, int],
    names: Mapping[str, Sequence[str]],
    points: Mapping[str, Sequence[Point]],
) -> Judged:
    """Scores the human-labelled answers at all points, and judges their pairs.

    Args:
        policy: the policy.
        labels: the labels of the split `test`, and of `validation` if it is evaluated.
        groups: number of groups of prompts in each split.
        names: domain -> its evaluated objectives.
        points: the operating points of each split.

    Raises:
        DataError: a domain has no labels in a split.
    """
    flat = [name for members in names.values() for name in members]
    scored, paired = {}, {}
    baseline: dict[str, float] = {}
    for split, given in labels.items():
        frames = []
        for domain, members in names.items():
            answers = labelled_answers(given, domain, members, groups[split])
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
    labels: Labels, domain: str, names: Sequence[str], groups: int | None = None
) -> pd.DataFrame:
    """Distinct answers of the first `groups` groups (None: of all groups), with their labels.

    Columns: messages, group_id, prompt_id, response, domain; `answer`, the number of the answer
    within its prompt; and for each objective `rating.<objective>`, its mean rating, NaN without
    one, and `beats.<objective>`, the answers that it was preferred to in rankings and comparisons,
    once per label.

    Groups are ordered by the hash of their first prompt, so the choice does not depend on the order
    of the file. Raises DataError if there are no labels.
    """
    ratings, stated = _of_objectives(labels, names)
    sides = [stated.rename(columns={side: "response"}) for side in ("chosen", "rejected")]
    table = pd.concat([frame[ANSWER] for frame in (ratings, *sides)], ignore_index=True)
    if table.empty:
        raise DataError(
            f"the held-out data have no label of {', '.join(names)}, so the domain {domain} cannot "
            "be evaluated; add ratings, rankings or comparisons of these objectives"
        )
    order = table.groupby("group_id")["prompt_id"].min().sort_values(kind="stable").index[:groups]
    chosen = table[table["group_id"].isin(set(order))].drop_duplicates(KEYS)
    answers = chosen.sort_values(KEYS, ignore_index=True)
    answers["answer"] = answers.groupby("prompt_id").cumcount()
    return _labelled(answers, ratings, stated, names).assign(domain=domain)


def _of_objectives(labels: Labels, names: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The grades of single answers, and the preferences between two answers, of some objectives.

    Both tables have the column `prompt_id`.
    """
    ratings = labels.ratings[labels.ratings["objective"].isin(names)]
    compared = labels.pairs[
        labels.pairs["objective"].isin(names) & (labels.pairs["origin"] == "comparisons")
    ]
    ranked = ratings["kind"] == "ranking"
    implied = [preferences.from_ratings(ratings[ranked])] if ranked.any() else []
    return _with_prompt_id(ratings[~ranked]), _with_prompt_id(pd.concat([compared, *implied]))


def _with_prompt_id(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(prompt_id=frame["messages"].map(content_hash).astype(object))


def _labelled(
    answers: pd.DataFrame, ratings: pd.DataFrame, stated: pd.DataFrame, names: Sequence[str]
) -> pd.DataFrame:
    """The answers with the columns `rating.<objective>` and `beats.<objective>`."""
    keys = pd.MultiIndex.from_frame(answers[KEYS])
    number = dict(zip(keys, answers["answer"], strict=True))
    beaten: dict[tuple[str, str, str], list[int]] = {}
    columns = ["objective", "prompt_id", "chosen", "rejected"]
    for name, prompt, better, worse in stated[columns].itertuples(index=False):
        if (prompt, worse) in number:
            beaten.setdefault((name, prompt, better), []).append(number[prompt, worse])
    means = ratings.groupby(["objective", *KEYS])["rating"].mean().to_dict()
    labels: dict[str, Any] = {}
    for name in names:
        labels[f"rating.{name}"] = [means.get((name, *key), np.nan) for key in keys]
        lists = [sorted(beaten.get((name, *key), [])) for key in keys]
        labels[f"beats.{name}"] = pd.Series(lists, index=answers.index, dtype=object)
    return answers.assign(**labels)


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


def preferred(block: pd.DataFrame, objective: str) -> list[tuple[int, int]]:
    """The judged pairs of the answers to one prompt, as positions in `block`: (better, worse).

    Mean ratings are one label of a pair, and so is each ranking and each comparison. `block` has
    the columns of `labelled_answers`; `answer` and `beats.<objective>` may be missing if nothing
    was compared or ranked.
    """
    votes: Counter[tuple[int, int]] = Counter()
    ratings = block[f"rating.{objective}"].to_numpy(dtype=np.float64)
    for one, two in itertools.combinations(np.flatnonzero(np.isfinite(ratings)).tolist(), 2):
        votes[one, two] += int(np.sign(ratings[one] - ratings[two]))
    if f"beats.{objective}" in block.columns:
        position = {number: row for row, number in enumerate(block["answer"])}
        for one, worse in enumerate(block[f"beats.{objective}"]):
            for number in worse if isinstance(worse, list) else []:
                two = position[number]
                votes[min(one, two), max(one, two)] += 1 if one < two else -1
    return [(one, two) if vote > 0 else (two, one) for (one, two), vote in votes.items() if vote]


def grades(answers: pd.DataFrame, objective: str) -> np.ndarray:
    """One grade in [0, 1] per answer, `(answers,)`; NaN without labels.

    It is the mean rating, or without one the share of the answer's comparisons and ranks in which
    it is the better answer: 1 and 0 for the two answers of a pair.
    """
    rating = answers[f"rating.{objective}"].to_numpy(dtype=np.float64)
    if f"beats.{objective}" not in answers.columns:
        return rating
    beaten = answers[f"beats.{objective}"].tolist()
    lost = Counter(
        (prompt, number)
        for prompt, numbers in zip(answers["prompt_id"], beaten, strict=True)
        for number in numbers
    )
    losses = [lost[key] for key in zip(answers["prompt_id"], answers["answer"], strict=True)]
    wins = np.array([len(numbers) for numbers in beaten], dtype=np.float64)
    total = wins + np.array(losses, dtype=np.float64)
    share = np.divide(wins, total, out=np.full(len(wins), np.nan), where=total > 0)
    return np.asarray(np.where(np.isfinite(rating), rating, share))


def _correct(block: pd.DataFrame, objective: str) -> list[float]:
    """1, 0.5 or 0 per judged pair: whether the better answer is more likely."""
    logprobs = block["log_probability"].to_numpy()
    return [
        float(np.heaviside(logprobs[better] - logprobs[worse], 0.5))
        for better, worse in preferred(block, objective)
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
