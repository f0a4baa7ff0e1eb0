"""dvc.yaml for a given params.yaml: the keys that it reads, and the stages that run."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from concord.stage.params import read
from concord.stage.paths import PROCESS_REWARD
from concord.stage.user_files import code_of_function, functions_in

GRAPH = Path("dvc.yaml")
ABSENT = object()
"""The value of a key that a mapping lacks."""
TEMPLATE = re.compile(r"\$\{([\w.]+)\}")
OPTIONAL_STAGES = {
    "reward_models": "reward_model",
    "process_labels": "process_labels",
    "process_reward": "process_reward",
    "anchors": "anchors",
    "rollouts": "rollouts",
    "evaluate_rewards": "evaluate_rewards",
}
"""Optional section of params.yaml -> its stage. Without the section, the stage does not run."""


def is_short(params: Mapping[str, Any], graph: Path = GRAPH) -> bool:
    """Whether `params` lacks a key that the file `graph` reads."""
    return bool(absent_keys(params, graph))


def absent_keys(params: Mapping[str, Any], graph: Path) -> list[str]:
    """The keys of params.yaml that the file `graph` reads and `params` lacks."""
    text = graph.read_text(encoding="utf-8")
    stages = read(graph).get("stages", {}).values()
    listed = [str(key) for stage in stages for key in stage.get("do", stage).get("params", [])]
    keys = [key for key in listed if "${" not in key]
    keys += [key for key in TEMPLATE.findall(text) if not _is_local(key)]
    return [key for key in dict.fromkeys(keys) if value_at(params, key) is ABSENT]


def _is_local(key: str) -> bool:
    """Whether a key of a template belongs to `foreach`, and not to params.yaml."""
    return key.split(".")[0] in ("key", "item")


def value_at(params: Any, key: str) -> Any:
    """The value at a path of keys such as `model.max_length`, or `ABSENT`."""
    for part in key.split("."):
        names = {str(name): name for name in params} if isinstance(params, Mapping) else {}
        if part not in names:
            return ABSENT
        params = params[names[part]]
    return params


def declared(
    stage: str, graph: Mapping[str, Any], params: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """The keys of the parameters and the paths of the deps that dvc.yaml declares for a stage.

    Both are empty if `graph`, the content of dvc.yaml, has no such stage.

    Args:
        stage: DVC's name, such as `sft`, `policy@mah_dpo`, or `../dvc.yaml:sft` in a subfolder.
        graph: the content of dvc.yaml.
        params: the content of params.yaml, for the values of templates.
    """
    name, _, item = stage.rpartition(":")[2].partition("@")
    entry = graph.get("stages", {}).get(name, {})
    body, values = entry.get("do", entry), {"key": item, **params}
    if section := TEMPLATE.fullmatch(str(entry.get("foreach"))):
        values["item"] = value_at(params, f"{section[1]}.{item}")

    def filled(texts: list[str]) -> list[str]:
        return [TEMPLATE.sub(lambda key: str(value_at(values, key[1])), text) for text in texts]

    return filled(body.get("params", [])), filled(body.get("deps", []))


def graph_of(graph: str, params: Mapping[str, Any], root: Path = Path()) -> str:
    """The text of the dvc.yaml that runs `params`, from that of all stages.

    Stages whose section `params` lacks are removed. What only they write is no dependency of other
    stages, and their sections are no parameters. Policies depend on the process reward model if one
    of them uses it. `check` depends on the files of the user's functions, which are below `root`.
    """
    yaml = YAML()
    yaml.width = 10_000
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    content = yaml.load(graph)
    stages = content["stages"]
    absent = {
        key: name for key, name in OPTIONAL_STAGES.items() if key not in params and name in stages
    }
    removed = [stages.pop(name) for name in absent.values()]
    lost = {path for entry in removed for path in _outputs(entry)}
    kept = {path for entry in stages.values() for path in _outputs(entry)}
    for entry in stages.values():
        body = entry.get("do", entry)
        _keep(body.get("deps", []), lambda dep: not _meets(dep, lost) or _meets(dep, kept))
        _keep(body.get("params", []), lambda key: str(key).split(".")[0] not in absent)
    waits = _add_process_reward(stages, params)
    tracks = _track_functions(stages, params, root)
    if not removed and not waits and not tracks:
        return graph
    with io.StringIO() as text:
        yaml.dump(content, text)
        return text.getvalue()


def write_graph(folder: Path, params: Mapping[str, Any]) -> bool:
    """Makes the dvc.yaml in `folder` that of `params`; returns whether it was another one."""
    file = folder / GRAPH
    before = file.read_text(encoding="utf-8")
    graph = graph_of(before, params, folder)
    if graph != before:
        file.write_text(graph, encoding="utf-8")
    return graph != before


def lacks_process_reward(graph: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """The policies with process rewards that do not wait for the process reward model.

    `graph` is the content of dvc.yaml.
    """
    policy = graph.get("stages", {}).get("policy", {})
    if str(PROCESS_REWARD) in map(str, policy.get("do", policy).get("deps", [PROCESS_REWARD])):
        return []
    policies = params.get("policies", {}).items()
    return [name for name, entry in policies if entry.get("process_rewards")]


def _add_process_reward(stages: dict[str, Any], params: Mapping[str, Any]) -> bool:
    """Lets policies wait for the process reward model, if one needs it; returns whether it did."""
    if not lacks_process_reward({"stages": stages}, params):
        return False
    stages["policy"]["do"]["deps"].append(str(PROCESS_REWARD))
    return True


def _track_functions(stages: dict[str, Any], params: Mapping[str, Any], root: Path) -> bool:
    """Makes `check` depend on the user's functions, and on no deleted file; whether it changed."""
    deps = stages.get("check", {}).get("deps")
    if deps is None:
        return False
    before = list(deps)
    _keep(deps, lambda dep: not str(dep).endswith(".py") or (root / dep).is_file())
    for name in functions_in(params).values():
        for path in code_of_function(name, root):
            if not any(Path(path).is_relative_to(dep) for dep in deps):
                deps.append(path)
    return list(deps) != before


def _keep(items: list[Any], wanted: Callable[[Any], bool]) -> None:
    """Removes all other items in place, so that the style of the list is kept."""
    for number in reversed(range(len(items))):
        if not wanted(items[number]):
            del items[number]


def _outputs(entry: Mapping[str, Any]) -> Iterator[str]:
    """The paths that a stage writes, up to the name of an item."""
    body = entry.get("do", entry)
    for kind in ("outs", "metrics", "plots"):
        for output in body.get(kind, []):
            yield _fixed(output if isinstance(output, str) else next(iter(output)))


def _fixed(path: str) -> str:
    """The folders of a path before its first template.

    Examples:
        >>> _fixed("reports/curves/reward_${key}.csv"), _fixed("models/sft")
        ('reports/curves', 'models/sft')
    """
    fixed, template, _ = path.partition("${")
    return fixed.rpartition("/")[0] if template else fixed


def _meets(dep: str, outputs: set[str]) -> bool:
    """Whether one of the outputs is the dependency, below it, or above it."""
    path = _fixed(dep)
    return any(
        path == one or path.startswith(f"{one}/") or one.startswith(f"{path}/") for one in outputs
    )
