"""Names of a run in the UI: its title, its tags, and the keys of its artifacts."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from prefect import get_client
from prefect.runtime import flow_run

from flows.request import DEFAULT

current: ContextVar[str] = ContextVar("current")
"""The label of the run that this thread works for."""


def label(recipe: str, weights: Mapping[str, float], folder: Path) -> str:
    """The recipe and the given weights, to tell runs apart.

    Args:
        recipe: the params file.
        weights: the weights that were given, without those of the recipe.
        folder: where the flow was started. In a clone, params.yaml is the recipe of the clone.

    Examples:
        >>> label("recipes/tiny.yaml", {"helpful": 0.6, "honest": 1.0}, Path("/project"))
        'tiny helpful=0.6 honest=1'
        >>> label("params.yaml", {}, Path("/project/runs/minimal"))
        'minimal'
    """
    name = Path(recipe).stem
    if recipe == DEFAULT and folder.parent.name == "runs":
        name = folder.name
    return " ".join([name, *(f"{objective}={value:g}" for objective, value in weights.items())])


@contextmanager
def set_label(text: str) -> Iterator[None]:
    """Sets the label of the run in the block."""
    token = current.set(text)
    try:
        yield
    finally:
        current.reset(token)


def run_name() -> str:
    """The name of a run of `align`, from its parameters."""
    given = flow_run.parameters
    return label(given.get("recipe", DEFAULT), given.get("weights") or {}, Path.cwd())


def phase_name() -> str:
    """The name of the run of a phase."""
    return f"{flow_run.flow_name} of {current.get()}"


def key(*parts: str) -> str:
    """The key of an artifact: lower-case letters, digits and dashes.

    Examples:
        >>> key("progress", "tiny helpful=0.6", "policy@mah_dpo")
        'progress-tiny-helpful-0-6-policy-mah-dpo'
    """
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def run_key(name: str) -> str:
    """`name` with the first digits of the run's id, so that no two runs share an artifact."""
    return key(name, str(flow_run.id or "")[:8])


def tag_run(tags: Iterable[str]) -> None:
    """Adds tags to this flow run."""
    if flow_run.id is None:
        return
    with get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, tags=sorted({*flow_run.tags, *filter(None, tags)}))
