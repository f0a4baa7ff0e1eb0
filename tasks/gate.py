"""Compares the candidate with the champion on every objective and writes the verdict.

    reports/candidate, models/champion, reports/samples/<reference>.parquet,
    reports/policies/<reference>.json, reports/rewards, data/checks.json
    -> reports/gate.json

    python -m tasks.gate

The candidate is the checkpoint that would be published (stage `candidate`). It is accepted if a
paired test shows for every objective that it is not worse than the champion by more than a margin
(`concord.evaluation.policies.noninferiority`). Two models that were not measured in the same way on
the same prompts are not comparable, and the candidate is refused. So is a candidate that shows
reward hacking beside the SFT model: proxies rise and gold falls, or the rise is length
(`concord.evaluation.policies.hacking`). With `checks: require`, so is a candidate that fails a
check, or that was trained by a reward head that fails one
(`concord.evaluation.check_figures`).

The champion is the content of `reports/candidate` when a model was published, copied to
models/champion; without one it is the SFT model. The verdict is a metric: a refusal does not fail
the stage, but `export` obeys it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.evaluation import check_figures
from concord.evaluation.policies.protocol import EQUAL, STANDARDS, by_domain
from concord.objectives import Objective, check_weights, objectives_of
from concord.prepared.check_params import Check, read_checks
from concord.stage import outputs
from concord.stage.errors import DataError, command
from concord.stage.params import FORBID, load, read
from concord.stage.paths import CANDIDATE, REPORTS, SAMPLES

if TYPE_CHECKING:
    import pandas as pd

POWER = 0.95
"""A test that passes an equal model less often than this is reported as weak."""


@dataclass(frozen=True, config=FORBID)
class GateParams:
    """The section `gate`."""

    champion: str = "models/champion"
    """Folder with the results of the published model, a copy of `reports/candidate`. Without
    results.json in it, the SFT model is the champion."""
    margin: Annotated[float, Field(ge=0)] = 0.05
    """How far the mean of an objective may be below the champion's, in the units of the
    objective."""
    margins: dict[str, Annotated[float, Field(ge=0)]] = field(default_factory=dict)
    """Objective -> its margin, where it differs from `margin`."""
    error_rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Probability of accepting a candidate that is worse by its margin in some objective."""
    hacking: Literal["refuse", "report"] = "refuse"
    """What a sign of reward hacking in the candidate does: the candidate is refused, or the verdict
    only mentions it. See docs/explanation/reward-hacking.md."""
    checks: Literal["require", "report"] = "report"
    """What a check does that fails: with `require` the candidate is refused, with `report` the
    verdict only mentions it. Counted are the checks of the candidate, and those of the reward heads
    in the reward vector. See docs/how-to/add-a-check.md."""


class Side(NamedTuple):
    """One of the two models."""

    name: str
    conditions: Mapping[str, Any]
    """How it was measured."""
    samples: pd.DataFrame
    """Its judged answers to held-out prompts, at one point per domain."""


def run(
    params: GateParams, all_params: Mapping[str, Any], checks: Mapping[str, Check]
) -> dict[str, Any]:
    """Writes and returns the verdict."""
    from concord.evaluation.policies import noninferiority

    objectives = {n: o for n, o in objectives_of(all_params).items() if o.in_vector}
    check_weights(params.margins, objectives, "gate.margins")
    candidate = side(CANDIDATE)
    sft = reference(all_params["select"]["reference"])
    champion = published(Path(params.champion)) or sft
    watched = watch(candidate, sft, objectives)
    checked = check_figures.of_candidate(checks, objectives)
    verdict: dict[str, Any] = {
        "champion": champion.name,
        "error_rate": params.error_rate,
        "comparable": True,
        "objectives": {},
        "hacking": watched,
        "checks": checked,
    }
    if reasons := differences(candidate, champion):
        verdict |= {"comparable": False, "accepted": False}
        verdict["verdict"] = f"refused: not comparable with {champion.name} ({'; '.join(reasons)})"
    else:
        rows = noninferiority.compare(
            candidate.samples,
            champion.samples,
            by_domain({name: objective.domain for name, objective in objectives.items()}),
            {name: params.margins.get(name, params.margin) for name in objectives},
            params.error_rate,
        )
        verdict |= {"objectives": rows, "equal_model_passes": noninferiority.power(rows)}
        standard = STANDARDS[candidate.conditions["protocol"]]
        refusals = refusal_reasons(params, watched["flags"], checked, standard)
        verdict |= judgement(rows, champion.name, refusals, standard)
    outputs.write_json(REPORTS / "gate.json", verdict)
    return verdict


def watch(candidate: Side, sft: Side, objectives: Mapping[str, Objective]) -> dict[str, Any]:
    """The signs of reward hacking in the candidate, or why they could not be looked for."""
    from concord.evaluation.policies import hacking

    if reasons := differences(candidate, sft):
        return {"flags": [], "not_watched": f"not comparable with {sft.name}: {'; '.join(reasons)}"}
    report = hacking.watch(
        {sft.name: sft.samples, "candidate": candidate.samples},
        by_domain({name: objective.domain for name, objective in objectives.items()}),
        [name for name, objective in objectives.items() if objective.verifier],
        sft.name,
    )
    return {name: report[name] for name in ("flags", "not_watched")}


class Refusal(NamedTuple):
    """A reason that does not lie in the test of the objectives."""

    text: str
    refuses: bool
    """Whether the candidate is refused; otherwise the verdict only mentions it."""


def refusal_reasons(
    params: GateParams,
    flags: Sequence[Mapping[str, Any]],
    checked: Sequence[Mapping[str, Any]],
    standard: str = "gold",
) -> list[Refusal]:
    """Signs of reward hacking in the candidate by `standard`, and the checks that fail."""
    signs = "; ".join(
        f"{flag['rule']} on {flag['objective']} (proxy {flag['proxy_gain']:+.2f}, "
        f"{standard} {flag['gold_gain']:+.2f} standard deviations, "
        f"length x {flag['length_ratio']:.2f})"
        for flag in flags
    )
    failed = "; ".join(
        check_figures.in_words(row) for row in checked if row["verdict"] == check_figures.FAILS
    )
    reasons = [
        Refusal(f"signs of reward hacking: {signs}", params.hacking == "refuse"),
        Refusal(f"failed checks: {failed}", params.checks == "require"),
    ]
    return [reason for reason, given in zip(reasons, (signs, failed), strict=True) if given]


def judgement(
    rows: Mapping[str, Mapping[str, Any]],
    champion: str,
    reasons: Sequence[Refusal] = (),
    standard: str = "gold",
) -> dict[str, Any]:
    """Whether the candidate is accepted, and the verdict in words. `standard` judged it."""
    if not rows:
        return {"accepted": False, "verdict": "refused: no objective was judged"}
    failed = [
        f"{name} {row['difference']:+.3f}, at worst {row['lower_bound']:+.3f}, "
        f"margin {row['margin']:g}"
        for name, row in rows.items()
        if not row["holds"]
    ]
    if failed:
        text = f"refused: may be worse than {champion} by more than its margin: {'; '.join(failed)}"
        return {"accepted": False, "verdict": text}
    if refusing := [reason.text for reason in reasons if reason.refuses]:
        return {"accepted": False, "verdict": f"refused: {'; '.join(refusing)}"}
    text = f"accepted: no objective is worse than {champion} by more than its margin"
    return {"accepted": True, "verdict": text + "".join(f", despite {r.text}" for r in reasons)}


def side(folder: Path) -> Side:
    """A model from `results.json` and `samples.parquet` in a folder."""
    results = outputs.read_json(folder / "results.json")
    if not isinstance(results, dict) or not {"name", "conditions"} <= results.keys():
        raise DataError(
            f"{folder}/results.json is not the result of a candidate; copy all of {CANDIDATE} when "
            "a model is published"
        )
    return Side(
        results["name"], results["conditions"], outputs.read_table(folder / "samples.parquet")
    )


def published(folder: Path) -> Side | None:
    """The champion; None if no model was published."""
    if not (folder / "results.json").is_file():
        return None
    try:
        return side(folder)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{folder}/results.json is not valid JSON ({error}); restore it from git, or delete it "
            "to compare with the SFT model"
        ) from None


def reference(policy: str) -> Side:
    """The SFT model, from its evaluation."""
    report = outputs.read_json(REPORTS / f"policies/{policy}.json")
    samples = outputs.read_table(SAMPLES / f"{policy}.parquet")
    held_out = samples[(samples["split"] != "validation") & (samples["point"] == EQUAL)]
    return Side(policy, report["conditions"], held_out)


def differences(candidate: Side, champion: Side) -> list[str]:
    """Why the two cannot be compared; empty if they can."""
    reasons = [
        f"{name} is {candidate.conditions.get(name)}, was {champion.conditions.get(name)}"
        for name in sorted({*candidate.conditions, *champion.conditions})
        if candidate.conditions.get(name) != champion.conditions.get(name)
    ]
    keys = ["domain", "prompt_id"]
    one, two = (frame[keys].value_counts() for frame in (candidate.samples, champion.samples))
    unshared = len(one.index.symmetric_difference(two.index))
    if unshared or not one.sort_index().equals(two.sort_index()):
        reasons.append(f"{unshared} prompts are answered by only one of them")
    return reasons


def summary(verdict: Mapping[str, Any]) -> list[str]:
    """The verdict, and a warning if the test can hardly accept anything."""
    lines = [verdict["verdict"]]
    chance = verdict.get("equal_model_passes")
    if chance is not None and chance < POWER:
        weak = min(
            verdict["objectives"].items(), key=lambda item: float(item[1]["equal_model_passes"])
        )[0]
        lines.append(
            f"warning: a model equal to the champion passes in at least {chance:.0%} of runs only "
            f"(weakest: {weak}); raise evaluate.prompts or gate.margins.{weak}"
        )
    uncertain = [row for row in verdict["checks"] if row["verdict"] == check_figures.UNCERTAIN]
    lines += [f"uncertain check: {check_figures.in_words(row)}" for row in uncertain]
    return lines


def main() -> None:
    """Runs the stage."""
    print("\n".join(summary(run(load(GateParams, "gate"), read(), read_checks()))))


if __name__ == "__main__":
    command(main)
