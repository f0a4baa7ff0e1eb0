"""The single reward function that TRL calls: it returns advantages and logs what they consist of.

TRL calls several reward functions one by one and combines them with fixed weights, so weights that
move or differ between prompts need one function for all objectives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from concord.policies.moving_weights import WeightTracker
from concord.policies.rl.groups import EPSILON, normalise, without_conflicts
from concord.policies.rl.settings import LINEAR, OnlineParams
from concord.policies.step_rewards import last_tokens, step_advantages
from concord.stage import plugins

if TYPE_CHECKING:
    from torch import Tensor

    from concord.policies.process_vector import ProcessVector
    from concord.rewards.vector.anchors import Anchors
    from concord.rewards.vector.reward_vector import RewardVector

LOGGED = ("raw", "anchored", "weighted", "weight")
"""Prefixes of the metrics that are logged for each objective."""


class RewardFunction:
    """Computes advantages, and logs the rewards and weights of each objective.

    Args:
        params: the settings of the method.
        vector: scores the responses.
        anchors: normalise the scores.
        tracker: the weights of the step, for prompts without weights of their own.
    """

    def __init__(
        self,
        params: OnlineParams,
        vector: RewardVector,
        anchors: Anchors,
        tracker: WeightTracker,
    ) -> None:
        self.params, self.vector, self.anchors, self.tracker = params, vector, anchors, tracker
        self.aggregate = plugins.function("concord.policies.advantages", params.aggregation)
        self.scalarise = plugins.function("concord.rewards.vector.scalarisers", params.scalariser)
        self.parts = np.zeros((0, 0))
        """`(rows, objectives)`: the rewards of the last call, each normalised in its group; 0 if an
        objective does not apply."""
        self.shares = np.zeros((0, 0))
        """`(rows, objectives)`: the weights of the last call, without objectives that do not apply;
        they sum to 1."""
        self.kept = np.zeros(0)
        """`(rows,)`: factors of the advantages of the last call; 0 if a sample is left out."""
        self.__name__ = "advantage"

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        domain: Sequence[str],
        reference: Sequence[str | None],
        log_metric: Callable[[str, float], None],
        head_weights: Sequence[Sequence[float]] | None = None,
        **_: Any,
    ) -> list[float]:
        """One advantage per completion; prompts and completions are lists of messages.

        `head_weights` are the weights that were drawn for each prompt, `(rows, objectives)`.
        """
        responses = [completion[0]["content"] for completion in completions]
        raw = self.vector.score(prompts, responses, domain, reference)
        anchored = self.anchors.normalise(raw, self.vector.names)
        weights = self.row_weights(domain) if head_weights is None else np.array(head_weights)
        self._record(log_metric, raw, anchored, weights)
        generations = self.params.generations
        self.parts = np.nan_to_num(normalise(anchored, generations))
        self.shares = np.where(np.isnan(anchored), 0.0, weights)
        self.shares /= np.maximum(self.shares.sum(axis=1, keepdims=True), 1e-12)
        self.kept = np.ones(len(raw))
        if (threshold := self.params.conflict_threshold) is not None:
            self.kept = without_conflicts(self.parts, weights, generations, threshold)
        return [float(value) for value in self._advantages(anchored, weights)]

    def _advantages(self, anchored: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if self.params.scalariser != LINEAR:
            anchored = self._scalarised(anchored, weights)[:, None]
            weights = np.ones_like(anchored)
        return np.asarray(self.aggregate(anchored, weights, self.params.generations))

    def _scalarised(self, anchored: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """One value per row, `(rows,)`; rows with the same weights are combined together."""
        values = np.full(len(anchored), np.nan)
        for vector in np.unique(weights, axis=0):
            rows = (weights == vector).all(axis=1)
            values[rows] = self.scalarise(
                anchored[rows], vector, **self.params.scalariser_parameters
            )
        return values

    def finish(self, advantages: Tensor) -> Tensor:
        """The advantages `(rows,)` of the last call as the loss uses them.

        TRL subtracts the mean of each group from what a reward function returns. What changes this
        mean is therefore applied afterwards: the samples that are left out, and the normalisation
        over the batch.
        """
        kept = advantages.new_tensor(self.kept)
        advantages = advantages * kept
        used = advantages[kept > 0]
        if not self.params.normalize_over_batch or len(used) < 2:
            return advantages
        return (advantages - used.mean()) / (used.std() + EPSILON) * (kept > 0)

    def token_advantages(
        self, completion_ids: Sequence[Sequence[int]], tokenizer: Any
    ) -> np.ndarray:
        """The advantages of the last call for each token, `(rows, tokens)`.

        A process reward has an advantage per step (`step_advantages`), the other rewards one per
        sample. They are summed with the weights. `completion_ids` is `(rows, tokens)`, padded on
        the right.
        """
        vector, generations = cast("ProcessVector", self.vector), self.params.generations
        rows, tokens = len(completion_ids), len(completion_ids[0])
        steps = np.stack(
            [
                np.searchsorted(last_tokens(tokenizer, ids, texts)[:-1], np.arange(tokens))
                for ids, texts in zip(completion_ids, vector.steps, strict=True)
            ]
        )  # (rows, tokens): the step that each token belongs to
        total = np.zeros((rows, tokens))
        for column, name in enumerate(vector.names):
            shares = self.shares[:, column, None]
            if name not in vector.forms:
                total += shares * self.parts[:, column, None]
                continue
            for start in range(0, rows, generations):
                scores = vector.step_scores[name][start : start + generations]
                present = [each for each in scores if each is not None]
                advantages = step_advantages(present, vector.forms[name]) if present else []
                for row, values in enumerate(advantages, start):
                    total[row] += shares[row] * values[steps[row]]
        return total

    def row_weights(self, domains: Sequence[str]) -> np.ndarray:
        """Weights `(rows, objectives)` for the domain of each row."""
        names, current = self.vector.names, self.tracker.current
        return np.array([[current[domain].get(name, 0.0) for name in names] for domain in domains])

    def _record(
        self,
        log_metric: Callable[[str, float], None],
        raw: np.ndarray,
        anchored: np.ndarray,
        weights: np.ndarray,
    ) -> None:
        """Logs the parts of the advantages, and passes the rewards to the weights that move."""
        for column, name in enumerate(self.vector.names):
            present = ~np.isnan(raw[:, column])
            if not present.any():
                continue
            rewards = anchored[present, column]
            self.tracker.observe(name, float(rewards.sum(dtype=float)), len(rewards))
            parts = (raw, anchored, weights * anchored, weights)
            for prefix, values in zip(LOGGED, parts, strict=True):
                log_metric(f"{prefix}.{name}", float(values[present, column].mean()))
