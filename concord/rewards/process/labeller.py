"""Labels the steps of sampled answers, objective by objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concord.objectives import Objective
from concord.rewards.process.judging import HeadJudge, Judge, load_judge
from concord.rewards.process.labelling import HUMAN, Context, Derivation, Labelling, label
from concord.rewards.process.step_labels import standard_of
from concord.stage.paths import REWARDS, WORK

if TYPE_CHECKING:
    from concord.rewards.outcome.reward_model import RewardModel

REPLIES = WORK / "judged"
"""Replies of endpoints; kept from run to run."""


@dataclass(frozen=True)
class LabellerSettings:
    """What the labels depend on besides the samples."""

    objectives: Mapping[str, Objective]
    labellings: Mapping[str, Labelling]
    """Objective -> what params.yaml says about its steps."""
    derived: Mapping[str, Derivation]
    """Objective -> the labeller that follows."""
    judges: Mapping[str, Any]
    """The entries of `process_labels.judges`."""
    gamma: float
    """Discount per step between a prefix and the end of its completion."""
    device: Any
    dtype: str


class Labeller:
    """Labels steps; the standards of reward heads are fitted on the first samples that they judge, and then kept."""

    def __init__(self, settings: LabellerSettings) -> None:
        self.settings = settings
        self.standards: dict[str, tuple[float, float]] = {}
        """Objective -> mean and standard deviation of its head's scores of whole responses."""
        self._models: dict[str, RewardModel] = {}
        self._judges: dict[str, Judge] = {}

    def rows(self, name: str, samples: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Rows of the steps table for one objective; `samples` are by domain."""
        objective, derived = self.settings.objectives[name], self.settings.derived[name]
        usable = samples.get(objective.domain, []) if derived.maker != HUMAN else []
        if derived.needs.verifier:
            usable = [sample for sample in usable if sample["reference"] is not None]
        if not usable:
            return []
        labels = label(derived.maker, usable, self._context(name, usable))
        made = {"objective": name, "label_kind": derived.maker, "source": "sft"}
        return [
            {**row, **made, "labels": values} for row, values in zip(usable, labels, strict=True)
        ]

    def judge(self, name: str, samples: Sequence[dict[str, Any]]) -> Judge:
        """The objective's judge; a reward head without a standard gets that of these samples."""
        named = self.settings.labellings[name].judge
        return self._head(name, samples) if named is None else self._with_rubric(named)

    def _context(self, name: str, samples: Sequence[dict[str, Any]]) -> Context:
        objective, derived = self.settings.objectives[name], self.settings.derived[name]
        if not derived.needs.judge:
            return Context(objective, self.settings.gamma)
        count = sum(len(sample["steps"]) for sample in samples)
        judged = "completions of prefixes" if derived.needs.completions else "prefixes"
        named = self.settings.labellings[name].judge
        by = f"the judge {named}" if named else f"the reward model {objective.reward}"
        print(f"{name}: {judged} of {count} steps judged by {by}")
        return Context(objective, self.settings.gamma, self.judge(name, samples))

    def _with_rubric(self, named: str) -> Judge:
        if named not in self._judges:
            self._judges[named] = load_judge(
                self.settings.judges[named],
                f"process_labels.judges.{named}",
                self.settings.device,
                self.settings.dtype,
                Path(REPLIES),
            )
        return self._judges[named]

    def _head(self, name: str, samples: Sequence[dict[str, Any]]) -> Judge:
        from concord.rewards.outcome.reward_model import load

        group = str(self.settings.objectives[name].reward)
        if group not in self._models:
            self._models[group] = load(REWARDS / group, self.settings.device, self.settings.dtype)
        if name not in self.standards:
            self.standards[name] = standard_of(samples, self._models[group], name)
        return HeadJudge(self._models[group], name, self.standards[name])
