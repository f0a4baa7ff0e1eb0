"""Sampling from a policy and scoring answers under it.

The draw of a row is the inverse of its cumulative distribution at a number that depends on the seed, the prompt, and
how often that prompt stood in the list before: not on the batch size, and not on the other prompts. Two policies asked
with the same seed so share their random numbers, which makes their difference less noisy.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from concord.lm.batches import pad_sequences
from concord.lm.chat import Messages, encode, render
from concord.stage import progress
from concord.stage.errors import DataError

COMPACT_BELOW = 0.75
"""Share of unfinished rows below which the finished ones leave the batch: moving the cache costs a step's time."""


def sample(
    model: Any,
    tokenizer: Any,
    messages_list: Sequence[Messages],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 128,
    label: str | None = "sampling",
    **forward: Any,
) -> list[str]:
    """One response per prompt, in order, without special tokens; a response ends at end-of-sequence.

    Temperature 0 takes the likeliest token. A prompt that leaves no room for `max_new_tokens` loses its beginning.
    `forward` goes to every call of the model (`head_weights`). The global random generators are neither read nor moved.
    """
    prompts = [render(tokenizer, messages) for messages in messages_list]
    ids = sample_ids(model, tokenizer, prompts, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed,
                     batch_size=batch_size, label=label, **forward)  # fmt: skip
    return [tokenizer.decode(row, skip_special_tokens=True) for row in ids]


def sample_ids(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 128,
    label: str | None = "sampling",
    **forward: Any,
) -> list[list[int]]:
    """Token ids of one response per prompt, in order, with the end-of-sequence token where it was reached."""
    prompts = _cut(prompts, _room(model, max_new_tokens))
    uniforms = _uniforms(prompts, max_new_tokens, seed)
    responses: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    stops, was_training = stop_ids(model, tokenizer), model.training
    model.eval()
    with torch.inference_mode():
        for rows in progress.track(batches, len(batches), label) if label else batches:
            draws = torch.tensor(uniforms[rows], device=model.device)
            padded = _left_padded(
                [prompts[row] for row in rows], tokenizer.pad_token_id, model.device
            )
            for row, ids in zip(
                rows, _decode(model, *padded, draws, temperature, stops, forward), strict=True
            ):
                responses[row] = ids
    model.train(was_training)
    return responses


def logprobs(
    model: Any,
    tokenizer: Any,
    messages_list: Sequence[Messages],
    responses: Sequence[str],
    *,
    max_length: int,
    batch_size: int = 32,
    per_token: bool = False,
    label: str | None = "log-probabilities",
    **forward: Any,
) -> np.ndarray:
    """log p(response and its end | prompt) of each row, float32 `[n]`; `per_token` divides by the number of tokens.

    Sums in float32 whatever the model's type. `forward` goes to every call of the model (`head_ids`, `head_weights`).
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
            ids, mask = _left_padded(
                [encoded[row][0] for row in rows], tokenizer.pad_token_id, model.device
            )
            own = torch.tensor(lengths[rows], device=model.device)
            result[rows] = answer_logprobs(model, ids, mask, own, **forward).cpu().numpy()
    return (result / lengths).astype(np.float32) if per_token else result


def answer_logprobs(
    model: Any, ids: Tensor, mask: Tensor, answer: Tensor, **forward: Any
) -> Tensor:
    """(batch,) float32 sums of log p over the last `answer` (batch,) tokens of each row of `ids`, padded on the left.

    Only the logits at the end of the rows are computed. Differentiable.
    """
    kept = int(answer.max())
    out = model(input_ids=ids, attention_mask=mask, position_ids=_positions(mask), use_cache=False,
                logits_to_keep=kept + 1, **forward)  # fmt: skip
    table = out.logits[:, :-1].float()  # (batch, kept, V)
    values = -torch.nn.functional.cross_entropy(
        table.transpose(1, 2), ids[:, -kept:], reduction="none"
    )
    asked = torch.arange(kept, device=ids.device) >= kept - answer.unsqueeze(1)
    return values.masked_fill(~asked, 0.0).sum(-1)


def _decode(
    model: Any,
    ids: Tensor,  # (rows, seq)
    mask: Tensor,  # (rows, seq)
    uniforms: Tensor,  # (rows, max_new_tokens)
    temperature: float,
    stops: Tensor,
    forward: dict[str, Any],
) -> list[list[int]]:
    """Token ids of each row up to and with its end of sequence."""
    rows, steps = uniforms.shape
    written = torch.zeros((rows, steps), dtype=torch.long, device=ids.device)
    alive = torch.arange(rows, device=ids.device)  # the rows still in the batch
    finished = torch.zeros(
        rows, dtype=torch.bool, device=ids.device
    )  # those of them that have ended
    cache = DynamicCache(config=model.config.get_text_config())
    forward = {**forward, "past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
    logits, positions = _read_prompts(model, ids, mask, forward), mask.sum(1, keepdim=True)
    padded = not bool(mask.all())
    for step in range(steps):
        ids = _draw(logits, uniforms[alive, step], temperature).unsqueeze(1)
        written[alive, step] = ids[:, 0]
        finished = finished | torch.isin(ids[:, 0], stops)
        left = (~finished).nonzero().squeeze(1)
        if not len(left) or step == steps - 1:
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if len(left) < COMPACT_BELOW * len(finished):
            cache.batch_select_indices(left)
            ids, mask, positions = ids[left], mask[left], positions[left]
            alive, finished = alive[left], finished[left]
        seen = mask if padded else None
        logits = model(
            input_ids=ids, attention_mask=seen, position_ids=positions, **forward
        ).logits[:, -1]
        positions = positions + 1
    ends = set(stops.tolist())
    return [_until(row, ends) for row in written.tolist()]


def _read_prompts(model: Any, ids: Tensor, mask: Tensor, forward: dict[str, Any]) -> Tensor:
    """Logits (rows, V) after the prompts, the cache filled for every row; a prompt that stands K times is read once."""
    distinct, place = torch.unique(torch.cat([ids, mask], dim=1), dim=0, return_inverse=True)
    ids, mask = distinct.chunk(2, dim=1)
    out = model(input_ids=ids, attention_mask=mask, position_ids=_positions(mask), **forward)
    forward["past_key_values"].batch_select_indices(place)
    logits: Tensor = out.logits[:, -1]
    return logits[place]


def _draw(logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
    """The token (rows,) at which the cumulative probability reaches the row's uniform number in (0, 1]."""
    if temperature == 0:
        return logits.argmax(-1)
    cumulative = (logits.double() / temperature).softmax(-1).cumsum(-1)
    return (cumulative < uniforms.unsqueeze(1) * cumulative[:, -1:]).sum(-1)


def _uniforms(prompts: Sequence[Sequence[int]], steps: int, seed: int) -> np.ndarray:
    """(rows, steps) in (0, 1]."""
    seen: Counter[bytes] = Counter()
    table = np.empty((len(prompts), steps))
    for row, prompt in enumerate(prompts):
        name = np.asarray(prompt, dtype=np.int64).tobytes()
        place = f"{seed} {seen[name]}".encode()
        seen[name] += 1
        key = np.frombuffer(
            hashlib.blake2b(name, digest_size=16, key=place).digest(), dtype=np.uint64
        )
        table[row] = 1.0 - np.random.Generator(np.random.Philox(key=key)).random(steps)
    return table


def stop_ids(model: Any, tokenizer: Any) -> Tensor:
    """Ids that end a response: the tokenizer's end of sequence and those of the model's generation config."""
    more = getattr(model.generation_config, "eos_token_id", None)
    listed = more if isinstance(more, list) else [] if more is None else [more]
    return torch.tensor(sorted({tokenizer.eos_token_id, *listed}), device=model.device)


def _until(ids: list[int], stops: set[int]) -> list[int]:
    """Up to the first stop, with it."""
    ends = [place for place, token in enumerate(ids) if token in stops]
    return ids[: ends[0] + 1] if ends else ids


def _positions(mask: Tensor) -> Tensor:
    """(rows, seq): 0 at the first real token of each row."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def _room(model: Any, max_new_tokens: int) -> int | None:
    """The longest prompt that leaves room for the answer; None without a limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and limit <= max_new_tokens:
        raise DataError(
            f"max_new_tokens {max_new_tokens} leaves no room for a prompt in the model's {limit} positions; lower it"
        )
    return None if limit is None else limit - max_new_tokens


def _cut(prompts: Sequence[Sequence[int]], room: int | None) -> list[list[int]]:
    return [list(prompt) if room is None else list(prompt[-room:]) for prompt in prompts]


def _left_padded(prompts: Sequence[Sequence[int]], fill: int, device: Any) -> tuple[Tensor, Tensor]:
    """Ids and attention mask `(batch, longest)`, padded so that all sequences end together."""
    batch = pad_sequences(prompts, fill, side="left")
    return batch["input_ids"].to(device), batch["attention_mask"].to(device)
