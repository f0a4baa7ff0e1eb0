"""The report on reward hacking: what went off for each policy, and where to stop.

The rules are in `concord.evaluation.policies.hacking_rules`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.paired_tests import holm
from concord.evaluation.policies.hacking_rules import (
    DOMINANCE,
    ERROR_RATE,
    Flag,
    dominance,
    length,
    overoptimised,
)
from concord.evaluation.policies.paired_answers import PairedAnswers, mean


def watch(
    samples: Mapping[str, pd.DataFrame],
    domains: Mapping[str, Sequence[str]],
    exempt: Collection[str],
    reference: str | None,
    error_rate: float = ERROR_RATE,
) -> dict[str, Any]:
    """The report: flags, where to stop, and the gains of every point.

    Args:
        samples: policy -> its judged answers to held-out prompts.
        domains: domain -> its objectives in the reward vector.
        exempt: objectives whose proxy is exact.
        reference: the SFT model among the policies; None if there is none.
        error_rate: probability of any false flag of a policy.
    """
    report: dict[str, Any] = {
        "error_rate": error_rate,
        "exempt": sorted(exempt),
        "not_watched": _not_watched(samples, reference),
        "unjudged": [],
        "tests": {},
        "flags": [],
        "stop": [],
        "points": [],
    }
    if reference is None or report["not_watched"]:
        return report
    for policy, frame in samples.items():
        if policy == reference:
            continue
        paired = {
            domain: PairedAnswers.of(_of(samples[reference], domain), rows, names, reference)
            for domain, names in domains.items()
            if len(rows := _of(frame, domain))
        }
        tests, flags = tested(paired, exempt, error_rate)
        report["tests"][policy] = tests
        report["flags"] += [{"policy": policy, **asdict(flag)} for flag in flags]
        report["stop"] += [{"policy": policy, **stop} for stop in stops(paired, flags)]
        report["points"] += [{"policy": policy, **row} for row in gains(paired)]
        unjudged = {name for each in paired.values() for name in each.proxy.keys() - each.gold}
        report["unjudged"] = sorted({*report["unjudged"], *unjudged})
    return report


def _not_watched(samples: Mapping[str, pd.DataFrame], reference: str | None) -> str | None:
    """Why nothing can be watched, or None."""
    if reference is None:
        return "no policy is the SFT model (method `reference`), so gains have no zero"
    if any("log_probability" in frame.columns for frame in samples.values()):
        return "the protocol `likelihood` samples no answers, so there is nothing to score"
    return None


def _of(frame: pd.DataFrame, domain: str) -> pd.DataFrame:
    return frame[frame["domain"] == domain]


def tested(
    paired: Mapping[str, PairedAnswers], exempt: Collection[str], error_rate: float
) -> tuple[int, list[Flag]]:
    """The number of tests of a policy, and its flags with corrected p-values.

    A rule that goes off several times for an objective gives one flag, that at the lowest KL.
    Of several starts it shows the one with the lowest KL, so the SFT model if gold is below it.
    """
    flags: list[Flag] = []
    for domain, answers in paired.items():
        for name in (name for name in answers.gold if name not in exempt):
            flags += [*overoptimised(answers, domain, name), *length(answers, domain, name)]
        flags += dominance(answers, domain)
    corrected = holm([flag.p for flag in flags])
    raised = [replace(f, p=p) for f, p in zip(flags, corrected, strict=True) if p <= error_rate]
    first: dict[tuple[str, str, str], Flag] = {}
    for flag in sorted(raised, key=lambda flag: flag.kl):
        first.setdefault((flag.domain, flag.objective, flag.rule), flag)
    return len(flags), list(first.values())


def stops(paired: Mapping[str, PairedAnswers], flags: Sequence[Flag]) -> list[dict[str, Any]]:
    """Per domain with a flag of hacking: the measured point with the highest KL before the first
    one. The SFT model, at KL 0, if there is none. `dominance` stops nothing.
    """
    rows = []
    for domain, answers in paired.items():
        kls = [f.kl for f in flags if f.domain == domain and f.rule != DOMINANCE]
        if kls:
            last = int(np.searchsorted(answers.kl, min(kls), side="left")) - 1
            rows.append(
                {"domain": domain, "point": answers.points[last], "kl": float(answers.kl[last])}
            )
    return rows


def gains(paired: Mapping[str, PairedAnswers]) -> Iterator[dict[str, Any]]:
    """Every point of a policy: KL, length, and the gains of proxy and gold over the SFT model."""
    for domain, answers in paired.items():
        for end, point in enumerate(answers.points[1:], 1):
            yield {
                "domain": domain,
                "point": point,
                "kl": float(answers.kl[end]),
                "length_ratio": answers.length_ratio(end),
                "proxy": {n: mean(v[:, end] - v[:, 0]) for n, v in answers.proxy.items()},
                "gold": {n: mean(v[:, end] - v[:, 0]) for n, v in answers.gold.items()},
            }
