"""Labels the steps of sampled answers for each objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concord.objectives import Objective
from concord.rewards.outcome.reward_model import load
from concord.rewards.process.judging import HeadJudge, Judge, load_judge
from concord.rewards.process.labelling import HUMAN, Context, Derivation, Labelling, label
from concord.rewards.process.step_labels import score_mean_and_std
from concord.stage.paths import REWARDS, WORK

if TYPE_CHECKING:
    from concord.rewards.outcome.reward_model import RewardModel

REPLIES = WORK / "judged"
"""Cache of the replies of endpoint judges; it is kept between runs."""


@dataclass(frozen=True)
class LabellerSettings:
    """Everything besides the samples that determines the labels."""

    objectives: Mapping[str, Objective]
    labellings: Mapping[str, Labelling]
    """Objective -> its entry in `process_labels.objectives`."""
    derived: Mapping[str, Derivation]
    """Objective -> its labeller."""
    judges: Mapping[str, Any]
    """The entries of `process_labels.judges`."""
    gamma: float
    """Discount per step between a prefix and the end of its completion."""
    device: Any
    dtype: str


class Labeller:
    """Labels the steps of samples.

    The scores of a reward head are standardised. Their mean and standard deviation are computed on
    the first samples that the head judges, and then reused.
    """

    def __init__(self, settings: LabellerSettings) -> None:
        self.settings = settings
        self.standards: dict[str, tuple[float, float]] = {}
        """Objective -> mean and standard deviation of its head's scores of whole responses."""
        self._models: dict[str, RewardModel] = {}
        self._judges: dict[str, Judge] = {}

    def rows(self, name: str, samples: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Rows of the steps table for the objective `name`. `samples` are grouped by domain."""
        objective, derived = self.settings.objectives[name], self.settings.derived[name]
        usable = samples.get(objective.domain, []) if derived.labeller != HUMAN else []
        if derived.needs.verifier:
            usable = [sample for sample in usable if sample["reference"] is not None]
        if not usable:
            return []
        labels = label(derived.labeller, usable, self._context(name, usable))
        constants = {"objective": name, "label_kind": derived.labeller, "source": "sft"}
        return [
            {**row, **constants, "labels": values}
            for row, values in zip(usable, labels, strict=True)
        ]

    def judge(self, name: str, samples: Sequence[dict[str, Any]]) -> Judge:
        """The judge of an objective. A new reward head is standardised on `samples`."""
        judge = self.settings.labellings[name].judge
        return self._head_judge(name, samples) if judge is None else self._rubric_judge(judge)

    def _context(self, name: str, samples: Sequence[dict[str, Any]]) -> Context:
        objective, derived = self.settings.objectives[name], self.settings.derived[name]
        if not derived.needs.judge:
            return Context(objective, self.settings.gamma)
        count = sum(len(sample["steps"]) for sample in samples)
        texts = "completions of the prefixes" if derived.needs.completions else "prefixes"
        judge = self.settings.labellings[name].judge
        judged_by = f"the judge {judge}" if judge else f"the reward model {objective.reward}"
        print(f"{name}: {texts} of {count} steps are judged by {judged_by}")
        return Context(objective, self.settings.gamma, self.judge(name, samples))

    def _rubric_judge(self, judge: str) -> Judge:
        if judge not in self._judges:
            self._judges[judge] = load_judge(
                self.settings.judges[judge],
                f"process_labels.judges.{judge}",
                self.settings.device,
                self.settings.dtype,
                Path(REPLIES),
            )
        return self._judges[judge]

    def _head_judge(self, name: str, samples: Sequence[dict[str, Any]]) -> Judge:

        group = str(self.settings.objectives[name].reward)
        if group not in self._models:
            self._models[group] = load(REWARDS / group, self.settings.device, self.settings.dtype)
        if name not in self.standards:
            self.standards[name] = score_mean_and_std(samples, self._models[group], name)
        return HeadJudge(self._models[group], name, self.standards[name])
