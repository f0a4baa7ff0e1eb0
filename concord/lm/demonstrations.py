"""Supervised fine-tuning on demonstrations: rows, batches and the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, cast

from concord.lm.batches import pad_sequences
from concord.lm.chat import encode
from concord.lm.train import Row

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from concord.lm.types import CausalLM, Tokenizer


class Batch(TypedDict):
    """Sequences padded on the left."""

    input_ids: torch.Tensor
    """`(batch, seq)`"""
    attention_mask: torch.Tensor
    """`(batch, seq)`"""
    answer: torch.Tensor
    """`(batch,)`, number of response tokens."""
    weights: torch.Tensor
    """`(batch,)`, the share of each row in the loss."""


def encode_rows(frame: pd.DataFrame, tokenizer: Tokenizer, max_length: int) -> list[Row]:
    """One row per demonstration, from the columns `messages` and `response`.

    `ids` are the token ids of prompt, response and end token; `prompt` is the number of prompt
    tokens.
    """
    pairs = zip(frame["messages"], frame["response"], strict=True)
    rows = [encode(tokenizer, messages, response, max_length) for messages, response in pairs]
    return [{"ids": ids, "prompt": prompt} for ids, prompt in rows]


def token_shares(rows: list[Row]) -> list[float]:
    """The share of each row in the response tokens of the batch: all tokens count the same."""
    counts = [len(row["ids"]) - row["prompt"] for row in rows]
    return [count / sum(counts) for count in counts]


def collate(rows: list[Row], pad: int) -> Batch:
    """The rows as tensors."""
    import torch

    batch = pad_sequences([row["ids"] for row in rows], pad, side="left")
    answer = torch.tensor([len(row["ids"]) - row["prompt"] for row in rows])
    weights = torch.tensor([row["weight"] for row in rows], dtype=torch.float32)
    return {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"],
        "answer": answer,
        "weights": weights,
    }


def loss(model: CausalLM, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
    """Sum over rows of weight * mean over response tokens of -log p(token), in nats."""
    from concord.lm.sample import answer_logprobs

    sums = answer_logprobs(model, batch["input_ids"], batch["attention_mask"], batch["answer"])
    return -(batch["weights"] * sums / batch["answer"]).sum(), {}


def mean_loss(model: CausalLM, rows: list[Row], pad: int) -> float:
    """Mean over all response tokens of -log p(token), in nats."""
    total, batches = 0.0, [rows[start : start + 32] for start in range(0, len(rows), 32)]
    shares = iter(token_shares(rows))
    for batch in batches:
        weighted = [{**row, "weight": next(shares)} for row in batch]
        tensors = {
            name: cast("torch.Tensor", tensor).to(model.device)
            for name, tensor in collate(weighted, pad).items()
        }
        total += float(loss(model, cast("Batch", tensors))[0])
    return total
