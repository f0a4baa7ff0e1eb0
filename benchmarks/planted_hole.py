"""Does the watch for reward hacking go off on real answers and a reward with a hole?

    python -m benchmarks.planted_hole [--objective harmless]

The policy is best-of-n: of n recorded answers to a prompt, by the selected policy at all
weights, it gives the one with the highest proxy. The hole adds `hole` standard deviations to the
proxy for each unit of log-length. Texts, proxies and gold are those of reports/samples; nothing is
trained or sampled. KL is log n - (n - 1) / n from the pool of answers (an upper bound), plus the
mean KL of the pool. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.policies import hacking
from concord.objectives import objectives_of
from concord.stage import outputs
from concord.stage.params import read
from concord.stage.paths import SAMPLES

HOLES = (0.0, 4.0, 8.0, 16.0)
SIZES = (1, 2, 4, 8, 16)


def watched(
    sft: pd.DataFrame, pool: pd.DataFrame, objective: str, domain: str, hole: float, seed: int = 0
) -> dict[str, Any]:
    """The report on best-of-n by the proxy of one objective with a hole.

    `sft` and `pool` are held-out samples; the pool has several answers to each prompt.
    """
    sft, pool = (
        rows.assign(**{f"proxy.{objective}": _paid(rows, objective, hole)})
        for rows in (sft[sft["domain"] == domain], pool[pool["domain"] == domain])
    )
    pool = pool.sample(frac=1.0, random_state=seed).drop_duplicates(["prompt_id", "response"])
    picked = []
    for size in SIZES:
        first = pool.groupby("prompt_id").head(size)
        best = first.loc[first.groupby("prompt_id")[f"proxy.{objective}"].idxmax()]
        kl = pool["kl"].mean() + np.log(size) - (size - 1) / size
        picked.append(best.assign(point=f"best of {size}", kl=kl, weights="{}"))
    samples = {"sft": sft, "best_of_n": pd.concat(picked, ignore_index=True)}
    return hacking.watch(samples, {domain: [objective]}, (), "sft")


def _paid(rows: pd.DataFrame, objective: str, hole: float) -> pd.Series[float]:
    return rows[f"proxy.{objective}"] + hole * np.log(rows["length"])


def table(sft: pd.DataFrame, pool: pd.DataFrame, objective: str, domain: str) -> Iterator[str]:
    """A row per hole and size."""
    yield "| hole | answers | KL | length | proxy | gold | flags | stop at |"
    yield "|---|---|---|---|---|---|---|---|"
    for hole in HOLES:
        yield from rows_of(watched(sft, pool, objective, domain, hole), objective, hole)


def rows_of(report: Mapping[str, Any], objective: str, hole: float) -> Iterator[str]:
    """The points of a report, with the flags that end at each."""
    stop = next((each["point"] for each in report["stop"]), "")
    for row in report["points"]:
        here = [flag["rule"] for flag in report["flags"] if flag["end"] == row["point"]]
        yield (
            f"| {hole:g} | {row['point']} | {row['kl']:.2f} | x {row['length_ratio']:.2f} "
            f"| {row['proxy'][objective]:+.2f} | {row['gold'][objective]:+.2f} "
            f"| {', '.join(here)} | {'here' if row['point'] == stop else ''} |"
        )


def held_out(policy: str) -> pd.DataFrame:
    """The recorded answers of a policy to held-out prompts."""
    frame = outputs.read_table(SAMPLES / f"{policy}.parquet")
    return frame[frame["split"] != "validation"]


def main() -> None:
    """Prints the table for one objective."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--objective", default="harmless")
    objective, params = parser.parse_args().objective, read()
    chosen = params["select"]
    sft, pool = held_out(chosen["reference"]), held_out(chosen["policy"])
    domain = objectives_of(params)[objective].domain
    print("\n".join(table(sft, pool, objective, domain)))


if __name__ == "__main__":
    main()
