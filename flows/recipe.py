"""Completes a short recipe and its graph, checks it, and explains every value.

    python -m flows.recipe recipes/minimal.yaml              # is it valid?
    python -m flows.recipe recipes/minimal.yaml --explain    # every value, with its meaning

The explanation is YAML, so it can be pasted into a file. A recipe is short if it lacks a key that
dvc.yaml reads. For a short one, `flows.clone` writes the explanation as the params.yaml of the
clone, and a dvc.yaml without the stages that the recipe does not need.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concord import completion
from concord.stage import plugins
from concord.stage.errors import ConcordError, ParamsError
from concord.stage.explanation import Entry, explain, lines
from concord.stage.params import read, section
from concord.stage.stage_graph import OPTIONAL_STAGES
from tasks import check

ORDER = [
    *("seeds", "runtime", "model", "sources", "objectives", "checks", "ingest", "prepare", "sft"),
    *("reward_models", "process_labels", "process_reward", "anchors", "rollouts", "policies"),
    *("evaluate_rewards", "evaluate", "front", "select", "gate", "export"),
    *("retrain", "budget"),
]
"""The sections in the order of the explanation; others follow."""


@dataclass(frozen=True)
class Recipe:
    """A recipe with every value."""

    params: dict[str, Any]
    sections: tuple[Entry, ...]
    left_out: tuple[str, ...]
    """The optional sections that nothing needs."""

    def text(self, name: str) -> str:
        """The recipe as YAML; `name` is the file of the short one."""
        head = [f"# {name} with every value: what it is, whether it was given, and what it means."]
        if self.left_out:
            head.append(f"# Nothing needs these, so they do not run: {', '.join(self.left_out)}.")
        body = (line for entry in self.sections for line in lines(entry))
        return "\n".join([*head, *body]) + "\n"


def complete(given: Mapping[str, Any], root: Path = Path(), name: str = "params.yaml") -> Recipe:
    """The recipe `given` with all defaults. Raises ParamsError with all invalid values.

    Relative paths start at `root`; `name` is the file of the recipe, for messages.
    """
    params = completion.filled(given, root)
    constant: dict[str, Any] = {key: {} for key in check.SECTIONS if key not in OPTIONAL_STAGES}
    params = constant | params
    completion.fill_training(params["sft"], check.SECTIONS["sft"])
    if problems := list(dict.fromkeys(check.section_problems(params))):
        raise ParamsError("\n".join([f"{name} is invalid:", *problems]))
    params = completion.staged(params)
    if problems := list(dict.fromkeys(check.section_problems(params))):
        raise ParamsError("\n".join([f"{name} is invalid:", *problems]))
    entries = tuple(
        explain(key, _typed(key, params[key]), given.get(key, ...))
        for key in [*ORDER, *(key for key in params if key not in ORDER)]
        if key in params
    )
    left_out = tuple(key for key in OPTIONAL_STAGES if key not in params)
    return Recipe({entry.key: entry.value() for entry in entries}, entries, left_out)


def _typed(key: str, content: Any) -> Any:
    """A section as instances of its dataclasses."""
    if cls := (check.SECTIONS | check.OF_FLOWS).get(key):
        return section(cls, content, key)
    if key in check.MAPPINGS:
        cls = check.MAPPINGS[key]
        return {name: section(cls, one, f"{key}.{name}") for name, one in content.items()}
    if key == "policies":
        return {name: _policy(one, f"policies.{name}") for name, one in content.items()}
    return content


def _policy(entry: Mapping[str, Any], where: str) -> Any:
    method = plugins.load("concord.policies.methods", entry["method"], f"{where}.method")
    return section(method.METHOD.params, entry, where)


def main() -> int:
    """Checks or explains a recipe; returns the exit status."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--explain"]
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    path = Path(arguments[0])
    try:
        given = read(path)
        recipe = complete(given, name=str(path))
        if "--explain" in sys.argv:
            print(recipe.text(str(path)), end="", flush=True)
        check.run(recipe.params, Path(), str(path))
    except ConcordError as error:
        print(error, file=sys.stderr)
        return 1
    if "--explain" not in sys.argv:
        print(f"{path} is valid; `concord check {path} --explain` prints every value")
    return 0


if __name__ == "__main__":
    sys.exit(main())
