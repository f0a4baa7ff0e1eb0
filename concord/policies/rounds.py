"""On-policy rounds: a policy with heads learns from pairs of its own samples.

The first training learns from the given pairs. Then each round

1. gives every prompt a mix of the heads: a single objective or a random mix of its domain, in the
   shares that `mixes` sets for the batches,
2. samples K answers from that mix of the policy,
3. scores them with the reward vector,
4. chooses the best and the worst by the same mix of the anchored rewards, and
5. trains the same mix of the heads on these pairs.

The reference of the loss stays the SFT model (iterative DPO, arXiv 2312.11456). The optimiser steps
are divided evenly between the first training and the rounds. Each of them has its own warm-up,
schedule and optimiser state, so samples always come from a policy whose learning rate has decayed.

Finished rounds, and the samples of a round, are kept until the policy is saved. A run that was
killed restores them.
"""

from __future__ import annotations

import dataclasses
import math
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.chat import render
from concord.lm.load import load_causal, load_tokenizer
from concord.lm.precision import autocast
from concord.lm.train import Training
from concord.policies.job import ROLLOUTS, PolicyJob, save
from concord.policies.mixes import MixPlan, draw_mixes
from concord.policies.pair_sources import input_files
from concord.policies.preference import fit_pairs, new_model
from concord.rewards.vector.reward_vector import RewardVector
from concord.stage import outputs, progress, resume, runtime
from concord.stage.errors import DataError
from concord.stage.params import FORBID
from concord.stage.paths import ANCHORS, REWARDS, SFT

if TYPE_CHECKING:
    from concord.policies.model import MultiHeadCausalLM
    from concord.policies.training_pairs import Pair

POLICY = "policy"
"""Folder of the policy after the newest finished round, with the round's number."""


@dataclass(frozen=True, config=FORBID)
class Rounds:
    """Training on samples of the policy itself."""

    count: Annotated[int, Field(ge=1)] = 1
    """Rounds after the first training."""
    prompts: Annotated[int, Field(ge=1)] = 320
    """Maximum number of prompts per domain and round, drawn from those of the rollouts."""
    samples: Annotated[int, Field(ge=2)] = 8
    """K, responses per prompt."""
    mixes_per_domain: Annotated[int, Field(ge=1)] = 8
    """Random mixes of the heads per domain and round. They share the prompts that are not sampled
    by a single objective. Each takes a merge of the heads."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 96
    """Maximum length of a response, in tokens. A response cut at this length is in no pair."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature."""


class Sampler(NamedTuple):
    """A mix of the heads, and the prompts that it answers."""

    group: str
    """The group of its pairs: an objective, or the group of the mixes of a domain."""
    weights: dict[str, float]
    """Objective of the domain -> weight; the sum is 1."""
    prompts: pd.DataFrame


def round_problems(rounds: Rounds, plan: MixPlan) -> Iterator[str]:
    """Yields a message for each domain with fewer prompts than mixes of the heads."""
    for domain, groups in _groups_by_domain(plan).items():
        counts = {group: rounds.mixes_per_domain if group in plan.mixed else 1 for group in groups}
        total = sum(plan.shares[group] for group in groups)
        needed = max(math.ceil(counts[g] * total / plan.shares[g] - 1e-9) for g in groups)
        if rounds.prompts < needed:
            yield (
                f"rounds.prompts: {rounds.prompts} prompts cannot be shared by the "
                f"{sum(counts.values())} mixes of the heads that sample in the domain {domain}; "
                f"raise it to {needed} or more"
            )


def train_in_rounds(
    job: PolicyJob,
    groups: Mapping[str, list[Pair]],
    heads: Mapping[str, int],
    plan: MixPlan,
    module_file: str,
) -> None:
    """Trains the policy on `groups`, then on its own samples, and saves it.

    Args:
        job: the policy to train; its parameters have `rounds`.
        groups: the pairs of the first training by group.
        heads: objective -> index of its head.
        plan: the shares and loss weights of the groups.
        module_file: `__file__` of the method; its code is part of the key of the checkpoints.
    """
    params = job.params
    device = runtime.start(job.runtime, job.seeds.data)
    inputs = [*input_files(params), ROLLOUTS, ANCHORS, REWARDS]
    work = resume.folder(job.stage, [job, "rounds"], inputs, module_file)
    finished = sorted(work.glob(f"{POLICY}-*"), key=resume.step_of)
    first = resume.step_of(finished[-1]) + 1 if finished else 0
    if finished:
        print(f"resuming after {first} of {params.rounds.count + 1} trainings")
    for number in range(first, params.rounds.count + 1):
        if number == 0:
            model, pairs = new_model(params, job.vector, device), dict(groups)
        else:
            model = load_causal(work / f"{POLICY}-{number - 1}", device)
            pairs = on_policy_pairs(job, model, plan, number, work)
        shares = _shares_of(pairs, plan, number)
        fit_pairs(
            job,
            model,
            {group: pairs[group] for group in shares},
            heads,
            training=part_of(params.training, number, params.rounds.count + 1),
            untrained=number == 0,
            work=work / f"fit-{number}",
            curve=work / f"curve-{number}.csv",
            shares=shares,
            alpha=plan.alpha,
        )
        with outputs.directory(work / f"{POLICY}-{number}") as folder:
            model.save_pretrained(folder)
        shutil.rmtree(work / f"{POLICY}-{number - 1}", ignore_errors=True)
    _join_curves(job, work)
    save(load_causal(work / f"{POLICY}-{params.rounds.count}", device), job)
    shutil.rmtree(work, ignore_errors=True)


def part_of(training: Training, part: int, parts: int) -> Training:
    """The settings of one of `parts` trainings that share the steps, or epochs, of `training`.

    Examples:
        >>> training = Training(learning_rate=1e-3, batch_size=6, steps=5)
        >>> [part_of(training, part, 3).steps for part in range(3)]
        [2, 2, 1]
    """
    if training.steps is None:
        return dataclasses.replace(training, epochs=(training.epochs or 0.0) / parts)
    steps = training.steps // parts + (part < training.steps % parts)
    return dataclasses.replace(training, steps=steps)


def on_policy_pairs(
    job: PolicyJob, model: MultiHeadCausalLM, plan: MixPlan, number: int, work: Path
) -> dict[str, list[Pair]]:
    """Group -> pairs of one round. The scored samples are kept in `work`."""
    rollouts = outputs.read_table(ROLLOUTS)
    samplers = draw_samplers(job, plan, rollouts, number)
    file = work / f"samples-{number}.parquet"
    if not file.is_file():
        outputs.write_table(file, score(job, sample(job, model, samplers, number), model.device))
    return choose_pairs(job, outputs.read_table(file), samplers, plan, rollouts)


def draw_samplers(
    job: PolicyJob, plan: MixPlan, rollouts: pd.DataFrame, number: int
) -> list[Sampler]:
    """The mixes of the heads that sample in round `number`, and their prompts.

    Each group gets its share of the prompts of its domain. The draws depend on the seed and the
    round alone.
    """
    from concord.policies.training_pairs import rows_of_domain

    rounds, drawn = job.params.rounds, []
    prompts = rollouts.drop_duplicates("prompt_id").sort_values("prompt_id")
    for domain, groups in _groups_by_domain(plan).items():
        rows = rows_of_domain(prompts, domain)
        generator = random.Random(f"{job.seeds.data}-round-{number}-{domain}")
        chosen = generator.sample(range(len(rows)), min(rounds.prompts, len(rows)))
        mixes = [(g, weights) for g in groups for weights in _mixes_of(job, plan, g, number)]
        counts = {group: sum(group == other for other, _ in mixes) for group in groups}
        shares = np.cumsum([plan.shares[group] / counts[group] for group, _ in mixes])
        ends = np.rint(shares / shares[-1] * len(chosen)).astype(int).tolist()
        for (group, weights), (start, end) in zip(mixes, pairwise([0, *ends]), strict=True):
            drawn.append(Sampler(group, weights, rows.iloc[chosen[start:end]]))
    return [one for one in drawn if len(one.prompts)]


def _mixes_of(job: PolicyJob, plan: MixPlan, group: str, number: int) -> list[dict[str, float]]:
    if group not in plan.mixed:
        return [{group: 1.0}]
    mixes = dataclasses.replace(job.params.mixes, per_prompt=job.params.rounds.mixes_per_domain)
    names = plan.mixed[group][1]
    drawn = draw_mixes(mixes, len(names), f"round-{number}", seed=f"{job.seeds.data}-{group}")
    return [dict(zip(names, mix, strict=True)) for mix in drawn.tolist()]


def sample(
    job: PolicyJob, model: MultiHeadCausalLM, samplers: Sequence[Sampler], number: int
) -> pd.DataFrame:
    """The samples of a round; the column `sampler` is the index in `samplers`.

    Other columns: prompt_id, domain, messages, reference, sample, response, finished.
    """
    from concord.lm.sample import sample_ids, stop_ids

    rounds, tokenizer = job.params.rounds, load_tokenizer(SFT)
    columns, frames = ["prompt_id", "domain", "messages", "reference"], []
    for index, one in enumerate(progress.track(samplers, len(samplers), f"round {number}")):
        frame = one.prompts[columns].loc[one.prompts.index.repeat(rounds.samples)]
        stock = model.merge(dict.fromkeys(model.head_names, 0.0) | one.weights)
        with autocast(model.device, job.runtime.dtype):
            ids = sample_ids(
                stock,
                tokenizer,
                [render(tokenizer, messages) for messages in frame["messages"]],
                max_new_tokens=rounds.max_new_tokens,
                temperature=rounds.temperature,
                seed=(job.seeds.sampling << 32) + number,
                label=None,
            )
        stops = set(stop_ids(stock, tokenizer).tolist())
        frames.append(
            frame.assign(
                sampler=index,
                sample=frame.groupby("prompt_id").cumcount(),
                response=[tokenizer.decode(row, skip_special_tokens=True) for row in ids],
                finished=[row[-1] in stops for row in ids],
            )
        )
    return pd.concat(frames, ignore_index=True)


def score(job: PolicyJob, frame: pd.DataFrame, device: Any) -> pd.DataFrame:
    """The samples with the raw rewards of the reward vector, as in the rollouts."""
    from concord.policies.training_pairs import RAW

    objectives = {name: dataclasses.asdict(job.objectives[name]) for name in job.vector}
    vector = RewardVector.load({"objectives": objectives}, device=device, dtype=job.runtime.dtype)
    raw = vector.score_all(
        frame["messages"].tolist(),
        frame["response"].tolist(),
        frame["domain"].tolist(),
        frame["reference"].tolist(),
    )
    return frame.assign(**{RAW + name: values for name, values in raw.items()})


def choose_pairs(
    job: PolicyJob,
    samples: pd.DataFrame,
    samplers: Sequence[Sampler],
    plan: MixPlan,
    rollouts: pd.DataFrame,
) -> dict[str, list[Pair]]:
    """Group -> best and worst samples of each prompt, by the mix of the rewards that sampled it.

    `min_gap` is in standard deviations of the mixed reward under the SFT model, that is, over the
    rollouts.
    """
    from concord.policies.training_pairs import (
        anchored_rewards,
        best_and_worst,
        covariance,
        rows_of_domain,
    )
    from concord.rewards.vector.anchors import Anchors

    anchors, params = Anchors.load(ANCHORS), job.params
    groups: dict[str, list[Pair]] = {group: [] for group in plan.shares}
    for index, one in enumerate(samplers):
        names, mix = list(one.weights), np.array(list(one.weights.values()))
        of_sft = rows_of_domain(rollouts, plan.domains[one.group])
        spread = covariance(anchored_rewards(of_sft, names, anchors))
        gap = params.min_gap * float(np.sqrt(mix @ spread @ mix))
        rows = samples[samples["sampler"] == index]
        scores = anchored_rewards(rows, names, anchors) @ mix
        pairs = best_and_worst(rows, scores, gap, params.pairs_per_prompt)
        weights = one.weights if one.group in plan.mixed else None
        groups[one.group] += [dataclasses.replace(pair, weights=weights) for pair in pairs]
    return groups


def _groups_by_domain(plan: MixPlan) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for group in sorted(plan.shares):
        groups.setdefault(plan.domains[group], []).append(group)
    return groups


def _shares_of(pairs: Mapping[str, list[Pair]], plan: MixPlan, number: int) -> dict[str, float]:
    """The shares of the groups that have pairs.

    A policy that always answers well leaves nothing to choose from. Raises DataError if no group
    has a pair.
    """
    empty = sorted(group for group in plan.shares if not pairs.get(group))
    if len(empty) == len(plan.shares):
        raise DataError(
            f"round {number}: no two finished samples of a prompt differ by min_gap; lower "
            "min_gap, or raise rounds.samples or rounds.max_new_tokens"
        )
    if empty:
        print(f"round {number}: no pairs for {', '.join(empty)}, so the other groups are trained")
    total = sum(share for group, share in plan.shares.items() if group not in empty)
    return {g: share / total for g, share in plan.shares.items() if g not in empty}


def _join_curves(job: PolicyJob, work: Path) -> None:
    """Writes the curves of all trainings one after another, with a column `round`."""
    curves = [
        pd.read_csv(work / f"curve-{number}.csv").assign(round=number)
        for number in range(job.params.rounds.count + 1)
    ]
    joined = pd.concat(curves, ignore_index=True)
    joined["step"] = range(1, len(joined) + 1)
    outputs.write_text(job.curve, joined.to_csv(index=False))
