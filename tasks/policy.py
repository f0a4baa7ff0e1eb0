"""Train one policy by its method.

models/sft, data/rollouts/train.parquet, data/prepared/pairs/train.parquet, models/anchors.json, models/rewards
(what of them depends on the method) -> models/policies/<name>, reports/curves/policy_<name>.csv

    python -m tasks.policy mah_dpo
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from tasks.policies.job import Job
from tasks.stage.errors import ParamsError, command
from tasks.stage.params import Runtime, Seeds, load, objectives, section

METHODS = {
    "reference": "tasks.policies.reference",
    "mah_dpo": "tasks.policies.mah_dpo",
    "dpo": "tasks.policies.dpo",
    "grpo": "tasks.policies.grpo",
}
"""Method -> module with `Params` and `run`; only the module of the method that is asked for is imported."""


def method_of(entry: Any, where: str) -> ModuleType:
    """The module of the method that `entry`, a section of `policies`, names."""
    name = entry.get("method") if isinstance(entry, Mapping) else None
    if name not in METHODS:
        raise ParamsError(f"{where}.method is {name!r}, which is no method; use one of {', '.join(METHODS)}")
    return importlib.import_module(METHODS[name])


def main(name: str) -> None:
    """Runs the stage for the policy `name`."""
    entry, where = load(dict, "policies", name), f"policies.{name}"
    method, known = method_of(entry, where), objectives({"objectives": load(dict, "objectives")})
    settings, seeds, max_length = load(Runtime, "runtime"), load(Seeds, "seeds"), load(int, "model", "max_length")
    method.run(Job(name, section(method.Params, entry, where), known, settings, seeds, max_length))


if __name__ == "__main__":
    command(main)
