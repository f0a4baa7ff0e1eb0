"""The section `checks` of params.yaml: comparisons that must hold. Nothing is trained on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.stage import outputs
from concord.stage.params import FORBID, section
from concord.stage.paths import CHECKS


@dataclass(frozen=True, config=FORBID)
class Check:
    """Comparisons that must hold: a unit test of a reward. The section may be missing.

    Every head of the objective is measured, and every policy. The stage `check` writes the section
    to data/checks.json, on which `prepare`, `gate` and `report` depend.
    """

    source: str
    """The source of the comparisons, an entry of `sources`. No stage trains on a source that a
    check names, samples its prompts, or chooses anything by it."""
    objective: str
    """The objective that the comparisons are labelled with."""
    at_least: Annotated[float, Field(gt=0, lt=1)]
    """The share of comparisons that must come out right. The check holds if the whole 95 % interval
    of the share is at or above this mark, fails if the whole interval is below it, and is uncertain
    otherwise."""

    @property
    def prompts_needed(self) -> int:
        """The fewest prompts with which the check can hold, if every comparison comes out right.

        Examples:
            >>> Check("contrast", "harmless", 0.7).prompts_needed
            9
        """
        squared = NormalDist().inv_cdf(0.975) ** 2
        return math.ceil(self.at_least * squared / (1 - self.at_least))


def checks_of(params: Mapping[str, Any]) -> dict[str, Check]:
    """Name -> check, from the section `checks` of `params`; empty if it is missing."""
    entries = params.get("checks", {})
    return {str(name): section(Check, entry, f"checks.{name}") for name, entry in entries.items()}


def read_checks(root: Path = Path()) -> dict[str, Check]:
    """Name -> check, from what the stage `check` wrote below `root`, the folder of params.yaml."""
    return checks_of({"checks": outputs.read_json(root / CHECKS)})
