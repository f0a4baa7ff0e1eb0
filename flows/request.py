"""What one run of the flow does: a recipe, other weights, some stages. Checked before any work.

Prefect draws a form from the parameters of the flow, and refuses values of another type before it
creates a run.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from concord.stage.errors import ConcordError
from concord.stage.params import read, suggest
from concord.stage.stage_graph import GRAPH, is_short, write_graph
from flows.clone import clone
from flows.graph import Stage

DEFAULT = "params.yaml"

Weights = dict[str, Annotated[float, Field(ge=0)]]
NO_WEIGHTS: dict[str, float] = {}
ALL_STAGES: list[str] = []


class RequestError(ConcordError):
    """A parameter of the flow is invalid."""


@contextlib.contextmanager
def folder_of(recipe: str, weights: Mapping[str, float]) -> Iterator[Path]:
    """Changes to the folder of the run: the project, or a clone of it for another recipe.

    Raises RequestError for invalid weights, and ConcordError for an invalid recipe.
    """
    root, path = Path.cwd(), Path(recipe)
    changes = list(_changes(path, weights))
    is_other = path.resolve() != (root / DEFAULT).resolve()
    folder = root
    if is_other or changes or _is_short(root):
        folder = clone(path, root, changes)
    elif (root / GRAPH).is_file():
        write_graph(root, read(root / DEFAULT))
    with contextlib.chdir(folder):
        yield folder


def _is_short(root: Path) -> bool:
    """Whether the project's params.yaml has to be completed in a clone."""
    return (root / GRAPH).is_file() and is_short(read(root / DEFAULT), root / GRAPH)


def _changes(recipe: Path, weights: Mapping[str, float]) -> Iterator[str]:
    """The weights as assignments to keys of the recipe."""
    if not weights or not recipe.is_file():  # `clone` names the recipes that exist
        return
    weighed = _weights_of(read(recipe), recipe)
    for name, value in weights.items():
        if name not in weighed:
            raise RequestError(
                f"weights: {recipe} has no weight for {name!r}; {suggest(name, list(weighed))}"
            )
        if not math.isfinite(value) or value < 0:
            raise RequestError(
                f"weights: {name} is {value:g}, but a weight is finite and not negative; "
                "give 0 or more"
            )
        yield f"select.weights.{name}={value:g}"
    if not any((weighed | dict(weights)).values()):
        raise RequestError("weights: all are 0, so nothing could be chosen; give a positive weight")


def _weights_of(given: Mapping[str, Any], recipe: Path) -> dict[str, float]:
    """The recipe's own weights. Raises ParamsError if the recipe is short and invalid."""
    from flows.recipe import complete  # it imports the parameters of all stages

    params = complete(given, name=str(recipe)).params if is_short(given) else given
    return dict((params.get("select") or {}).get("weights") or {})


def chosen(stages: Sequence[Stage], names: Sequence[str]) -> tuple[list[Stage], set[str]]:
    """The stages to bring up to date, in the given order, and the names of those that were named.

    Without names, all stages were. Raises RequestError if a name is unknown.
    """
    if not names:
        return list(stages), {stage.name for stage in stages}
    known = {stage.name: stage for stage in stages}
    named = {name for one in names for name in _matches(one, known)}
    wanted, waiting = set[str](), list(named)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += known[name].upstream
    return [stage for stage in stages if stage.name in wanted], named


def _matches(name: str, known: Mapping[str, Stage]) -> set[str]:
    matches = {other for other in known if name in (other, other.partition("@")[0])}
    if not matches:
        groups = {other.partition("@")[0] for other in known}
        raise RequestError(
            f"stages: {name!r} is not in dvc.yaml; {suggest(name, sorted({*known, *groups}))}"
        )
    return matches
