"""Runs a study: trains every policy on every seed, measures it, and writes the figures.

    concord study recipes/studies/dev.yaml

Needs a finished run in this folder. Each seed has a folder, `work/study/<name>/seed-<k>`, with its
own rollouts and policies; models, rewards and data are those of the run. A study that was stopped
resumes: what is trained or measured already is kept while its settings stay the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from tqdm import tqdm

from concord.evaluation.study.curves import Curves
from concord.evaluation.study.measure import MEASURED, STUDY, measured
from concord.evaluation.study.recipe import (
    REFERENCE,
    StudyParams,
    Variant,
    cells,
    tree_params,
    variants,
)
from concord.evaluation.study.result import result
from concord.objectives import objectives_of
from concord.report.study import figure, text
from concord.stage import outputs
from concord.stage.command import command
from concord.stage.errors import ConcordError, DataError
from concord.stage.params import read, section
from concord.stage.paths import ANCHORS, POLICIES, PREPARED, REPORTS, REWARDS, ROLLOUTS, SFT, WORK
from concord.steering.checkpoint import digest
from tasks import check

NOT_SHARED = ("params.yaml", "data", "models", str(REPORTS), str(WORK), "runs")
"""What a seed's folder does not link to: it has another one, or does not need it."""
TRAINED = Path("trained")
LAST_LINES = 15

Execute = Callable[[list[str], Path, Path], float]
"""Runs `python -m <arguments>` in a folder, with its output in a file; returns CPU seconds."""


class StudyError(ConcordError):
    """A training or a measurement of the study failed."""


@dataclass(frozen=True)
class Seed:
    """One seed of a study."""

    study: StudyParams
    folder: Path
    inputs: str
    """Digest of what all trainings read."""
    execute: Execute

    def rollouts(self) -> None:
        """Samples and scores the rollouts of this seed."""
        self._once("rollouts", {}, "tasks.rollouts")

    def policy(self, variant: Variant) -> None:
        """Trains and measures one policy."""
        if self._once(variant.name, variant.entry, "tasks.policy", variant.name):
            for table in (self.folder / MEASURED).glob(f"*/{variant.name}.parquet"):
                table.unlink()
        self.measure(variant.name)

    def measure(self, name: str) -> None:
        """Measures a trained policy, or the SFT model."""
        if not (self.folder / measured(self.study, name)).is_file():
            self._run(f"measure-{name}", "concord.evaluation.study.measure", name)

    def _once(self, name: str, entry: Mapping[str, Any], *arguments: str) -> bool:
        """Runs a command unless it ran with the same entry and inputs; returns whether it ran."""
        record = self.folder / TRAINED / f"{name}.json"
        key = {"entry": dict(entry), "inputs": self.inputs}
        done = outputs.read_json(record) if record.is_file() else {}
        if {name: done.get(name) for name in key} == key:
            return False
        outputs.write_json(record, {**key, "cpu_seconds": self._run(name, *arguments)})
        return True

    def _run(self, log: str, *arguments: str) -> float:
        return self.execute(list(arguments), self.folder, self.folder / f"logs/{log}.log")


def run(recipe: Path, root: Path, at_once: int, execute: Execute | None = None) -> Path:
    """Runs or resumes the study of `recipe`; returns the folder of its report.

    Args:
        recipe: a file as `StudyParams` describes.
        root: the folder of a finished run.
        at_once: trainings that run at the same time.
        execute: runs a command; for tests.

    Raises:
        ParamsError: the recipe is invalid.
        DataError: the run is not finished.
        StudyError: a training or a measurement failed.
    """
    study = section(StudyParams, read(recipe), recipe.stem)
    params = read(root / "params.yaml")
    trainings = variants(study)
    sampled = {v.entry.get("pairs", "rollouts") for v in trainings} & {"rollouts", "both"}
    inputs = [SFT, PREPARED / "prompts", PREPARED / "ratings", PREPARED / "pairs"]
    inputs += [REWARDS, ANCHORS] if sampled else []
    for path in inputs:
        if not (root / path).exists():
            raise DataError(f"{root / path} does not exist; finish a run first (`concord run`)")
    cells(study, objectives_of(params))
    check.run(tree_params(params, study, study.seeds[0]), root)
    base = root / WORK / "study" / recipe.stem
    state = digest_of_inputs([root / path for path in inputs], params)
    seeds = [
        Seed(study, tree(root, base, study, params, seed), state, execute or in_own_process)
        for seed in study.seeds
    ]
    print(
        f"{len(trainings)} trainings for each of {len(seeds)} seeds, {at_once} at a time; "
        f"logs in {base}/seed-*/logs"
    )
    if sampled:
        _in_parallel([seed.rollouts for seed in seeds], at_once, "rollouts")
    jobs: list[Callable[[], None]] = [partial(seeds[0].measure, REFERENCE)]
    for seed in seeds:
        jobs += [partial(seed.policy, variant) for variant in trainings]
    _in_parallel(jobs, at_once, "policies")
    return report(study, recipe.stem, base, root, params)


def digest_of_inputs(paths: Sequence[Path], params: Mapping[str, Any]) -> str:
    """Digest of the files and settings that rollouts and trainings read."""
    settings = {key: params[key] for key in ("objectives", "rollouts", "runtime", "model")}
    text = json.dumps([settings, [digest(path) for path in paths]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def tree(root: Path, base: Path, study: StudyParams, params: Mapping[str, Any], seed: int) -> Path:
    """Creates or updates the folder of one seed."""
    folder = base / f"seed-{seed}"
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    for name in ("data", "models"):
        (folder / name).mkdir(exist_ok=True)
        kept = {ROLLOUTS.name, POLICIES.name, "code"}
        for path in (root / name).iterdir():
            if path.name not in kept:
                _link(path, folder / name / path.name)
    for path in root.iterdir():
        if path.name not in NOT_SHARED and not path.name.startswith("."):
            _link(path, folder / path.name)
    yaml = YAML(typ="safe", pure=True)
    with outputs.file(folder / "params.yaml") as partial:
        yaml.dump(tree_params(params, study, seed), partial)
    with outputs.file(folder / STUDY) as partial:
        yaml.dump(dataclasses.asdict(study), partial)
    return folder


def _link(target: Path, link: Path) -> None:
    if not link.is_symlink():
        link.symlink_to(target.resolve())


def _in_parallel(jobs: list[Callable[[], None]], at_once: int, label: str) -> None:
    """Runs the jobs with a progress bar. The first failure stops those that have not started."""
    with ThreadPoolExecutor(at_once) as pool, tqdm(total=len(jobs), desc=label) as bar:
        futures = [pool.submit(job) for job in jobs]
        for future in futures:
            future.add_done_callback(lambda _: bar.update())
        done, pending = wait(futures, return_when=FIRST_EXCEPTION)
        for future in pending:
            future.cancel()
        for future in done:
            future.result()


def in_own_process(arguments: list[str], folder: Path, log: Path) -> float:
    """Runs `python -m <arguments>` in `folder`. Raises StudyError with the end of its output."""
    command = [sys.executable, "-m", *arguments]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
    if status:
        lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        raise StudyError("\n".join([f"{' '.join(arguments)} failed in {folder}:", *lines]))
    return usage.ru_utime + usage.ru_stime


def report(
    study: StudyParams, name: str, base: Path, root: Path, params: Mapping[str, Any]
) -> Path:
    """Writes the figures of a measured study to `reports/studies/<name>`; returns the folder."""
    import pandas as pd

    trainings = variants(study)
    folders = {seed: base / f"seed-{seed}" for seed in study.seeds}
    files = {
        (variant.name, seed): folder / measured(study, variant.name)
        for variant in trainings
        for seed, folder in folders.items()
    }
    files[REFERENCE, study.seeds[0]] = folders[study.seeds[0]] / measured(study, REFERENCE)
    answers = {key: outputs.read_table(path) for key, path in files.items()}
    records = {
        (name, seed): outputs.read_json(folders[seed] / TRAINED / f"{name}.json")
        for name, seed in files
        if name != REFERENCE
    }
    cpu_seconds = {key: record["cpu_seconds"] for key, record in records.items()}
    curves = Curves(study, cells(study, objectives_of(params)), trainings, answers)
    figures = {
        "recipe": dataclasses.asdict(study),
        "base": digest(root / params["model"]["files"]),
        "sft": digest(root / SFT),
        **result(curves, trainings, answers, cpu_seconds),
    }
    with outputs.directory(root / REPORTS / "studies" / name) as folder:
        outputs.write_json(folder / "study.json", figures)
        outputs.write_text(folder / "study.svg", figure(figures))
        outputs.write_text(folder / "study.md", text(figures))
        tables = [
            table.assign(policy=policy, seed=seed) for (policy, seed), table in answers.items()
        ]
        outputs.write_table(folder / "answers.parquet", pd.concat(tables, ignore_index=True))
    return root / REPORTS / "studies" / name


def main(recipe: str, at_once: str) -> None:
    """Runs the study of a recipe in the current folder."""
    folder = run(Path(recipe), Path.cwd(), int(at_once))
    print(f"{folder}/study.md, study.svg")


if __name__ == "__main__":
    command(main)
