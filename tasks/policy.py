"""Trains one policy with its method.

models/sft, data/rollouts/train.parquet, data/prepared/pairs/train.parquet,
models/anchors.json, models/rewards (the method decides which of them it reads)
-> models/policies/<name>, reports/curves/policy_<name>.csv

python -m tasks.policy mah_dpo
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from concord.objectives import objectives_of
from concord.policies.job import PolicyJob
from concord.stage import plugins
from concord.stage.command import command
from concord.stage.params import Runtime, Seeds, load, section


def method_of(entry: Any, where: str) -> ModuleType:
    """The method module that `entry`, an entry of `policies`, names. Imports no other method.

    Raises ParamsError if the name is unknown.
    """
    name = entry.get("method") if isinstance(entry, Mapping) else None
    return plugins.load("concord.policies.methods", name, f"{where}.method")


def main(name: str) -> None:
    """Runs the stage for one policy."""
    entry, where = load(dict, "policies", name), f"policies.{name}"
    method = method_of(entry, where)
    job = PolicyJob(
        name,
        section(method.METHOD.params, entry, where),
        objectives_of({"objectives": load(dict, "objectives")}),
        load(Runtime, "runtime"),
        load(Seeds, "seeds"),
        load(int, "model", "max_length"),
    )
    method.run(job)


if __name__ == "__main__":
    command(main)
