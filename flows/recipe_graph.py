"""The dvc.yaml of a recipe: the stages that it needs, and none that is missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from concord.release.repository import ReleaseError, Repository
from concord.stage.stage_graph import GRAPH, OPTIONAL_STAGES, graph_of
from flows.graph import GraphError


def graph_for(folder: Path, params: Mapping[str, Any], recipe: str) -> str:
    """The text of the dvc.yaml that runs the complete `params`, from the one in `folder`.

    `recipe` is the file of `params`, for messages. Raises GraphError if dvc.yaml lacks a stage that
    a section of `params` needs: `concord use` removed it for another recipe.
    """
    text = (folder / GRAPH).read_text(encoding="utf-8")
    needed = {stage for key, stage in OPTIONAL_STAGES.items() if key in params}
    if absent := sorted(needed & _absent(text)):
        raise GraphError(
            f"{GRAPH} has no stage {', '.join(absent)}, which {recipe} needs: `concord use` "
            f"removed it for another recipe. {_how_to_restore(folder)}"
        )
    return graph_of(text, params, folder)


def _absent(graph: str) -> set[str]:
    """The optional stages that a graph lacks; none if it is not the graph of policies."""
    try:
        stages = YAML(typ="safe", pure=True).load(graph)["stages"]
    except (YAMLError, KeyError, TypeError):
        return set()
    return set(OPTIONAL_STAGES.values()) - set(stages) if "policy" in stages else set()


def _how_to_restore(folder: Path) -> str:
    """Names the newest commit whose dvc.yaml has all stages."""
    repository = Repository(folder)
    try:
        for commit in repository.git("log", "--format=%h", "--", str(GRAPH)).split():
            if not _absent(repository.git("show", f"{commit}:./{GRAPH}")):
                return f"Take it back with all stages: git checkout {commit} -- {GRAPH}"
    except ReleaseError:
        pass
    return "Take it back from the project that this one was cloned from."
