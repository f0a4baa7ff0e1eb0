"""Explains `dvc status` in plain words: which stages would rerun, and why.

DVC only knows that a stage's listing of code changed. This module compares the listings, and names
the files.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from concord.stage.params import read
from concord.stage.paths import CODE
from flows.graph import ask, read_graph

WORDS = {"modified": "changed", "deleted": "is missing", "new": "is new"}


def describe(root: Path) -> str:
    """Describes each stage that would run with its reasons, then the stages downstream of them.

    Run `python -m tasks.check` first: it writes the listings of code that stages depend on.
    """
    reported = json.loads(ask("status", "--json") or "{}")
    reported.pop("check", None)  # it has just run, outside of DVC
    recorded = read(root / "dvc.lock")["stages"] if (root / "dvc.lock").is_file() else {}
    listings = Listings(root, recorded)
    stages = read_graph()
    order = {stage.name: number for number, stage in enumerate(stages)}
    lines: list[str] = []
    for name in sorted(reported, key=lambda name: order.get(name, len(order))):
        lines.append(name)
        never_ran = not name.endswith(".dvc") and name not in recorded
        reasons = (
            ["has not run yet"] if never_ran else list(_reasons(name, reported[name], listings))
        )
        lines += [f"    {reason}" for reason in dict.fromkeys(reasons)]
    would = {name for name in reported if not name.endswith(".dvc")}
    downstream = set(reported)
    for stage in stages:
        if downstream.intersection(stage.upstream):
            downstream.add(stage.name)
    follow = [stage.name for stage in stages if stage.name in downstream - set(reported)]
    if not reported:
        return "Everything is up to date: nothing would rerun."
    if follow:
        lines += ["", "These read from them, and rerun if their inputs change:"]
        lines += [f"    {name}" for name in follow]
    return "\n".join([*lines, "", f"{len(would)} of {len(stages)} stages would run."])


class Listings:
    """Compares the code that a stage ran with to the code that it would run with."""

    def __init__(self, root: Path, recorded: Mapping[str, Any]) -> None:
        self.root = root
        self.hashes = {
            (stage, dep["path"]): dep.get("md5", "")
            for stage, entry in recorded.items()
            for dep in entry.get("deps", [])
        }
        self.cache: Path | None = None

    def changed(self, stage: str, listing: str) -> list[str]:
        """Files whose code changed since the stage ran; empty if the old listing is not cached."""
        if self.cache is None:
            self.cache = Path(ask("cache", "dir").strip())
        from concord.code import read_listing  # imports pandas

        md5 = self.hashes.get((stage, listing), "")
        old = self.cache / "files/md5" / md5[:2] / md5[2:]
        new = self.root / listing
        if not md5 or not old.is_file() or not new.is_file():
            return []
        before = read_listing(old.read_text(encoding="utf-8"))
        after = read_listing(new.read_text(encoding="utf-8"))
        return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


def _reasons(stage: str, changes: list[Any], listings: Listings) -> Iterator[str]:
    """Translates the entries of `dvc status` for one stage, one reason per line."""
    for change in changes:
        if not isinstance(change, Mapping):
            yield {
                "changed command": "its command in dvc.yaml changed",
                "always changed": "always runs",
            }.get(change, str(change))
            continue
        for what, items in change.items():
            for path, state in items.items():
                if isinstance(state, Mapping):
                    for key, how in state.items():
                        yield f"{path}: {key} {WORDS.get(how, how)}"
                elif path.startswith(f"{CODE}/"):
                    files = listings.changed(stage, path)
                    yield from (f"code: {file} changed" for file in files or ["a file"])
                elif what == "changed outs":
                    yield f"its output {path} {WORDS.get(state, state)}"
                else:
                    yield f"{path} {WORDS.get(state, state)}"
