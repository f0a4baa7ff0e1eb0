"""Samples the answers of a step from the policy and scores them with the reward vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from concord.lm.sample import prompt_ids, sample_ids, stop_ids
from concord.lm.types import CausalLM, Tokenizer
from concord.objectives import domain_weights
from concord.policies.job import PolicyJob
from concord.policies.ppo.answer_batch import Answers
from concord.policies.process_vector import ProcessVector
from concord.policies.step_rewards import last_tokens, step_rewards
from concord.rewards.vector.anchors import Anchors
from concord.rewards.vector.reward_vector import RewardVector


class Collector:
    """step -> answers of the policy as it is then, with anchored rewards.

    The samples depend only on the seed, the step and the model, so a resumed training draws the
    same samples as an uninterrupted one.

    Args:
        prompts: the prompts of all steps in order, with the keys prompt, domain and reference.
    """

    def __init__(
        self,
        job: PolicyJob,
        policy: CausalLM,
        tokenizer: Tokenizer,
        vector: RewardVector,
        anchors: Anchors,
        prompts: Sequence[dict[str, Any]],
    ) -> None:
        self.job, self.policy, self.tokenizer = job, policy, tokenizer
        self.vector, self.anchors, self.prompts = vector, anchors, prompts
        self.weights = {
            domain: domain_weights(
                job.params.weights, job.objectives, domain, f"{job.where}.weights"
            )
            for domain in sorted({prompt["domain"] for prompt in prompts})
        }

    def __call__(self, step: int) -> Answers:
        """The answers of one step; the samples of a prompt are consecutive rows."""
        params = self.job.params
        first = step * params.prompts_per_step
        rows = [
            row
            for row in self.prompts[first : first + params.prompts_per_step]
            for _ in range(params.generations)
        ]
        messages = [row["prompt"] for row in rows]
        prompts = prompt_ids(self.policy, self.tokenizer, messages, params.max_new_tokens)
        responses = sample_ids(
            self.policy,
            self.tokenizer,
            prompts,
            max_new_tokens=params.max_new_tokens,
            seed=(self.job.seeds.sampling << 32) + step,
            label=None,
        )
        stops = set(stop_ids(self.policy, self.tokenizer).tolist())
        finished = [response[-1] in stops for response in responses]
        rewards, weights, metrics = self._score(rows, responses)
        return Answers(
            prompts, responses, finished, rewards, weights, metrics, self._step_rewards(responses)
        )

    def _step_rewards(
        self, responses: Sequence[Sequence[int]]
    ) -> dict[int, list[list[tuple[int, float]]]]:
        """The process rewards of the answers that were scored last, as in `Answers`."""
        vector = self.vector
        if not isinstance(vector, ProcessVector):
            return {}
        ends = [
            last_tokens(self.tokenizer, ids, steps)
            for ids, steps in zip(responses, vector.steps, strict=True)
        ]
        result = {}
        for name, form in vector.forms.items():
            anchor = self.anchors.anchors[name]
            result[vector.names.index(name)] = [
                []
                if scores is None
                else list(zip(tokens, step_rewards(scores, form, anchor).tolist(), strict=True))
                for tokens, scores in zip(ends, vector.step_scores[name], strict=True)
            ]
        return result

    def _score(
        self, rows: Sequence[dict[str, Any]], responses: Sequence[Sequence[int]]
    ) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Anchored rewards and weights `(rows, objectives)`, and the mean rewards by name."""
        names, domains = self.vector.names, [row["domain"] for row in rows]
        raw = self.vector.score(
            [row["prompt"] for row in rows],
            [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in responses],
            domains,
            [row["reference"] for row in rows],
        )
        anchored = self.anchors.normalise(raw, names)
        weights = np.array(
            [[self.weights[domain].get(name, 0.0) for name in names] for domain in domains]
        )
        metrics = {}
        for kind, values in (
            ("raw", raw),
            ("anchored", anchored),
            ("weighted", weights * anchored),
        ):
            for column, name in enumerate(names):
                if not np.isnan(values[:, column]).all():
                    metrics[f"{kind}.{name}"] = float(np.nanmean(values[:, column]))
        return anchored, weights, metrics
