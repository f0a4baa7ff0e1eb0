"""How the steps of an objective's answers are labelled follows from what it is (MAHALO, arXiv 2510.01167):

| verifiable | steps | rollouts | label of step t | maker |
|---|---|---|---|---|
| yes | clear | - | mean over completions of gamma^(steps to go) times their correctness | hindsight |
| no | clear | cheap | whether a judge holds most completions of the prefix for good | majority |
| no | clear | expensive | what a judge says of the prefix itself | prefix |
| - | none | - | a reward model of whole answers, applied to the prefix | reward |

Where people labelled steps, their labels are added; `human` asks for these alone. The judge is the reward head of the
objective, or one with a rubric (`tasks.rewards.judges`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic.dataclasses import dataclass

from tasks.stage.params import FORBID, Objective

Maker = Literal["hindsight", "majority", "prefix", "reward", "human"]
COMPLETED = ("hindsight", "majority")
"""Makers that complete every prefix."""
ASKING = ("majority", "prefix", "reward")
"""Makers that ask a judge."""


@dataclass(frozen=True, config=FORBID)
class Labelling:
    """What an objective is, as far as its steps go."""

    steps: Literal["clear", "none"] = "clear"
    """Whether its answers have steps that can be judged one by one."""
    rollouts: Literal["cheap", "expensive"] = "cheap"
    """What it costs to finish an answer from a prefix; of a dialogue it needs the other side."""
    judge: str | None = None
    """One of `process_labels.judges`; null for the objective's reward head."""
    labels: Maker | None = None
    """A maker to use whatever follows from the rest."""


class Derivation(NamedTuple):
    """Which maker labels an objective, and why."""

    maker: Maker
    why: str


def derive(objective: Objective, labelling: Labelling) -> Derivation:
    """The maker that follows from the objective. Raises ValueError where it cannot work."""
    found = _derived(objective, labelling)
    if found.maker == "hindsight" and objective.verifier is None:
        raise ValueError(
            "hindsight labels need a verifier to check completions with, and it has none; leave labels out"
        )
    if found.maker in ASKING and objective.reward is None and labelling.judge is None:
        raise ValueError(f"labels by {found.maker} need a judge; give it a reward model, name a judge, or take human")
    if labelling.judge is not None and found.maker not in ASKING:
        raise ValueError(f"labels by {found.maker} need no judge; leave judge out")
    return found


def _derived(objective: Objective, labelling: Labelling) -> Derivation:
    if labelling.labels is not None:
        return Derivation(labelling.labels, "asked for")
    if labelling.steps == "none":
        return Derivation("reward", "no clear steps")
    if objective.verifier is not None:
        return Derivation("hindsight", "clear steps, and answers can be checked")
    if labelling.rollouts == "cheap":
        return Derivation("majority", "clear steps, nothing to check answers by, cheap rollouts")
    return Derivation("prefix", "clear steps, nothing to check answers by, expensive rollouts")
