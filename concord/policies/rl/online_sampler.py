"""Samples for TRL's trainer that can be drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from trl.models.utils import unwrap_model_for_generation

from concord.lm.chat import render
from concord.lm.sample import sample_ids
from concord.policies.job import PolicyJob
from concord.policies.rl.settings import OnlineParams


class Sampler:
    """TRL's rollout function.

    The samples of a step depend only on the seed, the step and the model, so a resumed training
    draws the same samples as an uninterrupted one.
    """

    def __init__(self, job: PolicyJob, tokenizer: Any) -> None:
        self.params: OnlineParams = job.params
        self.seed, self.tokenizer = job.seeds.sampling, tokenizer

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """One sample per prompt; the prompts of a group are consecutive."""
        ids = [render(self.tokenizer, prompt) for prompt in prompts]
        accumulation = self.params.prompts_per_step // self.params.micro
        micro_step = trainer.state.global_step * accumulation + trainer._step % accumulation
        seed = (self.seed << 32) + micro_step
        with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model:
            completions = self._draw(model, ids, seed, trainer.mixes)
        return {"prompt_ids": ids, "completion_ids": completions, "logprobs": None}

    def _draw(
        self, model: Any, ids: list[list[int]], seed: int, mixes: Tensor | None
    ) -> list[list[int]]:
        """Token ids of the samples. Each mix of heads is merged and sampled as a stock model."""
        if mixes is None:
            return self._sample(model, ids, seed)
        vectors, of_row = np.unique(mixes.cpu().numpy(), axis=0, return_inverse=True)
        completions: list[list[int]] = [[] for _ in ids]
        for index, vector in enumerate(vectors.tolist()):
            stock = model.merge(dict(zip(model.head_names, vector, strict=True)))
            rows = np.flatnonzero(of_row.reshape(-1) == index)
            samples = self._sample(stock, [ids[row] for row in rows], seed)
            for row, sample in zip(rows, samples, strict=True):
                completions[row] = sample
        return completions

    def _sample(self, model: Any, ids: list[list[int]], seed: int) -> list[list[int]]:
        return sample_ids(
            model,
            self.tokenizer,
            ids,
            max_new_tokens=self.params.max_new_tokens,
            temperature=self.params.temperature,
            seed=seed,
            label=None,
        )
