"""Candidate answers for best-of-N: several sampled answers to each problem with a verifier.

All scorers pick from the same candidates. Each scorer's report compares it with the majority vote,
and a process reward model also with an outcome reward model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.rewards import picking
from concord.evaluation.rewards.judged_sets import HeldOut, Locked
from concord.evaluation.rewards.votes import finals
from concord.objectives import Objective


class Candidates:
    """The candidates of all objectives with a verifier, sampled on first use.

    Args:
        judge: the test set, which samples and grades the answers.
        objectives: all objectives.
        bootstrap: number of bootstrap resamples per interval.
        seed: seed of the bootstrap.
    """

    def __init__(
        self,
        judge: Locked | HeldOut,
        objectives: Mapping[str, Objective],
        bootstrap: int,
        seed: int,
    ) -> None:
        self.judge, self.objectives = judge, objectives
        self.bootstrap, self.seed = bootstrap, seed
        self._drawn: dict[str, pd.DataFrame] = {}
        self.outcome: dict[str, np.ndarray] = {}
        """Objective -> scores of the answers by the first outcome model with a head for it."""

    def of(self, name: str) -> pd.DataFrame:
        """The graded answers for an objective with a verifier; sampled once."""
        if name not in self._drawn:
            self._drawn[name] = self.judge.graded(name, self.objectives[name])
        return self._drawn[name]

    def best_of_n(
        self, name: str, scores: np.ndarray, outcome: np.ndarray | None = None
    ) -> dict[str, Any] | None:
        """Best-of-N accuracy by scores from 0 to 1, as in `concord.evaluation.rewards.picking`.

        `scores` and `outcome`, the scores of an outcome model, are `(answers,)`. None if no problem
        has several graded answers.
        """
        graded = self.of(name)
        if graded.empty:
            return None
        graded = finals(graded, str(self.objectives[name].verifier)).assign(score=scores)
        if outcome is not None:
            graded["outcome"] = outcome
        return picking.report_by_size(graded, self.bootstrap, self.seed)
