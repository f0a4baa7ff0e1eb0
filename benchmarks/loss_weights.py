"""Effect of one objective's `loss_weight` on the others of a reward model: a sweep and a chart.

    python -m benchmarks.loss_weights <group> <picture.svg> [weights 0.1 0.3 1 3 10]

Run it after the pipeline, in the same folder (it reads params.yaml, models/sft and data/prepared).
Each objective in turn gets each weight, while the others keep weight 1. A model is trained as in
the stage, and its pair accuracy is measured on the whole validation split. Prints a table, and
draws accuracy against the weight with one panel per weighted objective and 95 % intervals over
prompts.
There is one training per weight, so the intervals do not cover the variation between trainings.
"""

import argparse
import dataclasses
import os
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import pandas as pd

from concord.evaluation.metrics import Interval, mean_interval
from concord.evaluation.rewards.head_quality import pair_hits
from concord.rewards.outcome.reward_model import load as load_model
from concord.stage.outputs import read_table
from concord.stage.params import Runtime, load
from tasks.reward_model import Head, RewardModelJob, RewardModelParams, run


def accuracies(job: RewardModelJob) -> dict[str, Interval]:
    """Trains the group with these params; returns its validation pair accuracy by objective."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("models/sft", f"data/prepared/rewards/{job.group}"):
            link = Path(folder) / name
            link.parent.mkdir(parents=True)
            link.symlink_to(here / name)
        os.chdir(folder)
        try:
            run(job)
            model, pairs = load_model(job.folder), read_table(job.tables[-1])
        finally:
            os.chdir(here)
    accuracy = {}
    for column, name in enumerate(job.names):
        judged = pairs[pairs["objective"] == name]
        sides = [
            model.score(judged["messages"].tolist(), judged[side].tolist())
            for side in ("chosen", "rejected")
        ]
        hits = pair_hits(*(side[:, column] for side in sides))
        accuracy[name] = mean_interval(hits, judged["group_id"].tolist(), 1000, 0)
    return accuracy


def sweep(job: RewardModelJob, weights: list[float]) -> pd.DataFrame:
    """One row per weighted objective, weight and measured objective."""
    rows = []
    known: dict[tuple[float, ...], dict[str, Interval]] = {}
    for weighted in job.names:
        for weight in weights:
            heads = {name: Head(weight if name == weighted else 1.0) for name in job.names}
            key = tuple(head.loss_weight for head in heads.values())
            if key not in known:
                known[key] = accuracies(
                    dataclasses.replace(
                        job, params=dataclasses.replace(job.params, objectives=heads)
                    )
                )
            rows += [
                {
                    "weighted": weighted,
                    "loss_weight": weight,
                    "objective": name,
                    **accuracy.named("accuracy"),
                }
                for name, accuracy in known[key].items()
            ]
            print(
                f"{weighted} x {weight:g}: "
                + ", ".join(f"{name} {value.value:.3f}" for name, value in known[key].items()),
                flush=True,
            )
    return pd.DataFrame(rows)


def picture(table: pd.DataFrame, path: Path) -> None:
    """Draws every objective's accuracy against the weight of one, with one panel per objective."""
    panels = list(table["weighted"].unique())
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels), 3.2), sharey=True, layout="constrained"
    )
    for axis, weighted in zip(axes, panels, strict=True):
        for name, points in table[table["weighted"] == weighted].groupby("objective", sort=False):
            width = 2.5 if name == weighted else 1.2
            spread = [points["accuracy"] - points["ci_low"], points["ci_high"] - points["accuracy"]]
            axis.errorbar(
                points["loss_weight"],
                points["accuracy"],
                spread,
                marker="o",
                lw=width,
                elinewidth=0.8,
                label=name,
            )
        axis.set(xscale="log", xlabel=f"loss_weight of {weighted}", title=weighted)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("pair accuracy, validation")
    axes[-1].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Runs the sweep, prints the table and draws the chart."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("group")
    parser.add_argument("picture", type=Path)
    parser.add_argument("weights", nargs="*", type=float, default=[0.1, 0.3, 1.0, 3.0, 10.0])
    arguments = parser.parse_args()
    params = load(RewardModelParams, "reward_models", arguments.group)
    if params.architecture == "probe":
        parser.error(
            f"{arguments.group} is a probe, and its heads share no trained weights. "
            "Name a group with `architecture: finetune`."
        )
    if len(params.objectives) < 2:
        parser.error(
            f"{arguments.group} has one objective, so its weight has no effect. "
            "Name a group with several objectives."
        )
    job = RewardModelJob(
        arguments.group,
        params,
        load(Runtime, "runtime"),
        load(int, "seeds", "data"),
        load(int, "model", "max_length"),
    )
    table = sweep(job, arguments.weights)
    picture(table, arguments.picture)
    print(
        table.pivot_table(
            index=["weighted", "loss_weight"], columns="objective", values="accuracy"
        ).to_markdown()
    )


if __name__ == "__main__":
    main()
