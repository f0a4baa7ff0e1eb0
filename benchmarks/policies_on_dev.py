"""Compares policies on the dev world, at a grid of weights, for choosing methods and settings.

    python -m benchmarks.policies_on_dev variants.yaml [--seeds 2] [--prompts 200]

Run it after the pipeline, in the same folder (it reads params.yaml, models/sft, models/anchors.json
and data/rollouts). The file maps names to entries as in the section `policies`. Each variant is
trained once per seed and answers prompts of the dev world, which the pipeline's data come from; the
locked world is not touched. A policy with heads answers at each weight vector of the grid, another
policy once. Prints per domain the utility sum_i w_i gold_i at each weight vector, with the KL from
the SFT model in nats per answer, as the mean over seeds. Keeps trained policies and results in
work/dev, so that another call adds to them.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.policies.protocol import lattice
from concord.lm.load import load_causal, load_tokenizer
from concord.objectives import objectives_of
from concord.policies.job import PolicyJob
from concord.policies.steerable import load as load_policy
from concord.sandbox.world import Prompt, World
from concord.stage import outputs, runtime
from concord.stage.params import Runtime, Seeds, load, read, section
from concord.stage.paths import SFT, WORK
from concord.steering.steered import Sampling, Steered
from tasks.policy import method_of

FOLDER = WORK / "dev"
STEPS = {2: 4, 3: 3}
"""Number of objectives -> steps of the grid: five weights for two, ten for three."""
PROMPT_SEED = 90_000
"""Seed of the prompts; the pipeline draws others."""


@dataclass(frozen=True)
class DevJob(PolicyJob):
    """A policy outside of the pipeline's outputs."""

    @property
    def folder(self) -> Path:
        return FOLDER / self.name / "model"

    @property
    def curve(self) -> Path:
        return FOLDER / self.name / "curve.csv"


def job_of(name: str, entry: dict[str, Any], seed: int) -> tuple[Any, DevJob]:
    """The method and the job of a variant. The seed draws its batches and samples."""
    method = method_of(entry, name)
    job = DevJob(
        f"{name}-{seed}",
        section(method.METHOD.params, entry, name),
        objectives_of(read()),
        load(Runtime, "runtime"),
        Seeds(data=seed, sampling=seed),
        load(int, "model", "max_length"),
    )
    return method, job


def prompts(domain: str, count: int) -> list[Prompt]:
    """Distinct prompts of the dev world."""
    drawn = World.build("dev", 0).prompts(domain, 4 * count, PROMPT_SEED)
    return list({json.dumps(prompt.messages): prompt for prompt in drawn}.values())[:count]


def measure(job: DevJob, count: int) -> pd.DataFrame:
    """A row per domain, weight vector and objective: mean gold, mean KL, mean length."""
    vector = {name: objective for name, objective in job.objectives.items() if objective.in_vector}
    sampling = Sampling(96, 1.0, 100, job.max_length, seed=0)
    steered = Steered(load_policy(job.folder), load_causal(SFT), load_tokenizer(SFT), sampling)
    rows = []
    for domain in dict.fromkeys(objective.domain for objective in vector.values()):
        names = sorted(name for name, objective in vector.items() if objective.domain == domain)
        asked, world = prompts(domain, count), World.build("dev", 0)
        messages = [prompt.messages for prompt in asked]
        grid = lattice(len(names), STEPS.get(len(names), 2)).tolist()
        for weights in grid if steered.heads else grid[:1]:
            answers = steered.answers(messages, dict(zip(names, weights, strict=True)))
            pairs = zip(messages, answers.texts, strict=True)
            gold = pd.DataFrame([world.gold(*pair) for pair in pairs])[names].mean()
            rows += [
                {
                    "domain": domain,
                    "weights": json.dumps(weights) if steered.heads else None,
                    "objective": name,
                    "gold": gold[name],
                    "kl": answers.kl.mean(),
                    "length": answers.lengths.mean(),
                }
                for name in names
            ]
    return pd.DataFrame(rows)


def table(results: pd.DataFrame, domain: str) -> str:
    """Markdown: variant -> utility (KL) at each weight vector of the domain."""
    rows = results[results["domain"] == domain]
    names = sorted(rows["objective"].unique())
    grid = lattice(len(names), STEPS.get(len(names), 2)).tolist()
    lines = [
        f"| {domain}: {', '.join(names)} | "
        + " | ".join(_short(weights) for weights in grid)
        + " |",
        "|---" * (len(grid) + 1) + "|",
    ]
    for variant, frame in rows.groupby("variant", sort=False):
        cells = []
        for weights in grid:
            same = frame["weights"].isna() | (frame["weights"] == json.dumps(weights))
            at = frame[same].groupby("objective")[["gold", "kl"]].mean()
            utility = float(np.dot(weights, at.loc[names, "gold"]))
            cells.append(f"{utility:.3f} ({at['kl'].mean():.2f})")
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _short(weights: list[float]) -> str:
    return "/".join(f"{weight:.2f}".rstrip("0").rstrip(".") for weight in weights)


def main() -> None:
    """Trains and measures what is missing, then prints a table per domain."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("variants", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=200)
    options = parser.parse_args()
    results = []
    for seed in range(options.seeds):
        for name, entry in read(options.variants).items():
            method, job = job_of(name, entry, seed)
            file = FOLDER / job.name / f"prompts-{options.prompts}.json"
            if not file.is_file():
                runtime.start(job.runtime, seed)
                if not job.folder.is_dir():
                    start = time.process_time()
                    method.run(job)
                    print(f"{job.name}: trained in {time.process_time() - start:.0f} CPU seconds")
                outputs.write_json(file, measure(job, options.prompts).to_dict("records"))
            results.append(pd.DataFrame(outputs.read_json(file)).assign(variant=name, seed=seed))
            print(f"{job.name}: measured")
    frame = pd.concat(results, ignore_index=True)
    for domain in frame["domain"].unique():
        print(f"\n{table(frame, domain)}")


if __name__ == "__main__":
    main()
