"""Recomputes the gold of kept answers from their texts, so that nobody has to believe the reports.

    python -m concord.evaluation.policies.regrade reports/samples/mah_dpo.parquet

Prints each objective's mean at equal weights, and ends with an error where an answer's gold is not what was recorded.
Samples of the likelihood protocol hold people's labels and no gold.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from concord.evaluation.policies.locked import LOCKED
from concord.evaluation.policies.protocol import EQUAL
from concord.sandbox.world import World
from concord.stage import outputs
from concord.stage.errors import DataError, command


def regraded(samples: pd.DataFrame) -> pd.DataFrame:
    """The answers to locked prompts with `gold.<objective>` computed anew; DataError where there are none."""
    if "response" not in samples.columns or not (samples["split"] == LOCKED).any():
        raise DataError(
            "these samples hold no answers to locked prompts, so there is no gold to recompute"
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
    """How many answers have another gold than the one recorded."""
    anew = regraded(samples)
    recorded = samples[samples["split"] == LOCKED].reset_index(drop=True)
    names = [column for column in anew.columns if column.startswith("gold.")]
    same = np.isclose(anew[names], recorded[names], rtol=0, atol=1e-6, equal_nan=True).all(axis=1)
    return int((~same).sum())


def main(path: str) -> None:
    """Prints the means, and checks every answer."""
    samples = outputs.read_table(Path(path))
    anew = regraded(samples)
    equal = anew[anew["point"] == EQUAL]
    for name in (column for column in anew.columns if column.startswith("gold.")):
        if equal[name].notna().any():
            print(
                f"{name.removeprefix('gold.'):<20} {equal[name].mean():.4f}  ({equal[name].notna().sum()} answers)"
            )
    if wrong := differences(samples):
        raise DataError(f"{wrong} of {len(anew)} answers have another gold than {path} records")
    print(f"{len(anew)} answers, all with the gold that was recorded")


if __name__ == "__main__":
    command(main)
