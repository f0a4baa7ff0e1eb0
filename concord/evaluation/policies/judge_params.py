"""The settings of the judge of sampled answers, see `concord.evaluation.policies.answer_judge`."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.rewards.process import judging
from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID)
class JudgeParams:
    """The section `evaluate.judge`."""

    embeddings: bool = False
    """Whether the judge reads sentence embeddings beside TF-IDF. `python -m concord.lm.fetch minilm
    models/minilm` downloads their model."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Folds of the held-out groups; with fewer groups, each of them is a fold."""
    pass_at: Annotated[int, Field(ge=2)] | None = None
    """k: for objectives with a verifier, also samples k answers per prompt at equal weights, and
    reports pass@1 and pass@k; null: not measured."""
    judges: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Objective -> the judge that scores it in place of the fitted one, `{kind: local | endpoint |
    function | head, ...}`. The kinds are the modules of concord/rewards/process/judges."""

    def __post_init__(self) -> None:
        for name, entry in self.judges.items():
            judging.judge_params(entry, f"judges.{name}")
