"""Which labeller labels the steps of an objective's answers follows from what it is (MAHALO, arXiv 2510.01167):

| verifiable | steps | rollouts | label of step t | labeller |
|---|---|---|---|---|
| yes | clear | - | mean over completions of gamma^(steps to go) times their correctness | hindsight |
| no | clear | cheap | whether a judge finds most completions of the prefix good | majority |
| no | clear | expensive | what a judge says of the prefix itself | prefix |
| - | none | - | a reward model of whole answers, applied to the prefix | reward |

Where people labelled steps, their labels are added; `human` takes these alone. The judge is the reward head of the
objective, or one with a rubric (`concord/rewards/process/judges`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Any, Literal, NamedTuple

from pydantic.dataclasses import dataclass

from concord.objectives import Objective
from concord.rewards.process.judging import Judge
from concord.rewards.process.step_labels import prefixes
from concord.stage import plugins
from concord.stage.params import FORBID

HUMAN = "human"
"""Labels by people alone; nothing is sampled."""


class Needs(NamedTuple):
    """What a labeller needs."""

    completions: bool = False
    """Whole answers that continue every prefix."""
    judge: bool = False
    """A judge of answers."""
    verifier: bool = False
    """A verifier, and samples with a reference."""


@plain_dataclass(frozen=True)
class Context:
    """What a labeller is given besides the samples."""

    objective: Objective
    gamma: float
    """Discount per step between a prefix and the end of its completion."""
    judge: Judge | None = None

    def asked(self) -> Judge:
        """The judge of a labeller that needs one."""
        assert self.judge is not None
        return self.judge


@dataclass(frozen=True, config=FORBID)
class Labelling:
    """What an objective is, as far as its steps go."""

    steps: Literal["clear", "none"] = "clear"
    """Whether its answers have steps that can be judged one by one."""
    rollouts: Literal["cheap", "expensive"] = "cheap"
    """What it costs to finish an answer from a prefix; a dialogue needs the other side for it."""
    judge: str | None = None
    """One of `process_labels.judges`; null for the objective's reward head."""
    labels: str | None = None
    """Overrides the derived labeller: a module of concord/rewards/process/labellers, or `human`."""

    def __post_init__(self) -> None:
        if self.labels not in (None, HUMAN):
            plugins.check_name("concord.rewards.process.labellers", self.labels, "labels")


class Derivation(NamedTuple):
    """Which labeller labels an objective, and why."""

    maker: str
    why: str

    @property
    def needs(self) -> Needs:
        """What the labeller needs; nothing for labels by people."""
        if self.maker == HUMAN:
            return Needs()
        needs: Needs = plugins.load("concord.rewards.process.labellers", self.maker).NEEDS
        return needs


def derive(objective: Objective, labelling: Labelling) -> Derivation:
    """The labeller that follows from the objective. Raises ValueError if it cannot work."""
    found = _derived(objective, labelling)
    if found.needs.verifier and objective.verifier is None:
        raise ValueError(
            f"{found.maker} labels need a verifier to check completions with, and it has none; leave labels out"
        )
    if found.needs.judge and objective.reward is None and labelling.judge is None:
        raise ValueError(
            f"labels by {found.maker} need a judge; give it a reward model, name a judge, or use human"
        )
    if labelling.judge is not None and not found.needs.judge:
        raise ValueError(f"labels by {found.maker} need no judge; leave judge out")
    return found


def label(maker: str, samples: Sequence[dict[str, Any]], context: Context) -> list[list[float]]:
    """Labels in [0, 1] for every step of every sample, by the labeller `maker`."""
    module = plugins.load("concord.rewards.process.labellers", maker)
    labels: list[list[float]] = module.label(samples, context)
    return labels


def prefix_verdicts(samples: Sequence[dict[str, Any]], judge: Judge) -> list[list[float]]:
    """What the judge says of the answer after each step."""
    texts = [prefixes(sample["steps"]) for sample in samples]
    messages = [sample["messages"] for sample, own in zip(samples, texts, strict=True) for _ in own]
    verdicts = iter(judge.verdicts(messages, [text for own in texts for text in own]).tolist())
    return [[next(verdicts) for _ in own] for own in texts]


def _derived(objective: Objective, labelling: Labelling) -> Derivation:
    if labelling.labels is not None:
        return Derivation(labelling.labels, "requested")
    if labelling.steps == "none":
        return Derivation("reward", "no clear steps")
    if objective.verifier is not None:
        return Derivation("hindsight", "clear steps, and answers can be checked")
    if labelling.rollouts == "cheap":
        return Derivation("majority", "clear steps, nothing to check answers by, cheap rollouts")
    return Derivation("prefix", "clear steps, nothing to check answers by, expensive rollouts")
