"""Derives the step labeller of an objective from its properties (MAHALO, arXiv 2510.01167).

| verifiable | steps | rollouts | label of step t | labeller |
|---|---|---|---|---|
| yes | clear | - | mean over completions of gamma^(remaining steps) * correctness | hindsight |
| no | clear | cheap | whether a judge accepts most completions of the prefix | majority |
| no | clear | expensive | a judge's verdict on the prefix | prefix |
| - | none | - | the verdict of a reward model of whole answers on the prefix | reward |

Human step labels of the sources are added to the derived ones. With `labels: human`, only human
labels are used. The judge is the objective's reward head or a judge with a rubric
(`concord/rewards/process/judges`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic.dataclasses import dataclass

from concord.objectives import Objective
from concord.rewards.process.judging import Judge
from concord.rewards.process.step_labels import prefixes
from concord.stage import plugins
from concord.stage.errors import ParamsError
from concord.stage.params import FORBID, suggest

HUMAN = "human"
"""Value of `labels` for human labels only: no answers are sampled."""


class Needs(NamedTuple):
    """What a labeller requires."""

    completions: bool = False
    """Completions of every prefix."""
    judge: bool = False
    """A judge of answers."""
    verifier: bool = False
    """A verifier, and samples with a reference answer."""


@plain_dataclass(frozen=True)
class Context:
    """The arguments of a labeller besides the samples."""

    objective: Objective
    gamma: float
    """Discount per step between a prefix and the end of its completion."""
    judge: Judge | None = None
    """Set if the labeller needs a judge."""

    def required_judge(self) -> Judge:
        """The judge, for labellers that need one."""
        assert self.judge is not None
        return self.judge


@dataclass(frozen=True, config=FORBID)
class Labelling:
    """An entry of `process_labels.objectives`: the properties of an objective's steps."""

    steps: Literal["clear", "none"] = "clear"
    """Whether answers have steps that can be judged one by one."""
    rollouts: Literal["cheap", "expensive"] = "cheap"
    """Cost of completing an answer from a prefix. Dialogues are expensive: they need a partner."""
    judge: str | None = None
    """Name of an entry of `process_labels.judges`; null: the objective's reward head."""
    labels: Annotated[str, plugins.named("concord.rewards.process.labellers", HUMAN)] | None = None
    """Overrides the derived labelling method: a module of concord/rewards/process/labellers, or
    `human`."""


class Derivation(NamedTuple):
    """The labeller of an objective and the reason for it."""

    labeller: str
    """A module of concord/rewards/process/labellers, or `human`."""
    why: str

    @property
    def needs(self) -> Needs:
        """What the labeller requires. Human labels require nothing."""
        if self.labeller == HUMAN:
            return Needs()
        needs: Needs = _module(self.labeller).NEEDS
        return needs


def derive(objective: Objective, labelling: Labelling) -> Derivation:
    """The labeller for the objective. Raises ValueError if its requirements are not met."""
    derivation = _derive(objective, labelling)
    if derivation.needs.verifier and objective.verifier is None:
        raise ValueError(
            f"{derivation.labeller} labels need a verifier, and the objective has none; "
            "remove `labels` to use the derived method"
        )
    if derivation.needs.judge and objective.reward is None and labelling.judge is None:
        raise ValueError(
            f"{derivation.labeller} labels need a judge, and the objective has none; "
            "give the objective a reward model, set `judge`, or use `labels: human`"
        )
    if labelling.judge is not None and not derivation.needs.judge:
        raise ValueError(f"{derivation.labeller} labels do not use a judge; remove `judge`")
    return derivation


def derive_all(
    objectives: Mapping[str, Objective],
    labellings: Mapping[str, Labelling],
    judges: Collection[str],
) -> dict[str, Derivation]:
    """Objective -> its labeller, for all of `labellings`.

    `judges` are the names in `process_labels.judges`. Raises ParamsError if a method cannot be
    used.
    """
    derivations = {}
    for name, labelling in labellings.items():
        where = f"process_labels.objectives.{name}"
        if name not in objectives:
            raise ParamsError(f"{where}: unknown objective; allowed: {', '.join(objectives)}")
        if labelling.judge is not None and labelling.judge not in judges:
            hint = suggest(labelling.judge, list(judges))
            raise ParamsError(
                f"{where}.judge: {labelling.judge!r} is not in process_labels.judges; {hint}"
            )
        try:
            derivations[name] = derive(objectives[name], labelling)
        except ValueError as error:
            raise ParamsError(f"{where}: {error}") from None
    return derivations


def sampled_domains(
    objectives: Mapping[str, Objective], derived: Mapping[str, Derivation]
) -> dict[str, bool]:
    """Domain -> whether a labeller needs completions, for the domains with automatic labels."""
    sampled = {name: entry.needs for name, entry in derived.items() if entry.labeller != HUMAN}
    completed: dict[str, bool] = {}
    for name, needs in sampled.items():
        domain = objectives[name].domain
        completed[domain] = completed.get(domain, False) or needs.completions
    return completed


def discounted(derived: Mapping[str, Derivation], gamma: float) -> set[str]:
    """The objectives whose labels depend on the number of steps to come.

    Such a score says two things at once, so it must not be multiplied or averaged over steps. The
    score after the last step is not discounted.
    """
    return {name for name, entry in derived.items() if entry.needs.verifier and gamma < 1}


def label(labeller: str, samples: Sequence[dict[str, Any]], context: Context) -> list[list[float]]:
    """Labels in [0, 1] for every step of every sample, by the labeller of that name."""
    labels: list[list[float]] = _module(labeller).label(samples, context)
    return labels


def prefix_verdicts(samples: Sequence[dict[str, Any]], judge: Judge) -> list[list[float]]:
    """The judge's verdict on the answer after each step, for every sample."""
    texts = [prefixes(sample["steps"]) for sample in samples]
    messages = [
        sample["messages"]
        for sample, sample_texts in zip(samples, texts, strict=True)
        for _ in sample_texts
    ]
    flat_texts = [text for sample_texts in texts for text in sample_texts]
    verdicts = iter(judge.verdicts(messages, flat_texts).tolist())
    return [[next(verdicts) for _ in sample_texts] for sample_texts in texts]


def _module(labeller: str) -> Any:
    return plugins.load("concord.rewards.process.labellers", labeller, "process_labels.objectives")


def _derive(objective: Objective, labelling: Labelling) -> Derivation:
    if labelling.labels is not None:
        return Derivation(labelling.labels, "requested")
    if labelling.steps == "none":
        return Derivation("reward", "no clear steps")
    if objective.verifier is not None:
        return Derivation("hindsight", "clear steps, and answers can be checked")
    if labelling.rollouts == "cheap":
        return Derivation("majority", "clear steps, nothing to check answers by, cheap rollouts")
    return Derivation("prefix", "clear steps, nothing to check answers by, expensive rollouts")
