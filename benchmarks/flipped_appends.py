"""How often the gate `data` notices an append whose labels of one objective are all flipped.

    python -m benchmarks.flipped_appends [--seeds N] [--shares SHARE ...] [--small]

Per seed, the generated annotators deliver the champion's data, in the size of the default recipe
(`--small`: a tenth of it), and appends of each share of that size: new prompts, answers and labels.
The candidate's data are both. Each append is tried as it is, and with the labels of one objective
flipped, a random one per seed. Prints Markdown: of the seeds, how often the gate refuses with the
figures of all data alone, and with those of the new labels too.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from concord.annotations import schemas
from concord.annotations.interchange import rows, table_of
from concord.evaluation.gates.data_gate import NewLabels, data
from concord.evaluation.gates.gate_params import DataGate
from concord.evaluation.gates.sides import Side
from concord.evaluation.metrics import wilson
from concord.objectives import Objective, objectives_of
from concord.prepared import label_keys
from concord.prepared import pairs as preferences
from concord.prepared.data_figures import data_figures
from concord.sandbox.source import Spec, read_spec, records_of
from concord.stage.closure import ROOT
from concord.stage.params import read

Tables = dict[str, pd.DataFrame]
SHARES = (0.02, 0.05, 0.1, 0.2)
SMALL = 0.1
TABLES = ("demonstrations", "ratings", "steps", "comparisons")


def scaled(spec: Spec, share: float, seed: int) -> Spec:
    """The spec of a delivery of another size and seed."""
    counts = ("prompts", "demonstrations", "ratings", "rankings", "binary", "steps")
    fewer = {name: round(share * getattr(spec, name)) for name in counts}
    comparisons = {name: round(share * count) for name, count in spec.comparisons.items()}
    return replace(spec, seed=seed, comparisons=comparisons, **fewer)


def tables_of(spec: Spec) -> Tables:
    """The tables of a delivery, without faulty lines."""
    built: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for line, record in enumerate(records_of(spec), 1):
        if (table := table_of(record)) in built:
            origin = {"source": "sandbox", "source_file": "", "source_line": line}
            built[table] += [{**origin, **row} for row in rows(record)]
    tables = {name: schemas.build(name, content) for name, content in built.items()}
    compared = preferences.from_comparisons(tables.pop("comparisons"))
    implied = preferences.from_ratings(tables["ratings"])
    return {**tables, "pairs": pd.concat([compared, implied], ignore_index=True)}


def flip(tables: Tables, objective: str) -> Tables:
    """The tables with every label of the objective turned around."""
    pairs, ratings, steps = (tables[name].copy() for name in label_keys.TABLES)
    of_pairs = pairs["objective"] == objective
    sides = ["chosen", "rejected"]
    pairs.loc[of_pairs, sides] = pairs.loc[of_pairs, sides[::-1]].to_numpy()
    of_ratings = ratings["objective"] == objective
    ratings["rating"] = ratings["rating"].where(~of_ratings, 1 - ratings["rating"])
    other_end = ratings["scale_low"] + ratings["scale_high"] - ratings["raw_rating"]
    ratings["raw_rating"] = ratings["raw_rating"].where(~of_ratings, other_end)
    for changed in (ratings, steps):  # another content
        changed["row_id"] += np.where(changed["objective"] == objective, "flipped", "")
    of_steps = steps["objective"] == objective
    steps["labels"] = steps["labels"].where(~of_steps, steps["labels"].map(_turned))
    return {**tables, "pairs": pairs, "ratings": ratings, "steps": steps}


def _turned(labels: Sequence[float | None]) -> list[float | None]:
    return [label if label is None else 1 - label for label in labels]


def joined(one: Tables, other: Tables) -> Tables:
    return {name: pd.concat([one[name], other[name]], ignore_index=True) for name in one}


class Trial:
    """The champion's data of one seed, and candidates whose data are those and an append."""

    def __init__(self, spec: Spec, objectives: Mapping[str, Objective], seed: int) -> None:
        self.spec, self.seed, self.objectives = spec, seed, objectives
        self.old = tables_of(scaled(spec, 1.0, seed))
        self.known = label_keys.all_keys(self.old)["key"].to_numpy()
        self.champion = self.side(self.old)

    def side(self, tables: Tables) -> Side:
        """A model of which only the data are known."""
        count = sum(map(len, tables.values()))
        nothing = pd.DataFrame({"source": [], "reason": []})
        kept = data_figures(tables, self.objectives, {"sandbox": count}, nothing, None)
        return Side("champion", {}, pd.DataFrame(), None, kept)

    def append(self, share: float) -> Tables:
        """An honest append."""
        return tables_of(scaled(self.spec, share, 10_000 + self.seed))

    def refused(self, append: Tables) -> dict[str, bool]:
        """Whether the gate refuses, with the figures of all data alone and with both."""
        tables = joined(self.old, append)
        added = NewLabels.of(tables, self.objectives, self.known)
        candidate = self.side(tables)
        rows_ = {
            name: data(DataGate(), candidate, self.champion, given)
            for name, given in (("all data", None), ("with new labels", added))
        }
        for name, row in rows_.items():
            print(f"  {name}: {row.why}", file=sys.stderr, flush=True)
        return {name: row.holds is False for name, row in rows_.items()}


def measure(seeds: int, shares: Sequence[float], size: float) -> pd.DataFrame:
    """A row per seed, append and kind of labels: what refused it."""
    params = read(ROOT / "params.yaml")
    objectives = objectives_of(params)
    spec = scaled(read_spec(ROOT / params["sources"]["sandbox"]["path"]), size, 0)
    results = []
    for seed in range(seeds):
        trial = Trial(spec, objectives, seed)
        objective = random.Random(seed).choice(list(objectives))
        for share in shares:
            append = trial.append(share)
            for flipped in (False, True):
                labels = f"{objective} flipped" if flipped else "as they are"
                print(f"seed {seed}, {share:.0%}, {labels}", file=sys.stderr, flush=True)
                refused = trial.refused(flip(append, objective) if flipped else append)
                results.append({"seed": seed, "share": share, "flipped": flipped, **refused})
    return pd.DataFrame(results)


def markdown(table: pd.DataFrame) -> str:
    """The table of the docs: refused of tries, with Wilson's 95 % interval."""
    lines = ["| append | labels | all data alone | with the new labels |", "|---|---|---|---|"]
    for (share, flipped), rows_ in table.groupby(["share", "flipped"]):
        cells = []
        for column in ("all data", "with new labels"):
            count, total = int(rows_[column].sum()), len(rows_)
            interval = wilson(count / total, total)
            cells.append(f"{count} of {total} ({interval.low:.2f} to {interval.high:.2f})")
        labels = "flipped" if flipped else "honest"
        lines.append(f"| {share:.0%} | {labels} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table; what the gate said goes to standard error."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--small", action="store_true", help="a tenth of the labels")
    given = parser.parse_args()
    print(markdown(measure(given.seeds, given.shares, SMALL if given.small else 1.0)))


if __name__ == "__main__":
    main()
