"""Evaluates one policy at equal weights, at default weights, and over a sweep of each weight.

    models/policies/<name>, models/sft, models/rewards, models/anchors.json,
    data/prepared/{prompts,ratings,pairs}, data/prepared/checks.parquet
    -> reports/policies/<name>.json, reports/samples/<name>.parquet, reports/scaled/<name>.parquet

    python -m tasks.evaluate mah_dpo

See `concord.evaluation.policies.run_protocol` for the protocols. On validation, a policy with heads
is measured at a lattice of weights, for the stage `select`. The comparisons of the checks are
measured at default weights (`concord.evaluation.policies.policy_checks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from concord.evaluation.policies import run_protocol
from concord.evaluation.policies.protocol import all_points, design_points, evaluated_objectives
from concord.evaluation.policies.run_protocol import INPUTS, EvaluateJob, EvaluateParams
from concord.objectives import check_weights, objectives_of
from concord.stage import outputs, runtime
from concord.stage.command import command
from concord.stage.finished_parts import kept
from concord.stage.params import Runtime, Seeds, load, read
from concord.stage.paths import POLICIES, REPORTS, SAMPLES, SCALED


def run(policy: str, job: EvaluateJob, all_params: Mapping[str, Any]) -> None:
    """Evaluates the policy and writes its report and its samples."""
    key = [job, objectives_of(all_params)]
    with kept(f"evaluate@{policy}", key, [*INPUTS, POLICIES / policy], __file__):
        _run(policy, job, all_params)


def _run(policy: str, job: EvaluateJob, all_params: Mapping[str, Any]) -> None:
    from concord.evaluation.check_figures import read_pairs
    from concord.evaluation.policies.policy_checks import policy_checks
    from concord.evaluation.policies.summary import policy_report

    params, objectives = job.params, objectives_of(all_params)
    check_weights(params.weights, objectives, "evaluate.weights")
    device = runtime.start(job.settings, job.seeds.sampling)
    steered = run_protocol.steered(job, POLICIES / policy, device)
    names = evaluated_objectives(objectives, steered.heads)
    held_out = all_points(names, objectives, params.weights, params.sweep, bool(steered.heads))
    validation = design_points(names, held_out) if steered.heads else held_out
    points = {"held_out": held_out, "validation": validation}
    judged = run_protocol.judge(job, steered, points, all_params, device, params.scales)
    names = evaluated_objectives(objectives, steered.heads, set(judged.held_out["domain"]))
    sweep = params.sweep if steered.heads else 0
    report = policy_report(
        judged.held_out, judged.validation, names, sweep, params.bootstrap, job.seeds.data
    )
    head = {
        "policy": policy,
        "protocol": params.protocol,
        "conditions": job.conditions(),
        "steerable": steered.heads is not None,
        "prompts": judged.held_out.groupby("domain")["prompt_id"].nunique().to_dict(),
        "seeds": {
            "data": job.seeds.data,
            "sampling": job.seeds.sampling,
            "locked": params.locked_seed,
        },
        "checks": policy_checks(steered, read_pairs(), objectives, held_out),
    }
    outputs.write_table(SAMPLES / f"{policy}.parquet", judged.samples)
    scaled = judged.samples.iloc[:0].assign(scale=1.0) if judged.scaled is None else judged.scaled
    outputs.write_table(SCALED / f"{policy}.parquet", scaled)
    outputs.write_json(REPORTS / f"policies/{policy}.json", {**head, **report, **judged.extra})


def main(policy: str) -> None:
    """Runs the stage for one policy."""
    job = EvaluateJob(
        load(EvaluateParams, "evaluate"),
        load(Runtime, "runtime"),
        load(Seeds, "seeds"),
        load(int, "model", "max_length"),
    )
    run(policy, job, read())


if __name__ == "__main__":
    command(main)
