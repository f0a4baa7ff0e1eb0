"""Reads the stage graph: edges from `dvc dag --dot`, scheduling settings from `meta` in dvc.yaml.

    meta: {phase: rewards, gpu: true, retries: 1, timeout: 3600}     # DVC ignores `meta`

`python -m flows.graph` prints the diagram in the README.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
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
EXPLAINED = re.compile(r"^\w+Error: params\.yaml is invalid:.*", re.MULTILINE | re.DOTALL)
"""What `check` prints about a wrong params.yaml."""
LOCK_ERROR = re.compile(r"dvc\.lock' (is invalid|validation failed)")
"""What DVC prints about a file that is not whole."""
EDGE = re.compile(r'"([^"]+)" -> "([^"]+)";')


class GraphError(ConcordError):
    """dvc.yaml is invalid, or its phases are in the wrong order."""


@dataclass(frozen=True, config=FORBID)
class Meta:
    """Scheduling settings of a stage."""

    phase: Phase
    """The flow that the stage belongs to."""
    gpu: bool = False
    """Whether the stage needs a GPU slot on a machine with GPUs."""
    retries: Annotated[int, Field(ge=0)] = 0
    """How often the stage is restarted after its process was killed."""
    timeout: Annotated[float, Field(gt=0)] = 86_400.0
    """Seconds after which the stage is terminated."""


@dataclass(frozen=True, config=FORBID)
class Stage:
    """One node of the graph."""

    name: str
    """DVC's name: `prepare`, `policy@mah_dpo`, or the path of a .dvc file."""
    meta: Meta
    upstream: tuple[str, ...]
    """Names of the stages that it depends on directly."""
    budget: float | None = None
    """Expected maximum run time in seconds, from `budget` in params.yaml."""
    remaining: float = 0.0
    """The budgets of this stage and of those that wait for it in its phase, along the longest
    path, in seconds."""


def dvc(*arguments: str) -> list[str]:
    """The command line that runs DVC with this Python and waits for DVC's lock."""
    return [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]


def environment() -> dict[str, str]:
    """The environment with this Python first on PATH, since a worker may find another `python`."""
    folder = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])}


def ask(*arguments: str) -> str:
    """The output of a DVC command. Raises GraphError with DVC's error message."""
    done = subprocess.run(
        dvc(*arguments), capture_output=True, text=True, check=False, env=environment()
    )
    if done.returncode:
        raise GraphError(
            f"`dvc {' '.join(arguments)}` failed in {Path.cwd()}:\n{done.stderr.strip()}"
        )
    return done.stdout


def read_graph() -> list[Stage]:
    """All stages of the project in the working directory, in topological order."""
    upstream = edges(_dag())
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
    return with_remaining(stages)


def _dag() -> str:
    """The output of `dvc dag --dot`. Raises GraphError.

    DVC fails with its own words if params.yaml lacks a value that dvc.yaml names. `check` says what
    is wrong with params.yaml.
    """
    try:
        return ask("dag", "--dot")
    except GraphError as error:
        if LOCK_ERROR.search(str(error)):
            raise GraphError(
                "dvc.lock is incomplete: DVC was interrupted while it wrote the file; run "
                "`python -m flows.repair`, which restores it, and run again"
            ) from None
        if "Could not find" not in str(error):
            raise
        command = [sys.executable, "-m", "tasks.check"]
        checked = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment()
        )
        if explained := EXPLAINED.search(checked.stderr):
            raise GraphError(explained[0].strip()) from None
        raise


def with_remaining(stages: Sequence[Stage]) -> list[Stage]:
    """The stages with `remaining`, in the same order, which must be topological."""
    result: list[Stage] = []
    for stage in reversed(stages):
        after = [s for s in result if stage.name in s.upstream and s.meta.phase == stage.meta.phase]
        seconds = (stage.budget or 0.0) + max((s.remaining for s in after), default=0.0)
        result.append(dataclasses.replace(stage, remaining=seconds))
    return result[::-1]


def of_phase(stages: Iterable[Stage], phase: Phase) -> list[Stage]:
    """The stages of one phase, in the given order."""
    return [stage for stage in stages if stage.meta.phase == phase]


def edges(dot: str) -> dict[str, tuple[str, ...]]:
    """Stage -> its upstream stages, parsed from the output of `dvc dag --dot`.

    Examples:
        >>> edges('strict digraph {\\n"prepare";\\n"sft";\\n"prepare" -> "sft";\\n}')
        {'prepare': (), 'sft': ('prepare',)}
    """
    upstream: dict[str, list[str]] = {}
    for line in dot.strip().splitlines()[1:-1]:
        if edge := EDGE.fullmatch(line.strip()):
            upstream.setdefault(edge[2], []).append(edge[1])
        elif node := NODE.fullmatch(line.strip()):
            upstream.setdefault(node[1], [])
        else:
            raise GraphError(
                f"`dvc dag --dot` printed {line!r}, which is neither a node nor an edge; "
                "install the DVC version in constraints.txt"
            )
    return {name: tuple(sorted(names)) for name, names in sorted(upstream.items())}


def changed(stages: Iterable[Stage], forced: Iterable[str] = ()) -> set[str]:
    """Names of the stages that DVC reports as changed, and of all stages downstream of them.

    `forced` are counted as changed.
    """
    names = {*json.loads(ask("status", "--json") or "{}"), *forced}
    for stage in stages:
        if names.intersection(stage.upstream):
            names.add(stage.name)
    return names


def _meta(name: str, metas: Mapping[str, Any]) -> Meta:
    if name.endswith(".dvc"):  # a tracked source, which DVC only verifies
        return Meta(phase="ingestion")
    base = name.partition("@")[0]
    try:
        return section(Meta, metas.get(base, {}), f"stages.{base}.meta")
    except ParamsError as error:
        raise GraphError(f"dvc.yaml: {error}") from None


def _budget(name: str, budgets: Mapping[str, float]) -> float | None:
    seconds = budgets.get(name, budgets.get(name.partition("@")[0]))
    return None if seconds is None else float(seconds)


def _check_phases(stages: Iterable[Stage]) -> None:
    phase = {stage.name: stage.meta.phase for stage in stages}
    for stage in stages:
        for name in stage.upstream:
            if PHASES.index(phase[name]) > PHASES.index(stage.meta.phase):
                raise GraphError(
                    f"dvc.yaml: {stage.name} (phase {stage.meta.phase}) depends on {name} "
                    f"(phase {phase[name]}), which runs later; the order of the phases is "
                    f"{', '.join(PHASES)}"
                )


def picture() -> str:
    """The graph as text: one line per stage, with its phase and its direct dependencies."""
    entries = read("dvc.yaml")["stages"]
    stages = read_graph()
    needs: dict[str, set[str]] = {name: set() for name in entries}
    for stage in stages:
        needs.setdefault(_base(stage.name), set()).update(map(_base, stage.upstream))
    phases = {_base(stage.name): stage.meta.phase for stage in stages}
    lines = []
    for phase in PHASES:
        in_phase = [name for name in entries if phases.get(name) == phase]
        for head, name in zip([phase, *[""] * len(in_phase)], in_phase, strict=False):
            items = str(entries[name].get("foreach", "")).strip("${}")
            label = f"{name}@<{items}>" if items else name
            direct = [other for other in entries if other in _direct(name, needs)]
            lines.append(f"{head:<17}{label:<31}{', '.join(direct)}".rstrip())
    return "\n".join(lines)


def _direct(name: str, needs: Mapping[str, set[str]]) -> set[str]:
    """The dependencies of `name` that are not also dependencies of another of its dependencies."""
    return needs[name].difference(*(_all(other, needs) for other in needs[name]))


def _all(name: str, needs: Mapping[str, set[str]]) -> set[str]:
    return needs[name].union(*(_all(other, needs) for other in needs[name]))


def _base(name: str) -> str:
    return name.partition("@")[0]


if __name__ == "__main__":
    print(picture())
