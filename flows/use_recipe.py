"""Makes a recipe the project's own, so that DVC, and runs on a schedule, work on it.

    python -m flows.use_recipe recipes/minimal.yaml      # in the root of the project

DVC reads params.yaml itself: without a key that dvc.yaml reads, no command of DVC works. So
params.yaml gets every value of the recipe, and dvc.yaml keeps the stages that the recipe needs. The
record of the former recipe (dvc.lock and reports/) is removed; git has it, because what is not
committed is never replaced.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ruamel.yaml import YAML

from concord.release.repository import Repository
from concord.stage.errors import ConcordError
from concord.stage.paths import REPORTS
from concord.stage.stage_graph import GRAPH
from flows.clone import complete_text
from flows.recipe_graph import graph_for
from tasks import check

PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")


class UseError(ConcordError):
    """The recipe cannot become the project's own."""


def use(recipe: Path, root: Path) -> str:
    """Writes params.yaml and dvc.yaml in `root`, and removes the record; returns what was done.

    `root` is the working directory. Raises ConcordError, and then changes nothing.
    """
    text = complete_text(recipe, root)
    params = YAML(typ="safe", pure=True).load(text)
    graph = graph_for(root, params, str(recipe))
    check.run(params, root, str(recipe))
    is_own = recipe.resolve() == (root / PARAMS).resolve()
    before = [(root / path).read_text(encoding="utf-8") for path in (PARAMS, GRAPH)]
    if before == [text, graph]:
        return f"{PARAMS} and {GRAPH} are complete; nothing was changed"
    _require_committed(root, [GRAPH, LOCK, REPORTS, *([] if is_own else [PARAMS])])
    (root / LOCK).unlink(missing_ok=True)
    shutil.rmtree(root / REPORTS, ignore_errors=True)
    (root / GRAPH).write_text(graph, encoding="utf-8")
    (root / PARAMS).write_text(text, encoding="utf-8")
    return (
        f"{PARAMS} has every value of {recipe}, and {GRAPH} the stages that it needs; the record "
        "of the former recipe was removed. Commit them: git add --all && git commit"
    )


def _require_committed(root: Path, paths: list[Path]) -> None:
    changed = Repository(root).git("status", "--porcelain", "--", *map(str, paths))
    if changed:
        names = ", ".join(line.split(maxsplit=1)[1] for line in changed.splitlines()[:5])
        raise UseError(
            f"{names}: changes that are not committed would be replaced; commit them first, or "
            "undo them with `git checkout` or `git clean`"
        )


def main() -> int:
    """Makes a recipe the project's own; returns the exit status."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(use(Path(sys.argv[1]), Path.cwd()))
    except ConcordError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
