"""Whether the gate refuses models that were trained on flipped labels, and accepts equal ones.

    python -m benchmarks.flipped_labels [--objective harmless] [--seeds 8] [--minutes 90] [--work D]

Needs models/sft and data/prepared of a finished run of the default recipe. Per seed three policies
are trained, judged in the locked world, merged and published as candidates by the stages of the
pipeline: the champion; `same`, on the same labels with another training seed; and `flipped`, with
the seed of `same`, on the same data with every label of one objective turned around, in all splits.
Their reward models and anchors are fitted to the same labels as the policies. The gate has the
margins of the default recipe.

To be affordable on one core, it has two objectives of one domain, with `PAIRS` pairs each; policies
learn from these pairs, and reward models are probes, which have no seed. Finished models in the
work folder are used again; calls with other seeds can share it (`--first`). Prints Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.flipped_appends import flip
from concord.evaluation.metrics import wilson
from concord.objectives import objectives_of
from concord.prepared import splits
from concord.prepared.data_figures import data_figures
from concord.prepared.label_keys import read_labels
from concord.prepared.labels import collect
from concord.stage import outputs
from concord.stage.closure import ROOT
from concord.stage.errors import DataError
from concord.stage.params import read
from concord.stage.paths import (
    ANCHORS,
    CANDIDATE,
    CHECKS,
    POLICIES,
    PREPARED,
    REWARDS,
    SAMPLES,
    SFT,
)
from tasks import anchors, candidate, evaluate, gate, policy, reward_model
from tasks import select_weights as select

OBJECTIVES = ("harmless", "helpful")
PAIRS, PROMPTS = 1000, 300
"""Pairs per objective, over all splits; prompts on which the gate compares two models."""
POLICY, REFERENCE = "mah_dpo", "sft"
SHARED = (SFT, REWARDS, ANCHORS, PREPARED, POLICIES / REFERENCE)
"""What the models on the same labels share."""
REPORTED = (SAMPLES / f"{REFERENCE}.parquet", Path(f"reports/policies/{REFERENCE}.json"))
DATA = CANDIDATE / "data.json"
OTHER = 1000
"""What is added to the seed of the champion for the seed of the others."""


def recipe(seed: int) -> dict[str, Any]:
    """The default recipe with two objectives and fewer steps and points."""
    params = read(ROOT / "params.yaml")
    weights = dict.fromkeys(OBJECTIVES, 0.5)
    objectives = {name: params["objectives"][name] for name in OBJECTIVES}
    trained = params["policies"][POLICY]["training"] | {"steps": 60, "batch_size": 24}
    mah_dpo = {
        "method": "mah_dpo",
        "pairs": "annotations",
        **{name: params["policies"][POLICY][name] for name in ("beta", "head_learning_rate")},
        "training": {**trained, "micro_batch": 12},
    }
    margins = params["gate"]["objectives"]["margins"]
    means = params["gate"]["objectives"] | {
        "margins": {name: margin for name, margin in margins.items() if name in OBJECTIVES}
    }
    probe = {"objectives": {name: {} for name in OBJECTIVES}, "architecture": "probe"}
    return {
        **{name: params[name] for name in ("runtime", "model", "export", "anchors", "front")},
        "seeds": {"data": seed, "sampling": 0},
        "objectives": objectives,
        "reward_models": {"values": {**probe, "frozen_dtype": "float32"}},
        "policies": {REFERENCE: {"method": "reference"}, POLICY: mah_dpo},
        "evaluate": {
            **{name: params["evaluate"][name] for name in ("protocol", "locked_seed")},
            **{"prompts": PROMPTS, "validation_prompts": 20, "sweep": 2, "bootstrap": 200},
            "weights": weights,
        },
        "select": {"policy": POLICY, "reference": REFERENCE, "weights": weights},
        "gate": {**params["gate"], "objectives": means},
    }


@contextlib.contextmanager
def at(folder: Path, seed: int) -> Iterator[None]:
    """Runs stages in `folder`; what they print goes to standard error."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(json.dumps(recipe(seed)), encoding="utf-8")
    outputs.write_json(folder / CHECKS, {})
    with contextlib.chdir(folder), contextlib.redirect_stdout(sys.stderr):
        yield


def labels_of(source: Path, flipped: str | None) -> Iterator[tuple[str, dict[str, pd.DataFrame]]]:
    """Split -> pairs, ratings and steps of the objectives; those of `flipped` turned around."""
    tables = {
        name: table[table["objective"].isin(OBJECTIVES)].reset_index(drop=True)
        for name, table in read_labels(source / PREPARED).items()
    }
    by_objective = tables["pairs"].groupby("objective", group_keys=False)
    tables["pairs"] = by_objective.sample(PAIRS, random_state=0).reset_index(drop=True)
    salt, shares = str(recipe(0)["seeds"]["data"]), read(ROOT / "params.yaml")["prepare"]
    parts = {
        name: splits.divide(table, salt, shares["validation"], shares["test"])
        for name, table in (flip(tables, flipped) if flipped else tables).items()
    }
    for split in splits.SPLITS:
        yield split, {name: part[split] for name, part in parts.items()}


def prepare(folder: Path, source: Path, flipped: str | None) -> None:
    """A project with prepared data, the SFT model and its scores, and reward models."""
    if (folder / REPORTED[1]).is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    prepared = folder / PREPARED
    for split, tables in labels_of(source, flipped):
        for name, table in tables.items():
            outputs.write_table(prepared / name / f"{split}.parquet", table)
        outputs.write_table(prepared / f"rewards/values/{split}.parquet", tables["pairs"])
        if split == "train":
            both = collect(tables["pairs"], tables["ratings"])
            outputs.write_table(prepared / "rewards/values/labels.parquet", both)
    shutil.copytree(source / PREPARED / "prompts", prepared / "prompts")
    outputs.write_table(
        prepared / "checks.parquet", outputs.read_table(source / PREPARED / "checks.parquet")[:0]
    )
    shutil.copytree(source / SFT, folder / SFT)
    write_figures(folder)
    with at(folder, 0):
        reward_model.main("values")
        anchors.main()
        policy.main(REFERENCE)
        evaluate.main(REFERENCE)


def write_figures(folder: Path) -> None:
    """The figures of the data; nothing was quarantined here, and there are no demonstrations."""
    labels = read_labels(folder / PREPARED)
    nothing = pd.DataFrame({"source": [], "reason": []})
    demonstrations = pd.DataFrame({"response": pd.Series(dtype=object), "group_id": []})
    tables, count = {**labels, "demonstrations": demonstrations}, sum(map(len, labels.values()))
    figures = data_figures(tables, objectives_of(recipe(0)), {"sandbox": count}, nothing, None)
    outputs.write_json(folder / DATA, figures)


def train(folder: Path, project: Path, seed: int, champion: Path | None) -> dict[str, Any]:
    """Trains and judges a candidate on the labels of `project`; the verdict on it.

    Without a champion, it is compared with the SFT model.
    """
    verdict = folder / "reports/gate.json"
    if not verdict.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        for path in SHARED:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to((project / path).resolve())
        for path in (*REPORTED, DATA):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(project / path, folder / path)
        if champion:
            shutil.copytree(champion / CANDIDATE, folder / recipe(0)["gate"]["champion"])
        with at(folder, seed):
            policy.main(POLICY)
            evaluate.main(POLICY)
            select.main()
            candidate.main()
            gate.main()
    return dict(outputs.read_json(verdict))


def trial(work: Path, objective: str, seed: int) -> Iterator[dict[str, Any]]:
    """What the gate says of `same` and `flipped` beside the champion of this seed."""
    honest, flipped = work / "honest", work / f"flipped-{objective}"
    champion = work / f"champion-{seed}"
    train(champion, honest, seed, None)
    for kind, project in (("same", honest), (f"flipped {objective}", flipped)):
        folder = work / f"{kind.replace(' ', '-')}-{seed}"
        rows = train(folder, project, seed + OTHER, champion)["gates"]
        failed = [row["name"] for row in rows if row["required"] and row["holds"] is False]
        means = next(row["figures"] for row in rows if row["name"] == "objectives")
        yield {
            "seed": seed,
            "labels": kind,
            "refused": bool(failed),
            "refused without data": any(name != "data" for name in failed),
            "failed": failed,
            **{name: means[name]["difference"] for name in OBJECTIVES},
        }


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """Counts with Wilson's 95 % intervals, and a row per candidate."""
    table = pd.DataFrame(results)
    lines = ["| candidate | refused by all gates | without the gate `data` | gates that failed |"]
    lines.append("|---|---|---|---|")
    for labels, rows in table.groupby("labels", sort=False):
        cells = []
        for column in ("refused", "refused without data"):
            count, total = int(rows[column].sum()), len(rows)
            interval = wilson(count / total, total)
            cells.append(f"{count} of {total} ({interval.low:.2f} to {interval.high:.2f})")
        counts = rows["failed"].explode().dropna().value_counts()
        gates = ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
        lines.append(f"| {labels} | {' | '.join(cells)} | {gates} |")
    lines += ["", f"| seed | candidate | {' | '.join(OBJECTIVES)} | gates that failed |"]
    lines.append(f"|---|---|{'---|' * len(OBJECTIVES)}---|")
    for row in results:
        differences = " | ".join(f"{row[name]:+.3f}" for name in OBJECTIVES)
        gates = ", ".join(row["failed"]) or "none"
        lines.append(f"| {row['seed']} | {row['labels']} | {differences} | {gates} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the tables; what the stages print goes to standard error."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--objective", choices=OBJECTIVES, default=OBJECTIVES[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--minutes", type=float, default=90, help="no seed is begun after these")
    parser.add_argument("--work", type=Path, default=Path("runs/flipped_labels"))
    given = parser.parse_args()
    source, work, began = Path.cwd(), given.work.resolve(), time.monotonic()
    for path in (SFT, PREPARED / "pairs/test.parquet"):
        if not (source / path).exists():
            raise DataError(f"{path} is missing; run `dvc repro sft` with the default recipe first")
    prepare(work / "honest", source, None)
    prepare(work / f"flipped-{given.objective}", source, given.objective)
    results: list[dict[str, Any]] = []
    for seed in range(given.first, given.first + given.seeds):
        if time.monotonic() - began > 60 * given.minutes:
            print(f"seed {seed} was not begun after {given.minutes:g} minutes", file=sys.stderr)
            break
        results += trial(work, given.objective, seed)
    if results:
        print(markdown(results))


if __name__ == "__main__":
    main()
