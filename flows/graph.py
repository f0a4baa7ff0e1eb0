"""The graph as DVC has it: stages and edges from `dvc dag --dot`, facts of orchestration from `meta:` in dvc.yaml.

    meta: {phase: rewards, gpu: true, retries: 1, timeout: 3600}     # DVC ignores it

`python -m flows.graph` prints the picture of it in the README.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.stage.errors import ConcordError, ParamsError
from concord.stage.params import FORBID, read, section

Phase = Literal["ingestion", "rewards", "process_rewards", "policies", "evaluation"]
PHASES: tuple[Phase, ...] = get_args(Phase)
NODE = re.compile(r'"([^"]+)";')
EDGE = re.compile(r'"([^"]+)" -> "([^"]+)";')


class GraphError(ConcordError):
    """dvc.yaml cannot be read, or its stages cannot be run phase by phase."""


@dataclass(frozen=True, config=FORBID)
class Meta:
    """What orchestration knows about a stage."""

    phase: Phase
    """The flow that the stage belongs to."""
    gpu: bool = False
    """Whether the stage waits for a GPU slot where there is a GPU."""
    retries: Annotated[int, Field(ge=0)] = 0
    """How often a stage whose process was killed is started again."""
    timeout: Annotated[float, Field(gt=0)] = 86_400.0
    """Seconds after which its processes are ended."""


@dataclass(frozen=True, config=FORBID)
class Stage:
    """One node of the graph."""

    name: str
    """DVC's name: `prepare`, `policy@mah_dpo`, or the path of a .dvc file."""
    meta: Meta
    upstream: tuple[str, ...]
    """Names of the stages whose outputs it reads."""
    budget: float | None = None
    """Seconds that the recipe allows it."""


def dvc(*arguments: str) -> list[str]:
    """The command line that runs DVC in this Python, waiting where another process holds its lock."""
    return [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]


def environment() -> dict[str, str]:
    """This process's environment with this Python's folder first on PATH: a worker may have another `python`."""
    folder = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])}


def ask(*arguments: str) -> str:
    """What a DVC command prints. Raises GraphError with DVC's own words where it fails."""
    done = subprocess.run(
        dvc(*arguments), capture_output=True, text=True, check=False, env=environment()
    )
    if done.returncode:
        raise GraphError(
            f"`dvc {' '.join(arguments)}` failed in {Path.cwd()}:\n{done.stderr.strip()}"
        )
    return done.stdout


def read_graph() -> list[Stage]:
    """Every stage of the project in the working directory, each after those it reads from."""
    upstream = edges(ask("dag", "--dot"))
    metas = {
        name: entry.get("do", entry).get("meta", {})
        for name, entry in read("dvc.yaml").get("stages", {}).items()
    }
    budgets = read().get("budget", {})
    order = TopologicalSorter(upstream).static_order()
    stages = [
        Stage(name, _meta(name, metas), upstream[name], _budget(name, budgets)) for name in order
    ]
    _check_phases(stages)
    return stages


def of_phase(stages: Iterable[Stage], phase: Phase) -> list[Stage]:
    """The stages of one phase, in the same order."""
    return [stage for stage in stages if stage.meta.phase == phase]


def edges(dot: str) -> dict[str, tuple[str, ...]]:
    """Stage -> its upstream stages, from Graphviz text with one node or edge a line, as DVC prints it."""
    upstream: dict[str, list[str]] = {}
    for line in dot.strip().splitlines()[1:-1]:
        if edge := EDGE.fullmatch(line.strip()):
            upstream.setdefault(edge[2], []).append(edge[1])
        elif node := NODE.fullmatch(line.strip()):
            upstream.setdefault(node[1], [])
        else:
            raise GraphError(
                f"`dvc dag --dot` printed {line!r}, neither a node nor an edge; use the pinned DVC"
            )
    return {name: tuple(sorted(names)) for name, names in sorted(upstream.items())}


def changed(stages: Iterable[Stage]) -> set[str]:
    """Names of the stages that DVC finds changed, and of everything downstream of them."""
    found = set(json.loads(ask("status", "--json") or "{}"))
    for stage in stages:
        if found.intersection(stage.upstream):
            found.add(stage.name)
    return found


def _meta(name: str, metas: Mapping[str, Any]) -> Meta:
    if name.endswith(".dvc"):  # a tracked source: DVC only verifies it
        return Meta(phase="ingestion")
    base = name.partition("@")[0]
    try:
        return section(Meta, metas.get(base, {}), f"stages.{base}.meta")
    except ParamsError as error:
        raise GraphError(f"dvc.yaml: {error}") from None


def _budget(name: str, budgets: Mapping[str, float]) -> float | None:
    found = budgets.get(name, budgets.get(name.partition("@")[0]))
    return None if found is None else float(found)


def _check_phases(stages: Iterable[Stage]) -> None:
    phase = {stage.name: stage.meta.phase for stage in stages}
    for stage in stages:
        for name in stage.upstream:
            if PHASES.index(phase[name]) > PHASES.index(stage.meta.phase):
                raise GraphError(
                    f"dvc.yaml: {stage.name} (phase {stage.meta.phase}) reads from {name} (phase {phase[name]}), "
                    f"which comes later; phases run in the order {', '.join(PHASES)}"
                )


def picture() -> str:
    """The graph as text: a line a stage, headed by its phase, with the stages that it needs at once."""
    entries = read("dvc.yaml")["stages"]
    stages = read_graph()
    needs: dict[str, set[str]] = {name: set() for name in entries}
    for stage in stages:
        needs.setdefault(_base(stage.name), set()).update(map(_base, stage.upstream))
    phases = {_base(stage.name): stage.meta.phase for stage in stages}
    lines = []
    for phase in PHASES:
        own = [name for name in entries if phases.get(name) == phase]
        for head, name in zip([phase, *[""] * len(own)], own, strict=False):
            items = str(entries[name].get("foreach", "")).strip("${}")
            direct = [other for other in entries if other in _direct(name, needs)]
            lines.append(
                f"{head:<17}{name + (f'@<{items}>' if items else ''):<31}{', '.join(direct)}".rstrip()
            )
    return "\n".join(lines)


def _direct(name: str, needs: Mapping[str, set[str]]) -> set[str]:
    """What `name` needs, without what comes through another of its needs anyway."""
    return needs[name].difference(*(_all(other, needs) for other in needs[name]))


def _all(name: str, needs: Mapping[str, set[str]]) -> set[str]:
    return needs[name].union(*(_all(other, needs) for other in needs[name]))


def _base(name: str) -> str:
    return name.partition("@")[0]


if __name__ == "__main__":
    print(picture())
