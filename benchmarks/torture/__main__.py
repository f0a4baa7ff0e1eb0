"""Kills, cuts and damages on purpose, and prints what became of each fault (`make torture`).

    python -m benchmarks.torture [--only GROUP] [--minutes 40] [--tries 10]

The groups are stages, processes, disk, runs and fuzz.

Works in runs/torture, with its own cache. A row of the table is a fault; a try survives if it ends
in a clear error, or if the next run gives the hashes of the undisturbed run. What does not fit into
the minutes is not tried, and the table says so. Disk faults need the right to mount a tmpfs.
The figures go to runs/torture/figures-GROUPS.json, and are in docs/results/reliability.md.
"""

import argparse
import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.torture import disk_faults, fuzzing, process_kills, run_faults, stage_kills
from benchmarks.torture.fault_rows import Row
from benchmarks.torture.small_project import SmallProject

ROOT = Path(__file__).resolve().parents[2]
SHARES = {"fuzz": 3, "processes": 3, "runs": 2, "disk": 3, "stages": 6}
"""Group -> its share of the time, in relation to the others."""
IN_PROJECT = {"runs", "disk", "stages"}
ROWS_PER_FORMAT, PARAMS_FILES = 10_000, 1_000


def main() -> int:
    """Runs the groups; returns 1 if a try did not survive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--only", choices=SHARES, action="append")
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--tries", type=int, default=10, help="per stage, process and place")
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    base = ROOT / "runs/torture"
    base.mkdir(parents=True, exist_ok=True)
    groups, rows = list(given.only or SHARES), []
    if IN_PROJECT.intersection(groups):
        project(base)
    for number, group in enumerate(groups):
        share = SHARES[group] / sum(SHARES[name] for name in groups[number:])
        deadline = time.monotonic() + share * (end - time.monotonic())
        for row in GROUPS[group](base, given.tries, deadline):
            print(line(row), flush=True)
            rows.append(row)
            save(base / f"figures-{'-'.join(groups)}.json", rows, given.minutes)
    print(table(rows))
    return int(any(row.failures for row in rows))


class _Plain(argparse.RawDescriptionHelpFormatter):
    pass


def fuzz(base: Path, tries: int, deadline: float) -> Iterator[Row]:
    """Fuzzed rows and params files; their number does not depend on the tries."""
    yield from fuzzing.rows(ROWS_PER_FORMAT, PARAMS_FILES, deadline)


def processes(base: Path, tries: int, deadline: float) -> Iterator[Row]:
    """The flow, the server and the worker."""
    yield from process_kills.rows(base, tries, deadline)


def in_project(
    rows: Callable[[SmallProject, int, float], Iterator[Row]],
) -> Callable[[Path, int, float], Iterator[Row]]:
    """A group that works in the small project, which is made if it does not exist."""

    def group(base: Path, tries: int, deadline: float) -> Iterator[Row]:
        yield from rows(project(base), tries, deadline)

    return group


def project(base: Path) -> SmallProject:
    """The small project; its processes start at the first call."""
    if "project" not in _made:
        made = SmallProject(base)
        made.start()
        if not (base / "output").is_file():
            shutil.rmtree(made.folder, ignore_errors=True)
            print(f"the undisturbed run took {made.make():.0f} s", flush=True)
        _made["project"] = made
    return _made["project"]


_made: dict[str, SmallProject] = {}
GROUPS: dict[str, Callable[[Path, int, float], Iterator[Row]]] = {
    "fuzz": fuzz,
    "runs": in_project(run_faults.rows),
    "processes": processes,
    "disk": in_project(disk_faults.rows),
    "stages": in_project(stage_kills.rows),
}


def line(row: Row) -> str:
    """A row of the table in Markdown."""
    tries = f"{row.tries:,}" + (f" of {row.wanted:,}" if row.tries < row.wanted else "")
    return f"| {row.fault} | {tries} | {len(row.failures)} | {row.seconds:.0f} | {row.summary()} |"


def table(rows: list[Row]) -> str:
    """All rows as a table in Markdown."""
    head = (
        "| fault | tries | not survived | seconds | what happened (tries) |\n|---|---|---|---|---|"
    )
    return "\n".join([head, *map(line, rows)])


def save(path: Path, rows: list[Row], minutes: float) -> None:
    """Writes the figures with the date and the command."""
    content = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": minutes,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
