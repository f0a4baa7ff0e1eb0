"""How much of a stage is computed again after a kill at 90 % of its time.

    python -m benchmarks.resumed_stages PROJECT STAGE... [--set KEY=VALUE] [--out FILE]

PROJECT is a folder with a finished run of this code; it is copied, and only the copy is changed. A
stage such as `rollouts` or `evaluate@mah_dpo` runs once from the beginning. Meanwhile its finished
parts are copied whenever they appear, as a kill leaves them. Then it runs again with the parts that
existed at 90 % of the CPU time of the first run. The outputs must be the same, byte for byte.

`ingest` reads 40 files of 2,000 rows, which are written for it.

All times are CPU seconds of the stage and its children, with the start of Python. `start` is the
time at which the first part was finished. `again` is the share of the whole: of `whole`, and of the
work alone, which is `whole` less `start`. A line of JSON per stage goes to FILE.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from benchmarks.appended_file import write
from concord.stage.params import read

ROOT = Path(__file__).resolve().parents[1]
KILLED_AT = 0.9
POLL = 0.5
COPIED = ("data", "models", "reports", "templates", "recipes", "params.yaml", "dvc.yaml")
MODULES = {"select": "select_weights"}
FILES, ROWS = 40, 2_000


@dataclass(frozen=True)
class Figures:
    """What a stage took, in CPU seconds."""

    stage: str
    whole: float
    start: float
    killed_at: float
    """The time of the newest state of the parts before 90 % of the whole, and before the outputs
    were complete."""
    second: float
    parts: int
    """Number of parts that the second run found."""
    different: list[str]
    """Outputs with other bytes."""

    @property
    def line(self) -> str:
        """A row of a table in Markdown."""
        share = self.second / self.whole
        work = (self.second - self.start) / (self.whole - self.start)
        times = (self.whole, self.start, self.killed_at, self.second)
        same = "no: " + ", ".join(self.different) if self.different else "yes"
        numbers = " | ".join(f"{number:.1f}" for number in times)
        return f"| {self.stage} | {numbers} | {share:.0%} | {work:.0%} | {same} |"


class Project:
    """A copy of a project in which a stage is run."""

    def __init__(self, source: Path, folder: Path, stage: str) -> None:
        self.folder, self.stage = folder, stage
        name, _, item = stage.partition("@")
        self.command = [
            sys.executable,
            "-m",
            f"tasks.{MODULES.get(name, name)}",
            *filter(None, [item]),
        ]
        for part in COPIED:
            if (source / part).is_dir():
                shutil.copytree(source / part, folder / part, symlinks=True)
            elif (source / part).is_file():
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / part, folder / part)
        lock = read(source / "dvc.lock")["stages"]
        self.outs = [out["path"] for out in lock.get(stage, {}).get("outs", [])]
        if name == "ingest":
            self.outs = [f"data/ingested/{item}"]
            self._write_pairs(item)
        self.kept = folder / "work" / ("parsed/" + item if name == "ingest" else stage)

    def _write_pairs(self, name: str) -> None:
        data = self.folder / "data/raw/resumed"
        data.mkdir(parents=True)
        for number in range(FILES):
            write(data / f"{number:03}.jsonl", number * ROWS, ROWS)
        options = {"objective": "helpful"}
        source = {"format": "trl", "path": str(data), "options": options, "prompts": "values"}
        self.set(f"sources.{name}", source)

    def set(self, key: str, value: Any) -> None:
        """Sets a value of params.yaml."""
        params = read(self.folder / "params.yaml")
        *path, last = key.split(".")
        inner = params
        for part in path:
            inner = inner[part]
        inner[last] = value
        with (self.folder / "params.yaml").open("w") as file:
            YAML(typ="safe", pure=True).dump(params, file)

    def parts(self) -> Iterator[Path]:
        """The finished parts on the disk."""
        for suffix in ("part", "parsed"):
            yield from self.kept.rglob(f"*.{suffix}")

    def run(self, store: Path | None = None) -> tuple[list[tuple[float, list[str]]], Path]:
        """Runs the stage; returns when which parts were there, and its output.

        Parts are copied to `store`, if given.
        """
        env = {k: v for k, v in os.environ.items() if k != "DVC_STAGE"}
        log, states = self.folder / "log", [(0.0, list[str]())]
        with log.open("w") as file:
            process = psutil.Popen(
                self.command,
                cwd=self.folder,
                env=env | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"},
                stdout=file,
                stderr=file,
            )
            while process.poll() is None:
                if store is not None:
                    self._look(process, store, states)
                time.sleep(POLL)
        assert process.returncode == 0, log.read_text()[-2000:]
        return states, log

    def _look(self, process: psutil.Process, store: Path, states: list[Any]) -> None:
        names = sorted(str(path.relative_to(self.kept)) for path in self.parts())
        if names == states[-1][1]:
            return
        copied = []
        for name in names:
            target = store / name
            try:
                if not target.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(self.kept / name, target)
                copied.append(name)
            except FileNotFoundError:  # its outer part has been finished meanwhile
                target.unlink(missing_ok=True)
        states.append((cpu(process), copied))

    def hashes(self) -> dict[str, str]:
        """File of an output -> its hash."""
        files = [file for out in self.outs for file in sorted((self.folder / out).rglob("*"))]
        files += [self.folder / out for out in self.outs]
        return {
            str(file.relative_to(self.folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
            if file.is_file()
        }


def cpu(process: psutil.Process) -> float:
    """CPU seconds of a process and its children so far."""
    times = process.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        try:
            total += sum(child.cpu_times()[:2])
        except psutil.Error:
            continue
    return float(total)


def measure(source: Path, folder: Path, stage: str, values: list[tuple[str, Any]]) -> Figures:
    """Runs a stage from the beginning, and again from what it had at 90 % of its time."""
    shutil.rmtree(folder, ignore_errors=True)
    project, store = Project(source, folder / "project", stage), folder / "store"
    for key, value in values:
        project.set(key, value)
    for out in project.outs:
        remove(project.folder / out)
    before = children_seconds()
    states, _ = project.run(store)
    whole = children_seconds() - before
    expected = project.hashes()
    assert expected, f"{stage} wrote none of {project.outs}"
    shutil.rmtree(project.kept, ignore_errors=True)
    killed_at, names = max(state for state in states[:-1] if state[0] <= KILLED_AT * whole)
    for out in project.outs:
        remove(project.folder / out)
    for name in names:
        (project.kept / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(store / name, project.kept / name)
    before = children_seconds()
    _, log = project.run()
    second = children_seconds() - before
    if names and project.kept.name != "parsed":
        print(log.read_text().partition("\n")[0], file=sys.stderr)
    actual = project.hashes()
    different = sorted(path for path in expected if actual.get(path) != expected[path])
    first = states[1][0] if len(states) > 1 else whole
    return Figures(stage, whole, first, killed_at, second, len(names), different)


def children_seconds() -> float:
    """CPU seconds of all children that have ended, and of theirs."""
    times = os.times()
    return times.children_user + times.children_system


def remove(path: Path) -> None:
    """Removes a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def main() -> None:
    """Prints a row per stage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("project", type=Path)
    parser.add_argument("stages", nargs="+")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", type=Path, default=ROOT / "runs/resumed")
    given = parser.parse_args()
    values = [
        (key, json.loads(value)) for key, _, value in (one.partition("=") for one in given.set)
    ]
    for stage in given.stages:
        figures = measure(given.project, given.work / stage, stage, values)
        print(figures.line, flush=True)
        if given.out:
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(figures) | {"set": given.set}) + "\n")
        shutil.rmtree(given.work / stage)


if __name__ == "__main__":
    main()
