"""A clone of this project for another recipe: its own params.yaml, results and record, the same DVC cache.

    python -m flows.clone recipes/x.yaml                           # makes or refreshes runs/x; prints its folder
    python -m flows.clone params.yaml evaluate.locked_seed=2       # runs/params-locked_seed-2, with that one value

The clone has the working tree as it is, changes that are not committed included. Its dvc.lock and reports are kept when
it is refreshed, so that only what changed runs again.
"""

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from concord.stage.errors import ConcordError
from concord.stage.paths import REPORTS
from flows.graph import dvc

KEPT = ("dvc.lock", str(REPORTS))
"""What a run writes beside DVC's outs."""


class CloneError(ConcordError):
    """A recipe is not there, or git or DVC refused."""


def clone(recipe: Path, root: Path, changes: Sequence[str] = ()) -> Path:
    """Makes or refreshes the clone of `recipe` with `changes` such as `evaluate.prompts=50`; returns its folder."""
    if not recipe.is_file():
        there = ", ".join(sorted(str(path) for path in Path("recipes").glob("*.yaml"))) or "none"
        raise CloneError(
            f"{recipe} is no file, so there is no recipe to run; recipes here: {there}"
        )
    params = edited(recipe, changes)
    values = [change.partition("=") for change in changes]
    folder = (
        root
        / "runs"
        / "-".join([recipe.stem, *(f"{key.split('.')[-1]}-{value}" for key, _, value in values)])
    )
    if not (folder / ".git").exists():
        _run("git", "clone", "--quiet", "--shared", "--no-checkout", str(root), str(folder))
    with tempfile.TemporaryDirectory(dir=folder / ".git") as aside:
        _move(folder, Path(aside))
        _run("git", "checkout", "--quiet", "--force", "--detach", snapshot(root), cwd=folder)
        _remove(folder)
        _move(Path(aside), folder)
    (folder / "params.yaml").write_text(params, encoding="utf-8")
    _share(root, folder)
    return folder


def edited(recipe: Path, changes: Sequence[str]) -> str:
    """The text of the recipe with each `key.of.a.value=value` in it; without changes, as it is."""
    if not changes:
        return recipe.read_text(encoding="utf-8")
    yaml = YAML()
    yaml.width = 10_000
    params = yaml.load(recipe)
    for change in changes:
        key, given, value = change.partition("=")
        *parents, last = key.split(".")
        place: Any = params
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not given or not isinstance(place, dict) or last not in place:
            raise CloneError(
                f"{change} changes nothing: {recipe} has no value {key}; write a.key.of.it=value"
            )
        place[last] = YAML(typ="safe").load(value)
    with io.StringIO() as text:
        yaml.dump(params, text)
        return text.getvalue()


def snapshot(root: Path) -> str:
    """A commit of the working tree as it is; branch, index and files stay untouched."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "GIT_INDEX_FILE": str(Path(folder) / "index")}
        _run("git", "read-tree", "HEAD", cwd=root, env=env)
        _run("git", "add", "--all", cwd=root, env=env)
        tree = _run("git", "write-tree", cwd=root, env=env)
    return _run("git", "commit-tree", tree, "-p", "HEAD", "-m", "Working tree of a run", cwd=root)


def _share(root: Path, folder: Path) -> None:
    """Points the clone to this project's cache and remote, and brings its tracked sources."""
    _run(*dvc("config", "--local", "cache.dir", _run(*dvc("cache", "dir"), cwd=root)), cwd=folder)
    _run(*dvc("remote", "modify", "--local", "local", "url", str(root / ".store")), cwd=folder)
    if sources := _run("git", "ls-files", "*.dvc", cwd=folder).split():
        _run(*dvc("checkout", "--quiet", *sources), cwd=folder)


def _move(source: Path, target: Path) -> None:
    for name in KEPT:
        if (source / name).exists():
            shutil.move(source / name, target / name)


def _remove(folder: Path) -> None:
    """The record of the project's own recipe is none of the clone's."""
    (folder / "dvc.lock").unlink(missing_ok=True)
    shutil.rmtree(folder / REPORTS, ignore_errors=True)


def _run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CloneError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout.strip()


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(clone(Path(sys.argv[1]), Path.cwd(), sys.argv[2:]))
    except ConcordError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
