"""Kills, cuts and damages on purpose, and prints what became of each fault (`make torture`).

    python -m benchmarks.torture [--only GROUP] [--minutes 40] [--tries 10]
    python -m benchmarks.torture --tables [FILE]     # of the tries so far, or of those in FILE

The groups are stages, processes, disk, runs, publication and fuzz.

Works in runs/torture, with its own cache. A try survives if it ends in a clear error, or if the
next run gives the hashes of the undisturbed run. The fault with the smallest share of its tries is
tried next, until the minutes are over. Every try is a line of runs/torture/tries.jsonl, so that a
second call adds to the first; delete runs/torture after a change of the code. Disk faults need the
right to mount a tmpfs. docs/results/reliability.md has the tables.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.torture import (
    disk_faults,
    fuzzing,
    pending_kills,
    process_kills,
    publication_faults,
    run_faults,
    stage_kills,
)
from benchmarks.torture.fault_tries import Fault, append, attempt, load, next_fault, table
from benchmarks.torture.small_project import SmallProject, start_forks
from concord.release.repository import Repository
from tests.chain.forks import Forks

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("stages", "processes", "disk", "runs", "publication", "fuzz")
TRIES = ROOT / "runs/torture/tries.jsonl"
ROWS_PER_FORMAT, PARAMS_FILES = 10_000, 1_000


def main() -> int:
    """Runs the groups; returns 1 if a try did not survive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--only", choices=GROUPS, action="append")
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--tries", type=int, default=10, help="per stage, process and place")
    parser.add_argument("--tables", nargs="?", const=TRIES, type=Path, metavar="FILE")
    given = parser.parse_args()
    base, file = TRIES.parent, given.tables or TRIES
    if not given.tables:
        base.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + 60 * given.minutes
        run(base, file, given.only or GROUPS, given.tries, deadline)
    for group in GROUPS:
        print(f"\n{group}\n\n{table(load(file), group)}")
    return int(not all(one.survived for one in load(file)))


class _Plain(argparse.RawDescriptionHelpFormatter):
    pass


def run(base: Path, file: Path, groups: Sequence[str], tries: int, deadline: float) -> None:
    """Adds tries of the groups to a file until the deadline, or until all are made."""
    revision = Repository(ROOT).git("rev-parse", "--short", "HEAD")
    with ExitStack() as stack:
        start = _Start(base, tries, stack)
        group_of = {fault: group for group in groups for fault in start.group(group)}
        while time.monotonic() < deadline and (chosen := next_fault([*group_of], load(file))):
            fault, number = chosen
            one = attempt(group_of[fault], fault, number, revision)
            append(file, one)
            print(f"{one.fault} {number}: {one.seen} ({one.seconds:.0f} s)", flush=True)


class _Start:
    """The faults of each group, with the processes and the project that they need."""

    def __init__(self, base: Path, tries: int, stack: ExitStack) -> None:
        self._base, self._tries, self._stack = base, tries, stack
        self._started: Forks | None = None
        self._project: SmallProject | None = None

    def group(self, name: str) -> list[Fault]:
        """The faults of a group."""
        groups: dict[str, Callable[[], list[Fault]]] = {
            "stages": lambda: stage_kills.faults(self._small_project(), self._tries),
            "processes": self._processes,
            "disk": lambda: disk_faults.faults(self._small_project(), self._tries),
            "runs": lambda: run_faults.faults(self._small_project(), self._tries),
            "publication": lambda: publication_faults.faults(
                self._base, self._tries, self._forks()
            ),
            "fuzz": lambda: fuzzing.faults(ROWS_PER_FORMAT, PARAMS_FILES),
        }
        return groups[name]()

    def _processes(self) -> list[Fault]:
        server = process_kills.Server(self._base)
        server.start()
        self._stack.callback(server.kill)
        return [
            *process_kills.faults(server, self._base, self._tries),
            *pending_kills.faults(server, self._base, self._tries),
        ]

    def _forks(self) -> Forks:
        if self._started is None:
            self._started = start_forks(self._base)
        return self._started

    def _small_project(self) -> SmallProject:
        """The small project; it is made if it does not exist."""
        if self._project is None:
            self._project = SmallProject(self._base, self._forks())
            if not (self._base / "output").is_file():
                shutil.rmtree(self._project.folder, ignore_errors=True)
                print(f"the undisturbed run took {self._project.make():.0f} s", flush=True)
            self._project.restore()
        return self._project


if __name__ == "__main__":
    sys.exit(main())
