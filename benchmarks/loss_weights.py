"""What weighing one objective of a reward model costs the others: a sweep of `loss_weight`, with its picture.

    python -m benchmarks.loss_weights <group> <picture.svg> [weights 0.1 0.3 1 3 10]

Run where the pipeline has run (params.yaml, models/sft, data/prepared). Each objective in turn gets each of the weights
while the others keep 1; a model is fitted as its stage would, and measured by pair accuracy on the whole validation
split. Prints a table and draws accuracy against the weight, a panel for each objective that is weighed, with 95 %
intervals by prompt. One training at each weight: no interval covers the luck of training.
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
    """Pair accuracy on validation pairs by objective, of the group fitted with these params."""
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
    found = {}
    for column, name in enumerate(job.names):
        own = pairs[pairs["objective"] == name]
        sides = [
            model.score(own["messages"].tolist(), own[side].tolist())
            for side in ("chosen", "rejected")
        ]
        hits = pair_hits(*(side[:, column] for side in sides))
        found[name] = mean_interval(hits, own["group_id"].tolist(), 1000, 0)
    return found


def sweep(job: RewardModelJob, weights: list[float]) -> pd.DataFrame:
    """A row for each objective that is weighed, each weight, and each objective that is measured."""
    rows = []
    known: dict[tuple[float, ...], dict[str, Interval]] = {}
    for weighed in job.names:
        for weight in weights:
            heads = {name: Head(weight if name == weighed else 1.0) for name in job.names}
            key = tuple(head.loss_weight for head in heads.values())
            if key not in known:
                known[key] = accuracies(
                    dataclasses.replace(
                        job, params=dataclasses.replace(job.params, objectives=heads)
                    )
                )
            rows += [
                {
                    "weighed": weighed,
                    "loss_weight": weight,
                    "objective": name,
                    **accuracy.named("accuracy"),
                }
                for name, accuracy in known[key].items()
            ]
            print(
                f"{weighed} x {weight:g}: {', '.join(f'{n} {a.value:.3f}' for n, a in known[key].items())}",
                flush=True,
            )
    return pd.DataFrame(rows)


def picture(table: pd.DataFrame, path: Path) -> None:
    """Accuracy of every objective against the weight of one, a panel each."""
    panels = list(table["weighed"].unique())
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels), 3.2), sharey=True, layout="constrained"
    )
    for axis, weighed in zip(axes, panels, strict=True):
        for name, own in table[table["weighed"] == weighed].groupby("objective", sort=False):
            width = 2.5 if name == weighed else 1.2
            spread = [own["accuracy"] - own["ci_low"], own["ci_high"] - own["accuracy"]]
            axis.errorbar(
                own["loss_weight"],
                own["accuracy"],
                spread,
                marker="o",
                lw=width,
                elinewidth=0.8,
                label=name,
            )
        axis.set(xscale="log", xlabel=f"loss_weight of {weighed}", title=weighed)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("pair accuracy, validation")
    axes[-1].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Sweeps, prints and draws."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("group")
    parser.add_argument("picture", type=Path)
    parser.add_argument("weights", nargs="*", type=float, default=[0.1, 0.3, 1.0, 3.0, 10.0])
    given = parser.parse_args()
    params = load(RewardModelParams, "reward_models", given.group)
    if params.architecture == "probe":
        parser.error(
            f"{given.group} is a probe, whose heads share nothing that is trained; name one that is finetuned"
        )
    if len(params.objectives) < 2:
        parser.error(
            f"{given.group} has one objective, so no weight moves anything; name a group of several"
        )
    job = RewardModelJob(
        given.group,
        params,
        load(Runtime, "runtime"),
        load(int, "seeds", "data"),
        load(int, "model", "max_length"),
    )
    table = sweep(job, given.weights)
    picture(table, given.picture)
    print(
        table.pivot_table(
            index=["weighed", "loss_weight"], columns="objective", values="accuracy"
        ).to_markdown()
    )


if __name__ == "__main__":
    main()
