"""Clones this project to run another recipe. A clone has its own results; the DVC cache is shared.

    python -m flows.clone recipes/x.yaml                      # creates or updates runs/x
    python -m flows.clone params.yaml evaluate.locked_seed=2  # runs/params-locked_seed-2

Prints the path of the clone. The second command changes one value of params.yaml. A clone contains
the working tree, including uncommitted changes. An update keeps its dvc.lock and reports, so only
stages that changed run again.

The params.yaml of a clone is complete: if the recipe lacks a key that dvc.yaml reads, it is written
with all defaults (`flows.recipe`). The dvc.yaml of a clone has only the stages of its recipe.
"""

import copy
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from concord.stage.errors import ConcordError
from concord.stage.params import read
from concord.stage.paths import REPORTS
from concord.stage.stage_graph import GRAPH, is_short
from flows.graph import dvc
from flows.recipe_graph import graph_for

KEPT = ("dvc.lock", str(REPORTS))
"""Results of a run that DVC does not cache. They survive an update of the clone."""


class CloneError(ConcordError):
    """The recipe does not exist, a change is invalid, or git or DVC failed."""


def clone(recipe: Path, root: Path, changes: Sequence[str] = ()) -> Path:
    """Creates or updates the clone of `recipe`; returns its folder.

    `changes` are assignments such as `evaluate.prompts=50`. Raises CloneError.
    """
    params = complete_text(recipe, root, changes)
    assignments = [change.partition("=") for change in changes]
    suffixes = [f"{key.split('.')[-1]}-{value}" for key, _, value in assignments]
    folder = root / "runs" / _file_name("-".join([recipe.stem, *suffixes]))
    if not (folder / ".git").exists():
        _run("git", "clone", "--quiet", "--shared", "--no-checkout", str(root), str(folder))
    with tempfile.TemporaryDirectory(dir=folder / ".git") as backup:
        _move_results(folder, Path(backup))
        _run(
            "git",
            "checkout",
            "--quiet",
            "--force",
            "--detach",
            commit_working_tree(root),
            cwd=folder,
        )
        _remove_results(folder)
        _move_results(Path(backup), folder)
    (folder / "params.yaml").write_text(params, encoding="utf-8")
    graph = graph_for(folder, read(folder / "params.yaml"), str(recipe))
    (folder / GRAPH).write_text(graph, encoding="utf-8")
    _share_cache(root, folder)
    return folder


def _file_name(text: str) -> str:
    """A name for a folder, which depends on all of the text and stays below its parent.

    Examples:
        >>> _file_name("params-beta-0.2"), _file_name("params-name-../../x")
        ('params-beta-0.2', 'params-name-.._.._x-6d01')
    """
    name = re.sub(r"[^\w.=,+-]", "_", text)[:100]
    if name == text:
        return name
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:4]}"


def complete_text(recipe: Path, root: Path, changes: Sequence[str] = ()) -> str:
    """A complete params.yaml: the recipe with the assignments `changes`, each `path.of.key=value`.

    Raises CloneError if the recipe or a key does not exist, and ParamsError if the recipe is short
    and invalid.
    """
    from flows.recipe import complete

    if not recipe.is_file():
        recipes = ", ".join(sorted(str(path) for path in Path("recipes").glob("*.yaml"))) or "none"
        raise CloneError(f"the recipe {recipe} does not exist; recipes here: {recipes}")
    yaml = YAML()
    yaml.width = 10_000
    given = read(recipe)
    short = is_short(given, root / GRAPH)
    if not short and not changes:
        return recipe.read_text(encoding="utf-8")
    known = complete(given, root, str(recipe)).params if short else given
    params = yaml.load(recipe)
    for change in changes:
        _assign(params, change, known, recipe)
    with io.StringIO() as text:
        yaml.dump(params, text)
        changed = text.getvalue()
    if not short:
        return changed
    return complete(YAML(typ="safe", pure=True).load(changed), root, str(recipe)).text(str(recipe))


def _assign(params: Any, change: str, known: Mapping[str, Any], recipe: Path) -> None:
    """Sets the key of an assignment, which must exist in `known`, in `params`."""
    key, equals, value = change.partition("=")
    *parents, last = key.split(".")
    mapping: Any = params
    for parent in parents:
        known = known[parent] if isinstance(known, Mapping) and parent in known else {}
        if not isinstance(known, Mapping):
            break
        mapping = mapping.setdefault(parent, copy.deepcopy(known))
    if not equals or not isinstance(known, Mapping) or last not in known:
        raise CloneError(
            f"{change} changes nothing, because {recipe} has no key {key}; "
            "write path.of.key=value with an existing key"
        )
    mapping[last] = YAML(typ="safe").load(value)


def commit_working_tree(root: Path) -> str:
    """Commits the working tree and returns the hash. Branch, index and files are not changed."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "GIT_INDEX_FILE": str(Path(folder) / "index")}
        _run("git", "read-tree", "HEAD", cwd=root, env=env)
        _run("git", "add", "--all", cwd=root, env=env)
        tree = _run("git", "write-tree", cwd=root, env=env)
    # This commit is never published, so it works without the user's name and e-mail address.
    identity = ["-c", "user.name=concord", "-c", "user.email=concord@localhost"]
    message = ["-p", "HEAD", "-m", "Working tree of a run"]
    return _run("git", *identity, "commit-tree", tree, *message, cwd=root)


def _share_cache(root: Path, folder: Path) -> None:
    """Connects the clone to this project's DVC cache and remote; checks out the tracked sources."""
    _run(*dvc("config", "--local", "cache.dir", _run(*dvc("cache", "dir"), cwd=root)), cwd=folder)
    _run(*dvc("remote", "modify", "--local", "local", "url", str(root / ".store")), cwd=folder)
    if sources := _run("git", "ls-files", "*.dvc", cwd=folder).splitlines():
        _run(*dvc("checkout", "--quiet", *sources), cwd=folder)


def _move_results(source: Path, target: Path) -> None:
    for name in KEPT:
        if (source / name).exists():
            shutil.move(source / name, target / name)


def _remove_results(folder: Path) -> None:
    """Removes dvc.lock and the reports, which belong to the recipe of the original project."""
    (folder / "dvc.lock").unlink(missing_ok=True)
    shutil.rmtree(folder / REPORTS, ignore_errors=True)


def _run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CloneError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout.strip()


def main() -> int:
    """Creates or updates a clone; returns the exit status."""
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
