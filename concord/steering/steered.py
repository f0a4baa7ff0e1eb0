"""A policy at chosen objective weights: samples, KL to the reference, and likelihoods.

A steerable policy is merged at the weights. Any other policy behaves the same at all weights.
"""

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from concord.lm import sample as generate
from concord.lm.chat import Messages, encode
from concord.lm.divergence import Compared, compare
from concord.lm.interpolate import interpolated
from concord.lm.token_logprobs import chunk_size
from concord.lm.types import CausalLM, Tokenizer
from concord.policies.composed import ComposedModel
from concord.policies.model import MultiHeadCausalLM, from_causal
from concord.policies.steerable import Steerable
from concord.stage import progress
from concord.stage.finished_parts import part

ONLY_HEAD = "policy"
"""Name of the single head of a policy without action heads."""
POSITIONS_AT_ONCE = 256
"""Most positions whose logits over the vocabulary are in memory at the same time. They are fewer
if the logits of one model would exceed `concord.lm.token_logprobs.LOGITS`."""

PROMPTS_AT_ONCE = 16
"""Prompts whose responses `Steered.likelihood` scores at once."""


@dataclass(frozen=True)
class Sampling:
    """Settings of sampling and scoring."""

    max_new_tokens: int
    """Longest response, in tokens."""
    temperature: float
    batch_size: int
    max_length: int
    """Longest scored sequence in tokens, prompt and response together."""
    seed: int


class Answers(NamedTuple):
    """Sampled responses."""

    texts: list[str]
    kl: np.ndarray
    """`(responses,)`: exact KL from the reference per position, summed over the sampled tokens, in
    nats. Its mean estimates the KL of the responses if they were sampled at temperature 1."""
    lengths: np.ndarray
    """`(responses,)`: sampled tokens, with the end of sequence if it was sampled."""
    reference_logprobs: np.ndarray
    """`(responses,)`: log-probability of the sampled tokens under the reference, in nats."""


class Steered:
    """A policy that can be sampled and scored at any weights, with its reference model."""

    def __init__(
        self, policy: CausalLM, reference: CausalLM, tokenizer: Tokenizer, sampling: Sampling
    ) -> None:
        self.policy = policy
        self.reference = reference
        self.tokenizer = tokenizer
        self.sampling = sampling
        self._merged: tuple[dict[str, float], CausalLM] | None = None

    @cached_property
    def _with_heads(self) -> tuple[MultiHeadCausalLM, MultiHeadCausalLM]:
        """Policy and reference as multi-head models."""
        return _as_multi_head(self.policy), _as_multi_head(self.reference)

    @property
    def heads(self) -> list[str] | None:
        """The objectives whose weights can be set; None for a policy that is not steerable."""
        return self.policy.head_names if isinstance(self.policy, Steerable) else None

    def at(self, weights: Mapping[str, float], scale: float = 1.0) -> CausalLM:
        """The policy at `weights`. Objectives that are not named get weight 0.

        `scale` scales the difference of all parameters from the reference; see
        `concord.lm.interpolate`. For a composed model it is the strength.
        """
        model = self.policy
        if isinstance(model, Steerable):
            vector = {name: weights.get(name, 0.0) for name in model.head_names}
            if self._merged is None or self._merged[0] != vector:
                self._merged = (vector, model.merge(vector))
            if scale != 1 and isinstance(self._merged[1], ComposedModel):
                return model.merge(vector, scale)  # type: ignore[no-any-return]
            model = self._merged[1]
        return model if scale == 1 else interpolated(self.reference, model, scale)

    def sample(self, messages: Sequence[Messages], weights: Mapping[str, float]) -> list[str]:
        """One response per prompt. The seed is the same for all policies and weights."""
        settings = self.sampling
        return generate.sample(
            self.at(weights),
            self.tokenizer,
            list(messages),
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            seed=settings.seed,
            batch_size=settings.batch_size,
            label=None,
        )

    def answers(
        self, messages: Sequence[Messages], weights: Mapping[str, float], scale: float = 1.0
    ) -> Answers:
        """The responses of `sample`, with their KL from the reference and their lengths."""
        request = [messages, dict(weights), scale]
        return Answers(*part("answers", request, lambda: self._answers(messages, weights, scale)))

    def _answers(
        self, messages: Sequence[Messages], weights: Mapping[str, float], scale: float
    ) -> list[Any]:
        """The fields of `Answers`."""
        settings, policy = self.sampling, self.at(weights, scale)
        prompts = generate.prompt_ids(
            policy, self.tokenizer, list(messages), settings.max_new_tokens
        )

        def measure(
            rows: list[int], responses: list[list[int]], logits: Tensor | None
        ) -> list[np.ndarray]:
            of_rows = None
            if logits is not None:
                pairs = zip(logits, responses, strict=True)
                of_rows = [each[: len(response)] for each, response in pairs]
            compared = compare(
                policy,
                self.reference,
                [prompts[row] for row in rows],
                responses,
                self.tokenizer.pad_token_id,
                of_rows,
            )
            return [compared.kl, compared.reference_logprobs]

        ids: list[list[int]] = [[] for _ in prompts]
        measured = np.zeros((2, len(prompts)))
        for batch in generate.sample_batches(
            policy,
            self.tokenizer,
            prompts,
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            seed=settings.seed,
            batch_size=settings.batch_size,
            label=None,
            observe=measure,
        ):
            measured[:, batch.rows] = batch.observed
            for row, response in zip(batch.rows, batch.responses, strict=True):
                ids[row] = response
        kl, reference_logprobs = measured
        return [
            [self.tokenizer.decode(row, skip_special_tokens=True) for row in ids],
            kl,
            np.array([len(row) for row in ids], dtype=np.float64),
            reference_logprobs,
        ]

    @torch.no_grad()
    def likelihood(
        self,
        messages: Sequence[Messages],
        responses: Sequence[str],
        points: Sequence[Mapping[str, float]],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log-probability and KL divergence of given responses at several weights.

        If the weights only mix output matrices, the backbones do not depend on them. Each backbone
        is then run once per response, and each head once per position. Otherwise, every point is a
        run. The responses to `PROMPTS_AT_ONCE` prompts are a finished part of the stage.

        Args:
            messages: one prompt per response.
            responses: the responses.
            points: weights by head name; heads that are not named get weight 0.

        Returns:
            The summed log-probability `(points, responses)`, the KL divergence from the reference
            summed over positions `(points, responses)`, both float64 in nats, and the number of
            tokens `(responses,)`.
        """
        if self.heads is not None and not self._mixes_only_matrices:
            return self._likelihood_of_each(messages, responses, points)
        rows_by_prompt: dict[str, list[int]] = {}
        for row, prompt in enumerate(map(str, messages)):
            rows_by_prompt.setdefault(prompt, []).append(row)
        members = list(rows_by_prompt.values())
        starts = range(0, len(members), PROMPTS_AT_ONCE)
        summed, kl = np.zeros((2, len(points), len(responses)))
        lengths = np.zeros(len(responses))
        for start in progress.track(starts, len(starts), "likelihoods"):
            rows = list(itertools.chain(*members[start : start + PROMPTS_AT_ONCE]))
            request = [messages[row] for row in rows], [responses[row] for row in rows], points
            values = part("likelihood", request, partial(self._likelihood, *request))
            summed[:, rows], kl[:, rows], lengths[rows] = values
        return summed, kl, lengths

    def _likelihood(
        self,
        messages: Sequence[Messages],
        responses: Sequence[str],
        points: Sequence[Mapping[str, float]],
    ) -> list[np.ndarray]:
        """`likelihood` of all responses at once."""
        if isinstance(self.policy, ComposedModel):
            return self._likelihood_of_composed(messages, responses, len(points))
        policy, reference = self._with_heads
        rows = self._rows(messages, responses)
        policy_states = torch.cat(self._backbone_states(policy, rows))
        reference_states = torch.cat(self._backbone_states(reference, rows))
        tokens = torch.tensor(
            [token for ids, prompt in rows for token in ids[prompt:]], device=policy_states.device
        )
        weights_by_head = [
            {name: weights.get(name, 0.0) for name in self.heads or []} or {ONLY_HEAD: 1.0}
            for weights in points
        ]
        vectors = torch.stack([policy.weight_vector(weights) for weights in weights_by_head])
        logprobs, kl = _compare(policy, reference, policy_states, reference_states, tokens, vectors)
        lengths = np.array([len(ids) - prompt for ids, prompt in rows])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        summed, summed_kl = (np.add.reduceat(values, starts, axis=1) for values in (logprobs, kl))
        return [summed, summed_kl, lengths.astype(np.float64)]

    @property
    def _mixes_only_matrices(self) -> bool:
        """Whether the policy has the same hidden states at all weights."""
        policy = self.policy
        return isinstance(policy, MultiHeadCausalLM) and policy.config.adapter_rank is None

    def _likelihood_of_each(
        self,
        messages: Sequence[Messages],
        responses: Sequence[str],
        points: Sequence[Mapping[str, float]],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`likelihood`, by one merged model per point."""

        def at_point(weights: Mapping[str, float]) -> list[np.ndarray]:
            merged = Steered(self.at(weights), self.reference, self.tokenizer, self.sampling)
            return list(merged.likelihood(messages, responses, [{}]))

        merged = [
            part("likelihood", [messages, responses, weights], partial(at_point, weights))
            for weights in points
        ]
        logprobs, kl, lengths = zip(*merged, strict=True)
        return np.concatenate(logprobs), np.concatenate(kl), lengths[0]

    def _likelihood_of_composed(
        self, messages: Sequence[Messages], responses: Sequence[str], points: int
    ) -> list[np.ndarray]:
        """`likelihood` of a model without a backbone of its own; the same at all points."""
        compared, lengths = self.compared(messages, responses, {})
        logprobs, kl = (np.tile(values, (points, 1)) for values in (compared.logprobs, compared.kl))
        return [logprobs, kl, lengths]

    def compared(
        self,
        messages: Sequence[Messages],
        responses: Sequence[str],
        weights: Mapping[str, float],
    ) -> tuple[Compared, np.ndarray]:
        """Given responses under the policy at `weights` and under the reference, and the numbers of
        their tokens `(responses,)`.
        """
        request = messages, responses, dict(weights)
        *compared, lengths = part("compared", request, partial(self._compared, *request))
        return Compared(*compared), lengths

    def _compared(
        self,
        messages: Sequence[Messages],
        responses: Sequence[str],
        weights: Mapping[str, float],
    ) -> list[np.ndarray]:
        """The fields of `Compared`, and the numbers of tokens."""
        rows = self._rows(messages, responses)
        answers = [ids[prompt:] for ids, prompt in rows]
        compared = compare(
            self.at(weights),
            self.reference,
            [ids[:prompt] for ids, prompt in rows],
            answers,
            self.tokenizer.pad_token_id,
        )
        return [*compared, np.array([len(ids) for ids in answers], dtype=np.float64)]

    def _rows(
        self, messages: Sequence[Messages], responses: Sequence[str]
    ) -> list[tuple[list[int], int]]:
        """For each response, the token ids of the sequence and the number of prompt tokens.

        If the longest response to a prompt leaves no room for the whole prompt, the prompt is
        truncated by the same amount for all of its responses.
        """
        pairs = zip(messages, responses, strict=True)
        encoded = [encode(self.tokenizer, *pair, self.sampling.max_length) for pair in pairs]
        kept: dict[str, int] = {}
        for prompt, (_, tokens) in zip(map(str, messages), encoded, strict=True):
            kept[prompt] = min(tokens, kept.get(prompt, tokens))
        return [
            (ids[tokens - kept[prompt] :], kept[prompt])
            for prompt, (ids, tokens) in zip(map(str, messages), encoded, strict=True)
        ]

    def _backbone_states(
        self, model: MultiHeadCausalLM, rows: list[tuple[list[int], int]]
    ) -> list[Tensor]:
        """The hidden states that predict the tokens of each response, in the order of `rows`.

        Each distinct prompt is run once for all of its responses. This saves most of the work if
        prompts are long.
        """
        rows_by_prompt: dict[tuple[int, ...], list[int]] = {}
        for row, (ids, prompt) in enumerate(rows):
            rows_by_prompt.setdefault(tuple(ids[:prompt]), []).append(row)
        states: dict[int, Tensor] = {}
        for prompt_ids, members in rows_by_prompt.items():
            answers = [rows[row][0][len(prompt_ids) :] for row in members]
            answer_states = _answer_states(
                model, list(prompt_ids), answers, self.sampling.batch_size
            )
            states.update(zip(members, answer_states, strict=True))
        return [states[row] for row in range(len(rows))]


def _answer_states(
    model: MultiHeadCausalLM, prompt: list[int], answers: list[list[int]], batch_size: int
) -> list[Tensor]:
    """The hidden states that predict the tokens of each answer, `(tokens, hidden)` per answer."""
    device = model.device
    prefix = model.backbone(input_ids=torch.tensor([prompt], device=device), use_cache=True)
    first = prefix.last_hidden_state[0, -1:]
    states = []
    for start in range(0, len(answers), batch_size):
        # The state after the last token predicts nothing.
        block = [answer[:-1] for answer in answers[start : start + batch_size]]
        width = max(map(len, block))
        if width == 0:
            states += [first] * len(block)
            continue
        cache = copy.deepcopy(prefix.past_key_values)
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


def _as_multi_head(model: Any) -> MultiHeadCausalLM:
    return model if isinstance(model, MultiHeadCausalLM) else from_causal(model, [ONLY_HEAD])


def _compare(
    policy: MultiHeadCausalLM,
    reference: MultiHeadCausalLM,
    policy_states: Tensor,  # (positions, hidden)
    reference_states: Tensor,  # (positions, hidden)
    tokens: Tensor,  # (positions,)
    vectors: Tensor,  # (points, heads)
) -> tuple[np.ndarray, np.ndarray]:
    """Log-probability of each token and KL(policy || reference) over the vocabulary, in nats.

    Both are float64 `(points, positions)`.
    """
    logprobs, kl = [], []
    vocabulary = policy.config.get_text_config().vocab_size
    size = min(POSITIONS_AT_ONCE, chunk_size(len(tokens), vocabulary) or len(tokens))
    blocks = (torch.split(part, size) for part in (policy_states, reference_states, tokens))
    for policy_block, reference_block, token in zip(*blocks, strict=True):
        reference_logprobs = torch.log_softmax(
            reference.project(reference_block, torch.ones(1, device=reference.device)).float(),
            dim=-1,
        )  # (positions, vocab)
        for logits in policy.project_at(policy_block, vectors):
            logprob = torch.log_softmax(logits.float(), dim=-1)
            logprobs.append(logprob.gather(1, token[:, None])[:, 0])
            kl.append((logprob.exp() * (logprob - reference_logprobs)).sum(dim=-1))
    return _by_point(logprobs, len(vectors)), _by_point(kl, len(vectors))


def _by_point(blocks: list[Tensor], points: int) -> np.ndarray:
    """`(points, positions)` from one tensor per block and point, in this order of nesting."""
    return np.stack(
        [torch.cat(blocks[point::points]).double().cpu().numpy() for point in range(points)]
    )
