"""One process reward model with a head per objective, compared with one model per objective.

    python -m benchmarks.one_process_model

Run it after the pipeline, in the same folder (it reads params.yaml, models and data). Each
dedicated model is trained as in the stage, on the same labels of its objective, for the same number
of passes. Both score the steps of the same sampled answers of the locked world. Prints the AUC of
correct steps, and the difference with a 95 % interval that resamples whole prompts. Each model is
trained once, so the intervals do not cover the variation between trainings.
"""

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.metrics import area_under_curve, interval, resamples
from concord.evaluation.rewards.step_quality import CORRECT
from concord.objectives import objectives_of
from concord.rewards.process.process_model import ProcessRewardModel, load
from concord.stage import outputs, runtime
from concord.stage.params import Runtime, Seeds, read
from concord.stage.params import load as load_params
from tasks import evaluate_rewards, process_reward

RESAMPLES, SEED = 1000, 0


def dedicated(
    objective: str,
    params: process_reward.ProcessRewardParams,
    settings: Runtime,
    seed: int,
    longest: int,
    device: Any,
) -> Any:
    """Trains a process reward model on one objective."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for table in process_reward.TABLES:
            rows = outputs.read_table(table)
            outputs.write_table(Path(folder) / table, rows[rows["objective"] == objective])
        (Path(folder) / "models").mkdir()
        (Path(folder) / "models/sft").symlink_to(here / "models/sft")
        verdicts = {name: words for name, words in params.verdicts.items() if name == objective}
        params = dataclasses.replace(params, verdicts=verdicts)
        os.chdir(folder)
        try:
            process_reward.run(params, settings, seed, longest)
            return load("models/process_reward", device, settings.dtype)
        finally:
            os.chdir(here)


def scored(model: ProcessRewardModel, objective: str, table: pd.DataFrame) -> np.ndarray:
    """Scores of all steps, concatenated."""
    column = model.objectives.index(objective)
    scores = model.score_all(table["messages"].tolist(), table["steps"].tolist())
    return np.concatenate([each[:, column] for each in scores])


def main() -> None:
    """Prints the table, row by row and then as a whole."""
    everything, settings = read(), load_params(Runtime, "runtime")
    params, seeds = (
        load_params(process_reward.ProcessRewardParams, "process_reward"),
        load_params(Seeds, "seeds"),
    )
    device = runtime.start(settings, seeds.sampling)
    protocol, locked = (
        load_params(str, "evaluate", "protocol"),
        load_params(int, "evaluate", "locked_seed"),
    )
    job = evaluate_rewards.EvaluateRewardsJob(
        load_params(evaluate_rewards.EvaluateRewardsParams, "evaluate_rewards"),
        protocol,
        locked,
        RESAMPLES,
        settings,
        seeds,
    )
    judge, known = evaluate_rewards.make_judge(job, device), objectives_of(everything)
    one = load("models/process_reward", device, settings.dtype)
    lines = ["| objective | steps | one model | dedicated | difference |", "|---|---|---|---|---|"]
    for name in one.objectives:
        table = judge.steps(name, known[name])
        if table.empty:
            continue
        alone = dedicated(
            name, params, settings, seeds.data, load_params(int, "model", "max_length"), device
        )
        sides = [scored(model, name, table) for model in (one, alone)]
        gold = np.concatenate(table["gold"].tolist())
        judged = np.isfinite(gold)
        sides, right = [side[judged] for side in sides], gold[judged] >= CORRECT
        owner = np.repeat(pd.factorize(table["group_id"])[0], table["steps"].map(len))[judged]
        drawn = resamples(int(owner.max()) + 1, RESAMPLES, SEED).astype(int)
        rows = [np.repeat(np.arange(len(owner)), times[owner]) for times in drawn]
        areas = [area_under_curve(side, right) for side in sides]
        draws = [
            area_under_curve(sides[0][r], right[r]) - area_under_curve(sides[1][r], right[r])
            for r in rows
        ]
        gain = interval(areas[0] - areas[1], np.array(draws))
        difference = f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        lines.append(f"| {name} | {len(right)} | {areas[0]:.3f} | {areas[1]:.3f} | {difference} |")
        print(lines[-1], flush=True)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
