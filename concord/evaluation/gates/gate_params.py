"""The parameters of the gates: a margin and an error rate each."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.stage.params import FORBID

Margin = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, lt=0.5)]


@dataclass(frozen=True, config=FORBID)
class MeansGate:
    """A paired test per objective: not worse than the champion by more than the margin."""

    margin: Margin = 0.05
    """How far the mean of an objective may be below the champion's, in the units of the
    objective."""
    margins: dict[str, Margin] = field(default_factory=dict)
    """Objective -> its margin, where it differs from `margin`."""
    error_rate: Rate = 0.05
    """Probability of accepting a candidate that is worse by its margin in some objective."""
    required: bool = True
    """Whether a failure refuses the candidate; otherwise the verdict only mentions it."""

    def margin_of(self, objective: str) -> float:
        """The margin of an objective."""
        return self.margins.get(objective, self.margin)


@dataclass(frozen=True, config=FORBID)
class HypervolumeGate:
    """A paired bootstrap per domain, over the points at which both models were measured."""

    margin: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """How far the hypervolume may be below the champion's, as a share of the champion's."""
    error_rate: Rate = 0.05
    """Probability of accepting a candidate whose hypervolume is lower by the margin in some
    domain."""
    resamples: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap resamples of the prompts."""
    required: bool = True
    """Whether a failure refuses the candidate; otherwise the verdict only mentions it."""


@dataclass(frozen=True, config=FORBID)
class ConstraintsGate:
    """`select.at_least` and `select.max_kl`, on the candidate's answers to held-out prompts."""

    margin: Margin = 0.2
    """How far a mean proxy may be below its bound in `select.at_least`, in the units of the
    bound."""
    kl_margin: Margin = 0.1
    """How far the KL may be above `select.max_kl`, as a share of it."""
    error_rate: Rate = 0.05
    """Probability of accepting a candidate that breaks some constraint by its margin."""
    required: bool = True
    """Whether a failure refuses the candidate; otherwise the verdict only mentions it."""


@dataclass(frozen=True, config=FORBID)
class HackingGate:
    """Signs of reward hacking in the candidate, beside the SFT model. See
    docs/explanation/reward-hacking.md."""

    margin: Margin = 0.0
    """A fall of the quality counts as overoptimisation from this size, in standard deviations of
    the SFT model's answers."""
    error_rate: Rate = 0.05
    """Probability of any false sign, over all tests."""
    required: bool = True
    """Whether a sign refuses the candidate; otherwise the verdict only mentions it."""


@dataclass(frozen=True, config=FORBID)
class ChecksGate:
    """The section `checks`, for the candidate and for the reward heads in the reward vector. The
    mark of a check is its margin. See docs/how-to/add-a-check.md."""

    required: bool = False
    """Whether a check that fails refuses the candidate; otherwise the verdict only mentions it."""


@dataclass(frozen=True, config=FORBID)
class DataGate:
    """The prepared data against the champion's: one test per figure, with Holm's correction. A
    figure fails if it has certainly changed by more than its margin."""

    labels: Margin = 0.1
    """Margin of the mean labels of an objective, from 0 to 1: its ratings, its step labels, and how
    often the longer answer, or the answer with a frequent word, is preferred."""
    new_labels: Margin = 0.25
    """Margin of the same figures of the labels that the champion's data do not have, against those
    of the champion's data. A small delivery varies more than all data. Flipping all labels of a
    figure that is 0.75 changes it by 0.5."""
    coverage: Margin = 0.2
    """Margin of the share of an objective among the pairs of its domain."""
    agreement: Margin = 0.15
    """Margin of the agreement of two annotators, from 0 to 1."""
    quarantine: Margin = 0.05
    """Margin of the share of quarantined rows."""
    length: Margin = 0.25
    """Margin of the mean log-length of answers: 0.25 is about a quarter."""
    duplicates: Margin = 0.05
    """Margin of the share of copies and near duplicates."""
    error_rate: Rate = 0.05
    """Probability of any failure, over all figures, if no figure has changed by more than its
    margin."""
    required: bool = True
    """Whether a failure refuses the candidate; otherwise the verdict only mentions it."""
