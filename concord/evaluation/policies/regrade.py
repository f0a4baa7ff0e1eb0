"""Recomputes the gold of stored answers from their texts, to check the reports.

    python -m concord.evaluation.policies.regrade reports/samples/mah_dpo.parquet

Prints the mean of each objective at equal weights, and fails if the gold of an answer differs from
the recorded one. Samples of the likelihood protocol have human labels and no gold.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from concord.evaluation.policies.locked import LOCKED
from concord.evaluation.policies.protocol import EQUAL
from concord.sandbox.world import World
from concord.stage import outputs
from concord.stage.command import command
from concord.stage.errors import DataError


def regraded(samples: pd.DataFrame) -> pd.DataFrame:
    """The answers to locked prompts with recomputed `gold.<objective>`. Raises DataError without
    such answers.
    """
    if "response" not in samples.columns or not (samples["split"] == LOCKED).any():
        raise DataError(
            "These samples have no answers to locked prompts, so there is no gold to recompute. "
            "Pass samples of the sandbox protocol."
        )
    answers = samples[samples["split"] == LOCKED].reset_index(drop=True)
    world = World.build(LOCKED, 0)  # the seed draws prompts; gold depends on the texts alone
    golds = [
        world.gold(messages, text)
        for messages, text in zip(answers["messages"], answers["response"], strict=True)
    ]
    names = [column for column in answers.columns if column.startswith("gold.")]
    columns = {
        name: [gold.get(name.removeprefix("gold."), np.nan) for gold in golds] for name in names
    }
    return answers.assign(**columns)


def differences(samples: pd.DataFrame) -> int:
    """Number of answers whose recomputed gold differs from the recorded one."""
    recomputed = regraded(samples)
    recorded = samples[samples["split"] == LOCKED].reset_index(drop=True)
    names = [column for column in recomputed.columns if column.startswith("gold.")]
    same = np.isclose(recomputed[names], recorded[names], rtol=0, atol=1e-6, equal_nan=True).all(
        axis=1
    )
    return int((~same).sum())


def main(path: str) -> None:
    """Prints the means and checks every answer."""
    samples = outputs.read_table(Path(path))
    recomputed = regraded(samples)
    equal = recomputed[recomputed["point"] == EQUAL]
    for name in (column for column in recomputed.columns if column.startswith("gold.")):
        if equal[name].notna().any():
            print(
                f"{name.removeprefix('gold.'):<20} {equal[name].mean():.4f}  "
                f"({equal[name].notna().sum()} answers)"
            )
    if wrong := differences(samples):
        raise DataError(
            f"The recomputed gold of {wrong} of {len(recomputed)} answers differs from {path}."
        )
    print(f"{len(recomputed)} answers, all with the recorded gold")


if __name__ == "__main__":
    command(main)
