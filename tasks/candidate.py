"""Merges the selected policy at the selected weights, and evaluates that checkpoint.

    reports/select.json, models/policies/<policy>, models/sft, models/rewards, models/anchors.json,
    data/prepared/{prompts,ratings,pairs,steps}, data/prepared/checks.parquet,
    reports/samples/<policy>.parquet
    -> reports/candidate/{results.json,samples.parquet,front.parquet,labels.parquet}

    python -m tasks.candidate

The evaluated model is read from the files that `export` would publish, and runs in their data type.
Their digest is part of the results, so that `export` can prove that it publishes what was
evaluated. Kept for the gates of the next candidate: front.parquet, the judged units of the policy
at all its weights, for the gate `hypervolume`; labels.parquet, the keys of all labels, and
data.json, the figures of the data, which `prepare` writes, for the gate `data`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from concord.evaluation.policies import run_protocol
from concord.evaluation.policies.protocol import Judged, Point, by_domain
from concord.evaluation.policies.run_protocol import INPUTS, EvaluateJob, EvaluateParams
from concord.objectives import objectives_of
from concord.stage import outputs, runtime
from concord.stage.command import command
from concord.stage.finished_parts import kept
from concord.stage.params import Dtype, Runtime, Seeds, load, read
from concord.stage.paths import CANDIDATE, POLICIES, PREPARED, REPORTS, SAMPLES
from concord.steering.checkpoint import digest, write

if TYPE_CHECKING:
    import pandas as pd

NAME = "candidate"
"""Name of the point of every domain."""


def run(job: EvaluateJob, dtype: Dtype, all_params: Mapping[str, Any]) -> None:
    """Evaluates the checkpoint and writes its results and its samples."""
    choice = outputs.read_json(REPORTS / "select.json")
    key = [job, objectives_of(all_params), dtype, choice]
    with kept("candidate", key, [*INPUTS, POLICIES / choice["policy"]], __file__):
        _run(job, dtype, choice, all_params)


def _run(
    job: EvaluateJob, dtype: Dtype, choice: Mapping[str, Any], all_params: Mapping[str, Any]
) -> None:
    from concord.evaluation.check_figures import read_pairs
    from concord.evaluation.policies.policy_checks import policy_checks

    device = runtime.start(job.settings, job.seeds.sampling)
    points = [Point(NAME, domain, entry["weights"]) for domain, entry in choice["domains"].items()]
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary)
        policy = POLICIES / choice["policy"]
        write(policy, choice["weights"], dtype, checkpoint, choice["strength"])
        files = digest(checkpoint)
        as_published = replace(job, settings=replace(job.settings, dtype=dtype))
        steered = run_protocol.steered(as_published, checkpoint, device)
        judged = run_protocol.judge(job, steered, {"held_out": points}, all_params, device)
        checks = policy_checks(steered, read_pairs(), objectives_of(all_params), points)
    head: dict[str, Any] = {
        "name": f"{choice['policy']} at the selected weights",
        "policy": choice["policy"],
    }
    asked = {name: choice[name] for name in ("at_least", "max_kl")}
    head |= {"checkpoint": files, "checks": checks, "constraints": asked}
    save(head, job, judged, all_params)


def save(
    head: Mapping[str, Any], job: EvaluateJob, judged: Judged, all_params: Mapping[str, Any]
) -> None:
    """Writes the results, which begin with `head`, the samples, the front of the policy, and the
    keys of the labels.
    """
    from concord.evaluation.gates.sides import ANSWERS, FRONT, LABELS, RESULTS, front_units
    from concord.prepared.label_keys import all_keys, read_labels

    objectives = objectives_of(all_params)
    domains = by_domain({name: o.domain for name, o in objectives.items() if o.in_vector})
    samples = outputs.read_table(SAMPLES / f"{head['policy']}.parquet")
    content = {
        **head,
        "conditions": job.conditions(),
        "prompts": judged.held_out.groupby("domain")["prompt_id"].nunique().to_dict(),
        "domains": figures(job, judged.held_out, domains),
        **judged.extra,
    }
    held_out = samples[samples["split"] != "validation"]
    outputs.write_table(CANDIDATE / FRONT, front_units(held_out, domains))
    outputs.write_table(CANDIDATE / LABELS, all_keys(read_labels(PREPARED)))
    outputs.write_table(CANDIDATE / ANSWERS, judged.samples)
    outputs.write_json(CANDIDATE / RESULTS, content)


def figures(
    job: EvaluateJob, held_out: pd.DataFrame, domains: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Domain -> weights, means of its objectives with intervals, KL and length."""
    from concord.evaluation.policies import summary

    count, seed = job.params.bootstrap, job.seeds.data
    return {
        domain: summary.figures(held_out[held_out["domain"] == domain], names, count, seed)[0]
        for domain, names in domains.items()
        if (held_out["domain"] == domain).any()
    }


def main() -> None:
    """Runs the stage."""
    job = EvaluateJob(
        load(EvaluateParams, "evaluate"),
        load(Runtime, "runtime"),
        load(Seeds, "seeds"),
        load(int, "model", "max_length"),
    )
    run(job, cast(Dtype, load(str, "export", "dtype")), read())


if __name__ == "__main__":
    command(main)
