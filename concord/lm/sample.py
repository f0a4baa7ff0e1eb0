"""Sampling from a policy, and log-probabilities of responses under it.

Tokens are sampled by inverting the cumulative distribution at uniform random numbers. These numbers
depend on the seed, the prompt and how often the prompt occurred earlier in the list, not on the
batch size or on the other prompts. Two policies sampled with the same seed therefore share their
random numbers (common random numbers), which reduces the variance of their difference.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from concord.lm.batches import pad_sequences
from concord.lm.chat import Messages, encode, render
from concord.lm.growing_cache import growing_cache
from concord.lm.token_logprobs import OutputLayer, chunk_size, token_logprobs, unwrapped
from concord.lm.types import CausalLM, Tokenizer
from concord.stage import progress
from concord.stage.errors import DataError
from concord.stage.finished_parts import part

COMPACT_BELOW = 0.75
"""Finished rows are removed from the batch once the share of unfinished rows falls below this.

Removing rows copies the cache, which costs about as much as one step.
"""
KEPT = 2**24
"""Largest number of logits of a batch that are kept for `Observer`; 64 MiB in float32."""
Observer = Callable[[list[int], list[list[int]], Tensor | None], Any]
"""(rows, responses, logits) -> what is measured on a batch of `sample_batches`.

The rows are the indices of the prompts in the batch, and the responses their token ids. `logits`
`(rows, steps, vocab)` are those that the tokens were sampled from, at temperature 1. They are
undefined after the end of a response, and None if they are more than `KEPT`.
"""


class Batch(NamedTuple):
    """The responses to some of the prompts."""

    rows: list[int]
    """Indices of the prompts."""
    responses: list[list[int]]
    """Token ids of their responses."""
    observed: Any
    """The result of the observer; None without."""


def sample(
    model: CausalLM,
    tokenizer: Tokenizer,
    messages_list: Sequence[Messages],
    *,
    max_new_tokens: int,
    **settings: Any,
) -> list[str]:
    """Samples one response per prompt, in order, without special tokens.

    `settings` are the other arguments of `sample_batches`.
    """
    prompts = prompt_ids(model, tokenizer, messages_list, max_new_tokens)
    ids = sample_ids(model, tokenizer, prompts, max_new_tokens=max_new_tokens, **settings)
    return [tokenizer.decode(row, skip_special_tokens=True) for row in ids]


def prompt_ids(
    model: CausalLM, tokenizer: Tokenizer, messages_list: Sequence[Messages], max_new_tokens: int
) -> list[list[int]]:
    """Token ids of the prompts, truncated on the left to leave room for the response."""
    prompts = [render(tokenizer, messages) for messages in messages_list]
    return _truncate(prompts, _max_prompt_length(model, max_new_tokens))


def sample_ids(
    model: CausalLM, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]], **settings: Any
) -> list[list[int]]:
    """Token ids of one response per prompt, in order.

    `settings` are the other arguments of `sample_batches`.
    """
    responses: list[list[int]] = [[] for _ in prompts]
    for batch in sample_batches(model, tokenizer, prompts, **settings):
        for row, response in zip(batch.rows, batch.responses, strict=True):
            responses[row] = response
    return responses


def sample_batches(
    model: CausalLM,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 128,
    label: str | None = "sampling",
    observe: Observer | None = None,
    **forward: Any,
) -> Iterator[Batch]:
    """Samples one response per prompt, a batch of prompts of similar length at a time.

    A response ends with the end-of-sequence token or after `max_new_tokens`. Temperature 0 always
    picks the most likely token. Prompts that leave no room for `max_new_tokens` are truncated on
    the left. `forward` is passed to every call of the model (for example `head_weights`). The
    global random generators are neither used nor changed.

    Each batch is a finished part of the stage (`concord.stage.finished_parts`), with the result of
    `observe`, which must be of a type that can be kept.
    """
    prompts = _truncate(prompts, _max_prompt_length(model, max_new_tokens))
    uniforms = _uniforms(prompts, max_new_tokens, seed)
    stops = stop_ids(model, tokenizer)

    @torch.inference_mode()
    def sampled(rows: list[int], batch: list[list[int]]) -> list[Any]:
        draws = torch.tensor(uniforms[rows], device=model.device)
        ids, mask = _pad_left(batch, tokenizer.pad_token_id, model.device)
        logits: list[Tensor] | None = None if observe is None else []
        responses = _generate(model, ids, mask, draws, temperature, stops, forward, logits)
        if observe is None:
            return [responses, None]
        return [responses, observe(rows, responses, logits[0] if logits else None)]

    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    was_training = model.training
    model.eval()
    for rows in progress.track(batches, len(batches), label) if label else batches:
        batch = [prompts[row] for row in rows]
        yield Batch(rows, *part("sampling", batch, partial(sampled, rows, batch)))
    model.train(was_training)


def logprobs(
    model: CausalLM,
    tokenizer: Tokenizer,
    messages_list: Sequence[Messages],
    responses: Sequence[str],
    *,
    max_length: int,
    batch_size: int = 32,
    per_token: bool = False,
    label: str | None = "log-probabilities",
    **forward: Any,
) -> np.ndarray:
    """log p(response + end of sequence | prompt) in nats, float32 `(n,)`.

    With `per_token`, each value is divided by the number of response tokens. Sums are computed in
    float32, whatever the model's dtype. `forward` is passed to every call of the model (for example
    `head_weights`).
    """
    encoded = [
        encode(tokenizer, messages, response, max_length)
        for messages, response in zip(messages_list, responses, strict=True)
    ]
    order = sorted(range(len(encoded)), key=lambda row: len(encoded[row][0]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    lengths = np.array([len(ids) - start for ids, start in encoded])
    result = np.zeros(len(encoded), dtype=np.float32)
    with torch.inference_mode():
        for rows in progress.track(batches, len(batches), label) if label else batches:
            ids, mask = _pad_left(
                [encoded[row][0] for row in rows], tokenizer.pad_token_id, model.device
            )
            answer = torch.tensor(lengths[rows], device=model.device)
            result[rows] = answer_logprobs(model, ids, mask, answer, **forward).cpu().numpy()
    return (result / lengths).astype(np.float32) if per_token else result


def answer_logprobs(
    model: CausalLM, ids: Tensor, mask: Tensor, answer: Tensor, **forward: Any
) -> Tensor:
    """Sums of log p over the response tokens of each row, float32 `(batch,)`; differentiable.

    Only the logits at the end of the rows are computed, in chunks if they are many
    (`concord.lm.token_logprobs`).

    Args:
        ids: token ids `(batch, seq)`, padded on the left.
        mask: attention mask `(batch, seq)`.
        answer: the number of response tokens at the end of each row, `(batch,)`.
        forward: passed to the model.
    """
    kept = int(answer.max())
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": _positions(mask)}
    vocabulary = unwrapped(model).config.get_text_config().vocab_size
    size = chunk_size(len(ids) * (kept + 1), vocabulary)
    if size is not None and not forward:
        return _answer_logprobs_in_chunks(model, inputs, answer, size)
    out = model(**inputs, use_cache=False, logits_to_keep=kept + 1, **forward)
    logits = out.logits[:, :-1].float()  # (batch, kept, vocab)
    values = -torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), ids[:, -kept:], reduction="none"
    )
    is_answer = torch.arange(kept, device=ids.device) >= kept - answer.unsqueeze(1)
    return values.masked_fill(~is_answer, 0.0).sum(-1)


def _answer_logprobs_in_chunks(
    model: CausalLM, inputs: dict[str, Tensor], answer: Tensor, size: int
) -> Tensor:
    """As `answer_logprobs`, from the states of the backbone, `size` tokens at a time."""
    ids = inputs["input_ids"]
    output = OutputLayer(model)
    hidden = output.states(**inputs)[:, :-1]  # (batch, seq - 1, hidden)
    length = hidden.shape[1]
    rows, columns = (
        torch.arange(length, device=ids.device) >= length - answer.unsqueeze(1)
    ).nonzero(as_tuple=True)  # (tokens,) each
    values = token_logprobs(output, ids[rows, columns + 1], size, hidden[rows, columns])
    return values.new_zeros(len(ids)).index_add(0, rows, values)


def _generate(
    model: CausalLM,
    ids: Tensor,  # (rows, seq)
    mask: Tensor,  # (rows, seq)
    uniforms: Tensor,  # (rows, max_new_tokens)
    temperature: float,
    stops: Tensor,
    forward: dict[str, Any],
    kept: list[Tensor] | None,
) -> list[list[int]]:
    """Token ids of each row, up to and including its end of sequence.

    Adds the logits `(rows, max_new_tokens, vocab)` to `kept` unless they are too many.
    """
    rows, steps = uniforms.shape
    generated = torch.zeros((rows, steps), dtype=torch.long, device=ids.device)
    active = torch.arange(rows, device=ids.device)  # indices of the rows still in the batch
    finished = torch.zeros(rows, dtype=torch.bool, device=ids.device)  # one flag per active row
    cache = growing_cache(model.config)
    forward = {**forward, "past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
    logits, positions = _prefill(model, ids, mask, forward), mask.sum(1, keepdim=True)
    padded = not bool(mask.all())
    if kept is not None and rows * steps * logits.shape[1] <= KEPT:
        kept.append(logits.new_empty(rows, steps, logits.shape[1]))
    for step in range(steps):
        if kept:
            kept[0][:, step].index_copy_(0, active, logits)
        ids = _sample_tokens(logits, uniforms[active, step], temperature).unsqueeze(1)
        generated[active, step] = ids[:, 0]
        finished = finished | torch.isin(ids[:, 0], stops)
        unfinished = (~finished).nonzero().squeeze(1)
        if not len(unfinished) or step == steps - 1:
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if len(unfinished) < COMPACT_BELOW * len(finished):
            cache.batch_select_indices(unfinished)
            ids, mask, positions = ids[unfinished], mask[unfinished], positions[unfinished]
            active, finished = active[unfinished], finished[unfinished]
        logits = model(
            input_ids=ids,
            attention_mask=mask if padded else None,
            position_ids=positions,
            **forward,
        ).logits[:, -1]
        positions = positions + 1
    ends = set(stops.tolist())
    return [_cut_after_stop(row, ends) for row in generated.tolist()]


def _prefill(model: CausalLM, ids: Tensor, mask: Tensor, forward: dict[str, Any]) -> Tensor:
    """Logits `(rows, vocab)` after the prompts; fills the cache of every row.

    A prompt that occurs several times is processed once.
    """
    distinct, inverse = torch.unique(torch.cat([ids, mask], dim=1), dim=0, return_inverse=True)
    ids, mask = distinct.chunk(2, dim=1)
    out = model(input_ids=ids, attention_mask=mask, position_ids=_positions(mask), **forward)
    forward["past_key_values"].batch_select_indices(inverse)
    logits: Tensor = out.logits[:, -1]
    return logits[inverse]


def _sample_tokens(logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
    """Tokens `(rows,)` sampled by inverting the cumulative distribution.

    Each token is the first whose cumulative probability reaches the number of the row in
    `uniforms` `(rows,)`, which lies in (0, 1].
    """
    if temperature == 0:
        return logits.argmax(-1)
    cumulative = (logits.double() / temperature).softmax(-1).cumsum(-1)
    return (cumulative < uniforms.unsqueeze(1) * cumulative[:, -1:]).sum(-1)


def _uniforms(prompts: Sequence[Sequence[int]], steps: int, seed: int) -> np.ndarray:
    """Uniform random numbers in (0, 1], `(rows, steps)`, one row per prompt."""
    seen: Counter[bytes] = Counter()
    table = np.empty((len(prompts), steps))
    for row, prompt in enumerate(prompts):
        content = np.asarray(prompt, dtype=np.int64).tobytes()
        occurrence = f"{seed} {seen[content]}".encode()
        seen[content] += 1
        digest = hashlib.blake2b(content, digest_size=16, key=occurrence).digest()
        key = np.frombuffer(digest, dtype=np.uint64)
        table[row] = 1.0 - np.random.Generator(np.random.Philox(key=key)).random(steps)
    return table


def stop_ids(model: CausalLM, tokenizer: Tokenizer) -> Tensor:
    """Token ids that end a response, ascending.

    These are the tokenizer's end of sequence and the ids in the model's generation config.
    """
    configured = getattr(model.generation_config, "eos_token_id", None)
    if configured is None:
        configured = []
    elif not isinstance(configured, list):
        configured = [configured]
    return torch.tensor(sorted({tokenizer.eos_token_id, *configured}), device=model.device)


def _cut_after_stop(ids: list[int], stops: set[int]) -> list[int]:
    """The ids up to and including the first stop id."""
    ends = [index for index, token in enumerate(ids) if token in stops]
    return ids[: ends[0] + 1] if ends else ids


def _positions(mask: Tensor) -> Tensor:
    """Position ids `(rows, seq)`: 0 at the first real token of each row."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def _max_prompt_length(model: CausalLM, max_new_tokens: int) -> int | None:
    """The longest prompt that leaves room for the response; None if the model has no limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and limit <= max_new_tokens:
        raise DataError(
            f"max_new_tokens {max_new_tokens} leaves no room for a prompt in the model's {limit} "
            "positions; lower it"
        )
    return None if limit is None else limit - max_new_tokens


def _truncate(prompts: Sequence[Sequence[int]], limit: int | None) -> list[list[int]]:
    """Truncates the prompts to `limit` tokens on the left."""
    return [list(prompt) if limit is None else list(prompt[-limit:]) for prompt in prompts]


def _pad_left(prompts: Sequence[Sequence[int]], fill: int, device: Any) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask `(batch, seq)`, padded on the left."""
    batch = pad_sequences(prompts, fill, side="left")
    return batch["input_ids"].to(device), batch["attention_mask"].to(device)
