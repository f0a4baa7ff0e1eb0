"""A policy at chosen weights: samples, log-probability ratios to the reference, likelihoods of given answers.

A multi-head policy is merged at the weights, which is exact; a policy with one head answers alike at all weights.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concord.lm import sample as generate
from concord.lm.chat import encode
from concord.policies.model import MultiHeadCausalLM, from_causal
from concord.stage import progress

ONLY_HEAD = "policy"
POSITIONS_AT_ONCE = 256
"""Positions whose logits over the whole vocabulary are held at once."""


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn and scored."""

    max_new_tokens: int
    temperature: float
    batch_size: int
    max_length: int
    seed: int


class Steered:
    """A policy and its reference, asked at any weights."""

    def __init__(self, policy: Any, reference: Any, tokenizer: Any, sampling: Sampling) -> None:
        self.policy, self.reference, self.tokenizer, self.sampling = (
            policy,
            reference,
            tokenizer,
            sampling,
        )
        self._merged: tuple[dict[str, float], Any] | None = None

    @cached_property
    def _pair(self) -> tuple[MultiHeadCausalLM, MultiHeadCausalLM]:
        own, reference = (_with_heads(model) for model in (self.policy, self.reference))
        return own, reference

    @property
    def heads(self) -> list[str] | None:
        """Objectives whose weights can be set, or None for a policy with one head."""
        return self.policy.head_names if isinstance(self.policy, MultiHeadCausalLM) else None

    def at(self, weights: Mapping[str, float]) -> Any:
        """A stock model: the policy at `weights`, where heads that are not named count 0."""
        if self.heads is None:
            return self.policy
        vector = {name: weights.get(name, 0.0) for name in self.heads}
        if self._merged is None or self._merged[0] != vector:
            self._merged = (vector, self.policy.merge(vector))
        return self._merged[1]

    def sample(self, messages: Sequence[Any], weights: Mapping[str, float]) -> list[str]:
        """One response per prompt, drawn with the same seed whatever the policy and the weights."""
        drawn = self.sampling
        return generate.sample(
            self.at(weights),
            self.tokenizer,
            list(messages),
            max_new_tokens=drawn.max_new_tokens,
            temperature=drawn.temperature,
            seed=drawn.seed,
            batch_size=drawn.batch_size,
            label=None,
        )

    def log_ratio(
        self, messages: Sequence[Any], responses: Sequence[str], weights: Mapping[str, float]
    ) -> np.ndarray:
        """log pi(response) - log reference(response), (n,).

        Over the policy's own samples its mean is the KL divergence from the reference, in nats per answer.
        """
        own, reference = (
            self._logprobs(model, messages, responses)
            for model in (self.at(weights), self.reference)
        )
        return np.asarray(own - reference, dtype=np.float64)

    def lengths(self, responses: Sequence[str]) -> list[float]:
        """Tokens of each response with its end, (n,)."""
        return [
            float(len(self.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1)
            for text in responses
        ]

    def _logprobs(
        self, model: Any, messages: Sequence[Any], responses: Sequence[str]
    ) -> np.ndarray:
        return generate.logprobs(
            model,
            self.tokenizer,
            list(messages),
            list(responses),
            max_length=self.sampling.max_length,
            batch_size=self.sampling.batch_size,
            label=None,
        )

    @torch.no_grad()
    def likelihood(
        self,
        messages: Sequence[Any],
        responses: Sequence[str],
        points: Sequence[Mapping[str, float]],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of given answers at each of several weights: summed log-probability and KL to the reference summed over
        positions, (points, n) each; tokens, (n,).

        Neither backbone depends on the weights, so each is run once, and every head once per position.
        """
        heads, reference = self._pair
        rows = self._rows(messages, responses)
        own, other = (torch.cat(self._backbone_states(model, rows)) for model in (heads, reference))
        tokens = torch.tensor(
            [token for ids, prompt in rows for token in ids[prompt:]], device=own.device
        )
        named = [
            {name: weights.get(name, 0.0) for name in self.heads or []} or {ONLY_HEAD: 1.0}
            for weights in points
        ]
        vectors = torch.stack([heads.weight_vector(weights) for weights in named])
        logprobs, kl = _compare(heads, reference, own, other, tokens, vectors)
        lengths = np.array([len(ids) - prompt for ids, prompt in rows])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        summed, summed_kl = (np.add.reduceat(values, starts, axis=1) for values in (logprobs, kl))
        return summed, summed_kl, lengths.astype(np.float64)

    def _rows(
        self, messages: Sequence[Any], responses: Sequence[str]
    ) -> list[tuple[list[int], int]]:
        """Ids of prompt and response, and how many of them are the prompt.

        A prompt that is too long beside its longest response is cut alike for all its responses.
        """
        pairs = zip(messages, responses, strict=True)
        whole = [encode(self.tokenizer, *pair, self.sampling.max_length) for pair in pairs]
        kept: dict[str, int] = {}
        for asked, (_, prompt) in zip(map(str, messages), whole, strict=True):
            kept[asked] = min(prompt, kept.get(asked, prompt))
        return [
            (ids[prompt - kept[asked] :], kept[asked])
            for asked, (ids, prompt) in zip(map(str, messages), whole, strict=True)
        ]

    def _backbone_states(
        self, model: MultiHeadCausalLM, rows: list[tuple[list[int], int]]
    ) -> list[Tensor]:
        """The state before each token of each response, in the order of `rows`.

        A prompt is run once for all its responses, which is most of the work where prompts are long.
        """
        places: dict[tuple[int, ...], list[int]] = {}
        for place, (ids, prompt) in enumerate(rows):
            places.setdefault(tuple(ids[:prompt]), []).append(place)
        states: dict[int, Tensor] = {}
        for prompt_ids, answered in progress.track(places.items(), len(places), "likelihoods"):
            answers = [rows[place][0][len(prompt_ids) :] for place in answered]
            found = _answer_states(model, list(prompt_ids), answers, self.sampling.batch_size)
            states.update(zip(answered, found, strict=True))
        return [states[place] for place in range(len(rows))]


def _answer_states(
    model: MultiHeadCausalLM, prompt: list[int], answers: list[list[int]], batch_size: int
) -> list[Tensor]:
    """The state before each token of each answer to one prompt: (tokens, d) each."""
    device = model.device
    read = model.backbone(input_ids=torch.tensor([prompt], device=device), use_cache=True)
    first = read.last_hidden_state[0, -1:]
    states = []
    for start in range(0, len(answers), batch_size):
        block = [
            answer[:-1] for answer in answers[start : start + batch_size]
        ]  # nothing follows the last token
        width = max(map(len, block))
        if width == 0:
            states += [first] * len(block)
            continue
        cache = copy.deepcopy(read.past_key_values)
        cache.batch_repeat_interleave(len(block))
        ids = torch.tensor(
            [answer + [0] * (width - len(answer)) for answer in block], device=device
        )
        mask = torch.tensor(
            [[1] * (len(prompt) + len(answer)) + [0] * (width - len(answer)) for answer in block]
        )
        out = model.backbone(
            input_ids=ids, attention_mask=mask.to(device), past_key_values=cache, use_cache=True
        )
        states += [
            torch.cat([first, out.last_hidden_state[row, : len(answer)]])
            for row, answer in enumerate(block)
        ]
    return states


def _with_heads(model: Any) -> MultiHeadCausalLM:
    return model if isinstance(model, MultiHeadCausalLM) else from_causal(model, [ONLY_HEAD])


def _compare(
    heads: MultiHeadCausalLM,
    reference: MultiHeadCausalLM,
    own: Tensor,
    other: Tensor,
    tokens: Tensor,
    vectors: Tensor,
) -> tuple[np.ndarray, np.ndarray]:
    """At each weight vector and position: log-probability of the token, and KL(policy || reference) over the
    vocabulary, float64 (points, N). `own` and `other` are the states of both models, (N, d)."""
    logprobs, kl = [], []
    for mine, theirs, token in zip(
        *(torch.split(part, POSITIONS_AT_ONCE) for part in (own, other, tokens)), strict=True
    ):
        reference_logprobs = torch.log_softmax(
            reference.project(theirs, None, None).float(), dim=-1
        )  # (n, V)
        for logits in heads.project_at(mine, vectors):
            logprob = torch.log_softmax(logits.float(), dim=-1)
            logprobs.append(logprob.gather(1, token[:, None])[:, 0])
            kl.append((logprob.exp() * (logprob - reference_logprobs)).sum(dim=-1))
    return _by_point(logprobs, len(vectors)), _by_point(kl, len(vectors))


def _by_point(blocks: list[Tensor], points: int) -> np.ndarray:
    """(points, N) of the values of every block at every point, points turning fastest."""
    return np.stack(
        [torch.cat(blocks[point::points]).double().cpu().numpy() for point in range(points)]
    )
