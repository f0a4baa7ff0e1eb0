"""Train one policy by its method.

models/sft, data/rollouts/train.parquet, data/prepared/pairs/train.parquet, models/anchors.json, models/rewards
(what of them depends on the method) -> models/policies/<name>, reports/curves/policy_<name>.csv

    python -m tasks.policy mah_dpo
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from concord.objectives import objectives_of
from concord.policies.job import PolicyJob
from concord.stage import plugins
from concord.stage.errors import command
from concord.stage.params import Runtime, Seeds, load, section


def method_of(entry: Any, where: str) -> ModuleType:
    """The module of the method that `entry`, a section of `policies`, names; no other one is imported."""
    name = entry.get("method") if isinstance(entry, Mapping) else None
    return plugins.load("concord.policies.methods", name, f"{where}.method")


def main(name: str) -> None:
    """Runs the stage for the policy `name`."""
    entry, where = load(dict, "policies", name), f"policies.{name}"
    method, known = method_of(entry, where), objectives_of({"objectives": load(dict, "objectives")})
    settings, seeds, max_length = (
        load(Runtime, "runtime"),
        load(Seeds, "seeds"),
        load(int, "model", "max_length"),
    )
    method.run(
        PolicyJob(
            name, section(method.METHOD.params, entry, where), known, settings, seeds, max_length
        )
    )


if __name__ == "__main__":
    command(main)
