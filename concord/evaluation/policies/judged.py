"""The judged protocol: sampled answers to held-out prompts of the annotations.

Verifiers judge the objectives that have one. The other objectives are judged by a model of another
family than the policies, which is fitted to people's ratings of answers to other held-out questions
(`concord.evaluation.policies.answer_judge`), or by the judge that `evaluate.judge.judges` names.
How far a judge agrees with people is reported first. Beside the judgements stand measures of the
writing: perplexity under the SFT model, repetition, length, and the share of answers that were cut
off.

On validation prompts, answers are judged by the proxies alone, as in the sandbox protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.metrics import Clusters, interval
from concord.evaluation.policies import likelihood, locked, named_judges
from concord.evaluation.policies.answer_judge import Embed, fitted
from concord.evaluation.policies.judge_params import JudgeParams
from concord.evaluation.policies.protocol import Judged, Point, Sampler
from concord.objectives import Objective
from concord.rewards.verifiers import dispatch
from concord.stage.errors import DataError

MEASURE = "predicted rating by a judge that was fitted to people's ratings of other questions"
"""What is measured, for the report."""
NAMED_MEASURE = "score from 0 to 1 by a judge, named below, that did not train the policies"
"""What is measured if `evaluate.judge.judges` names judges."""
TEST = "test"


@dataclass(frozen=True)
class JudgedData:
    """The held-out data of the protocol."""

    prompts: pd.DataFrame
    """The prompts of the test split."""
    labels: likelihood.Labels
    """The labels of the test split."""
    validation: pd.DataFrame
    """The prompts of the validation split."""


@dataclass(frozen=True)
class JudgedSettings:
    """The settings of the protocol."""

    judge: JudgeParams
    prompts: int
    """Prompts per domain."""
    validation_prompts: int
    """Validation prompts per domain."""
    validation_samples: int
    """Answers per validation prompt and point."""
    max_new_tokens: int
    bootstrap: int
    seed: int


def judge(
    policy: Sampler,
    data: JudgedData,
    objectives: Mapping[str, Objective],
    names: Mapping[str, Sequence[str]],
    points: Mapping[str, Sequence[Point]],
    settings: JudgedSettings,
    embed: Embed | None = None,
    proxies: locked.Proxies | None = None,
    judges: named_judges.Judges | None = None,
) -> Judged:
    """The answers of the policy at all points, judged.

    Args:
        policy: the policy.
        data: the held-out data.
        objectives: all objectives.
        names: domain -> its evaluated objectives.
        points: `held_out` and, unless nothing is chosen on validation, `validation` -> the
            operating points.
        settings: the settings.
        embed: sentence embeddings for the judge; None: TF-IDF only.
        proxies: the trained reward vector; None: without proxies, and then without validation.
        judges: objective -> the judge that scores it in place of the fitted one.

    Raises:
        DataError: a domain has no held-out prompts or labels.
    """
    flat = [name for members in names.values() for name in members]
    tables = []
    agreement, styles, passed = dict[str, Any](), list[dict[str, Any]](), dict[str, Any]()
    for domain, members in names.items():
        prompts = held_out_prompts(data.prompts, domain, settings.prompts)
        of_domain = [point for point in points["held_out"] if point.domain == domain]
        answers = sampled(policy, prompts, of_domain, proxies, settings.max_new_tokens)
        verified = {n: v for n in members if (v := objectives[n].verifier) is not None}
        for name, verifier in verified.items():
            answers[f"gold.{name}"] = _verify(answers, verifier)
        named = {n: one for n, one in (judges or {}).items() if n in members and n not in verified}
        agreement |= named_judges.agreements(
            named, data.labels, domain, settings.bootstrap, settings.seed
        )
        for name, values in named_judges.scores(named, answers).items():
            answers[f"gold.{name}"] = values
        if rated := [name for name in members if name not in verified and name not in named]:
            judging = fitted(data.labels, prompts, domain, rated, settings.judge.folds, embed)
            agreement |= judging.agreement(settings.bootstrap, settings.seed)
            answers = answers.assign(
                **{f"gold.{name}": values for name, values in judging.scores(answers).items()}
            )
        if verified and settings.judge.pass_at:
            count = settings.judge.pass_at
            passed |= pass_at(policy, prompts, of_domain[0], verified, count)
        styles += writing(answers, settings.bootstrap, settings.seed)
        tables.append(answers)
    held_out = _complete(pd.concat(tables, ignore_index=True), flat)
    validation = held_out.iloc[:0]
    if "validation" in points and proxies is not None:
        rows = locked.validation_prompts(
            data.validation, list(names), settings.validation_prompts, settings.validation_samples
        )
        validation = locked.judged_answers(
            policy, rows, points["validation"], locked.VALIDATION, None, proxies
        )
    samples = pd.concat([held_out, validation], ignore_index=True)
    for name, kind in named_judges.kinds(list(agreement), settings.judge.judges).items():
        agreement[name]["kind"] = kind
    measure = NAMED_MEASURE if settings.judge.judges else MEASURE
    extra = {"measure": measure, "judge": agreement, "writing": styles, "pass_at": passed}
    return Judged(samples, held_out, validation, extra)


def _complete(answers: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The table with the columns of all objectives; NaN where there was none."""
    columns = [f"{kind}.{name}" for name in names for kind in ("gold", "proxy")]
    return answers.assign(**{name: np.nan for name in columns if name not in answers.columns})


def sampled(
    policy: Sampler,
    prompts: pd.DataFrame,
    points: Sequence[Point],
    proxies: locked.Proxies | None,
    max_new_tokens: int,
) -> pd.DataFrame:
    """Answers at all points, with `repetition`, `cut` (whether it has the largest length) and, if
    `proxies` are given, `proxy.<objective>`.
    """
    frames = [locked.answers(policy, prompts, point, TEST) for point in points]
    answers = pd.concat(frames, ignore_index=True)
    answers = answers.assign(
        repetition=[repetition(text) for text in answers["response"]],
        cut=(answers["length"] >= max_new_tokens).astype(float),
    )
    return answers if proxies is None else locked.judged(answers, None, proxies)


def held_out_prompts(table: pd.DataFrame, domain: str, count: int) -> pd.DataFrame:
    """At most `count` prompts of the domain, in the order of their content hash.

    Raises DataError if there is none.
    """
    rows = locked.validation_prompts(table, [domain], count)
    if rows.empty:
        raise DataError(
            f"The test split has no prompts of the domain {domain}, so no answers can be sampled. "
            "Raise prepare.test, or add a source with such prompts."
        )
    return rows


def _verify(answers: pd.DataFrame, verifier: str) -> np.ndarray:
    responses, references = answers["response"].tolist(), answers["reference"].tolist()
    return np.asarray(dispatch.score_all(verifier, responses, references), dtype=float)


def pass_at(
    policy: Sampler,
    prompts: pd.DataFrame,
    point: Point,
    verified: Mapping[str, str],
    count: int,
) -> dict[str, dict[str, float]]:
    """Objective -> pass@1 and pass@`count` at one point, from `count` answers per prompt.

    pass@1 is the share of right answers, pass@k the share of prompts with a right one among k.
    """
    rows = pd.concat([prompts] * count, ignore_index=True)
    answers = locked.answers(policy, rows, point, TEST)
    figures = {}
    for name, verifier in verified.items():
        right = _verify(answers, verifier).reshape(count, len(prompts))
        figures[name] = {
            "pass@1": float(np.nanmean(right)),
            f"pass@{count}": float(np.nanmean(right.max(axis=0))),
        }
    return figures


def repetition(text: str) -> float:
    """Share of the runs of three words that occurred before; 0 with fewer than four words.

    Examples:
        >>> repetition("yes it is yes it is")
        0.25
    """
    words = text.split()
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(runs)) / len(runs) if len(runs) > 1 else 0.0


def writing(answers: pd.DataFrame, count: int, seed: int) -> list[dict[str, Any]]:
    """Per point of one domain: perplexity under the SFT model, repetition, length in tokens, share
    of answers that were cut off.

    Perplexity is exp of the mean negative log-probability per token, over all tokens of the
    answers.
    """
    measures = ["reference_logprob", "length", "repetition", "cut"]
    clusters = Clusters.of(answers, measures)
    mean, draws = clusters.mean(), clusters.bootstrap(count, seed)
    entries = []
    for row, point in enumerate(clusters.keys):
        figures = {
            "perplexity": interval(
                float(np.exp(-mean[row, 0] / mean[row, 1])),
                np.exp(-draws[:, row, 0] / draws[:, row, 1]),
            )
        }
        figures |= {
            name: interval(mean[row, column], draws[:, row, column])
            for column, name in enumerate(measures)
            if column
        }
        shown = {name: figure.named() for name, figure in figures.items()}
        entries.append({"domain": answers["domain"].iloc[0], "point": point, **shown})
    return entries
