"""Compares policies on the dev world, at a grid of weights, for choosing methods and settings.

    python -m benchmarks.policies_on_dev variants.yaml [--seeds 2] [--prompts 200]
        [--domains math] [--scales 0.5 1]

Run it after the pipeline, in the same folder (it reads params.yaml, models/sft, models/anchors.json
and data/rollouts). The file maps names to entries as in the section `policies`. Each variant is
trained once per seed and answers prompts of the dev world, which the pipeline's data come from; the
locked world is not touched. A policy with heads answers at each weight vector of the grid, another
policy once. Prints per domain the utility sum_i w_i gold_i at each weight vector, with the KL from
the SFT model in nats per answer, as the mean over seeds. Keeps trained policies and results in
work/dev, so that another call adds to them.

With `--scales`, models between SFT (0) and what was trained (1) answer too
(`concord.lm.interpolate`), and a second table has every variant at the KL of the first one.
"""

import argparse
import json
import time
from dataclasses import dataclass
from itertools import product
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


def measure(job: DevJob, domain: str, count: int, scale: float) -> pd.DataFrame:
    """A row per weight vector and objective of a domain: mean gold, mean KL, mean length."""
    names = sorted(name for name in job.vector if job.objectives[name].domain == domain)
    sampling = Sampling(96, 1.0, 100, job.max_length, seed=0)
    steered = Steered(load_policy(job.folder), load_causal(SFT), load_tokenizer(SFT), sampling)
    messages, world = [p.messages for p in prompts(domain, count)], World.build("dev", 0)
    grid, rows = grid_of(names), []
    for weights in grid if steered.heads else grid[:1]:
        answers = steered.answers(messages, dict(zip(names, weights, strict=True)), scale)
        pairs = zip(messages, answers.texts, strict=True)
        gold = pd.DataFrame([world.gold(*pair) for pair in pairs])[names].mean()
        rows += [
            {
                "domain": domain,
                "scale": scale,
                "weights": json.dumps(weights) if steered.heads else None,
                "objective": name,
                "gold": gold[name],
                "kl": answers.kl.mean(),
                "length": answers.lengths.mean(),
            }
            for name in names
        ]
    return pd.DataFrame(rows)


def grid_of(names: list[str]) -> list[list[float]]:
    """The weight vectors of a domain's objectives."""
    grid: list[list[float]] = lattice(len(names), STEPS.get(len(names), 2)).tolist()
    return grid


def table(results: pd.DataFrame, domain: str, *, equal_kl: bool = False) -> str:
    """Markdown: variant -> utility (KL) at each weight vector of the domain, mean over seeds.

    With `equal_kl`, each seed of a variant is interpolated between its scales to the KL of the same
    seed of the first variant; `-` where its scales do not contain that KL.
    """
    rows = results[results["domain"] == domain]
    names = sorted(rows["objective"].unique())
    grid = grid_of(names)
    lines = [
        f"| {domain}: {', '.join(names)} | " + " | ".join(map(_short, grid)) + " |",
        "|---" * (len(grid) + 1) + "|",
    ]
    points = [_points(rows, names, weights) for weights in grid]
    for variant in rows["variant"].unique():
        at = _at_equal_kl if equal_kl else _as_trained
        lines.append(f"| {variant} | {' | '.join(at(frame, variant) for frame in points)} |")
    return "\n".join(lines)


def _points(rows: pd.DataFrame, names: list[str], weights: list[float]) -> pd.DataFrame:
    """Utility and KL at a weight vector: a row per variant, seed and scale, in their order."""
    same = rows["weights"].isna() | (rows["weights"] == json.dumps(weights))
    weight = rows["objective"].map(dict(zip(names, weights, strict=True)))
    parts = rows.assign(utility=rows["gold"] * weight)[same]
    at = parts.groupby(["variant", "seed", "scale"], sort=False)
    return at.agg(utility=("utility", "sum"), kl=("kl", "mean")).reset_index()


def _as_trained(points: pd.DataFrame, variant: str) -> str:
    at = points[(points["variant"] == variant) & (points["scale"] == 1)]
    return f"{at['utility'].mean():.3f} ({at['kl'].mean():.2f})"


def _at_equal_kl(points: pd.DataFrame, variant: str) -> str:
    trained = points[(points["variant"] == points["variant"].iloc[0]) & (points["scale"] == 1)]
    utilities = []
    for seed, target in zip(trained["seed"], trained["kl"], strict=True):
        at = points[(points["variant"] == variant) & (points["seed"] == seed)].sort_values("kl")
        inside = at["kl"].iloc[0] <= target <= at["kl"].iloc[-1]
        utilities.append(np.interp(target, at["kl"], at["utility"]) if inside else np.nan)
    return "-" if np.isnan(utilities).any() else f"{np.mean(utilities):.3f}"


def _short(weights: list[float]) -> str:
    return "/".join(f"{weight:.2f}".rstrip("0").rstrip(".") for weight in weights)


def main() -> None:
    """Trains and measures what is missing, then prints a table per domain."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("variants", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--domains", nargs="+", help="all by default")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0])
    options = parser.parse_args()
    vector = [objective for objective in objectives_of(read()).values() if objective.in_vector]
    domains = options.domains or list(dict.fromkeys(objective.domain for objective in vector))
    results = []
    for seed in range(options.seeds):
        for name, entry in read(options.variants).items():
            method, job = job_of(name, entry, seed)
            runtime.start(job.runtime, seed)
            if not job.folder.is_dir():
                start = time.process_time()
                method.run(job)
                print(f"{job.name}: trained in {time.process_time() - start:.0f} CPU seconds")
            for domain, scale in product(domains, options.scales):
                file = FOLDER / job.name / f"{domain}-{options.prompts}-{scale:g}.json"
                if not file.is_file():
                    rows = measure(job, domain, options.prompts, scale)
                    outputs.write_json(file, rows.to_dict("records"))
                measured = pd.DataFrame(outputs.read_json(file))
                results.append(measured.assign(variant=name, seed=seed))
            print(f"{job.name}: measured", flush=True)
    frame = pd.concat(results, ignore_index=True)
    for domain in domains:
        print(f"\n{table(frame, domain)}")
        if len(options.scales) > 1:
            print(f"\nAt equal KL:\n\n{table(frame, domain, equal_kl=True)}")


if __name__ == "__main__":
    main()
