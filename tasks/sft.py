"""Supervised fine-tuning of the base model on the demonstrations.

model.name, data/prepared/sft/{train,validation}.parquet
-> models/sft (with its tokenizer and the recipe's chat template), reports/curves/sft.csv

python -m tasks.sft
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from pydantic.dataclasses import dataclass

from concord.lm.batches import pad_sequences
from concord.lm.chat import encode
from concord.lm.load import base_tokenizer, load_base
from concord.lm.lora import Lora, attach, merge
from concord.lm.train import Row, Training, fit
from concord.stage import outputs, resume, runtime
from concord.stage.errors import command
from concord.stage.params import FORBID, Model, Runtime, load
from concord.stage.paths import CURVES, PREPARED, SFT

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from concord.lm.types import CausalLM, Tokenizer

TABLES = [PREPARED / "sft" / f"{split}.parquet" for split in ("train", "validation")]
FOLDER = SFT
CURVE = CURVES / "sft.csv"
VALIDATION_ROWS = 256  # evaluated during training


@dataclass(frozen=True, config=FORBID)
class SftParams:
    """The section `sft`."""

    training: Training
    """Training settings. A row of a batch is one demonstration."""
    lora: Lora | None = None
    """Low-rank adapters to train instead of all weights. They are merged after training."""


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


def run(params: SftParams, model: Model, settings: Runtime, seed: int) -> None:
    """Fine-tunes the base model; writes the model, its tokenizer and its training curve."""

    device = runtime.start(settings, seed)
    inputs: list[str | Path] = [*TABLES, model.files, model.chat_template]
    tokenizer = base_tokenizer(model)
    base = load_base(model, device)
    if params.lora is not None:
        attach(base, params.lora, seed)
    train, validation = (
        encode_rows(outputs.read_table(table), tokenizer, model.max_length) for table in TABLES
    )
    watched = validation[:: max(1, len(validation) // VALIDATION_ROWS)]
    fit(
        base,
        train,
        lambda rows: collate(rows, tokenizer.pad_token_id),
        loss,
        params.training,
        seed=seed,
        work=resume.folder("sft", [params, model, settings, seed], inputs, __file__),
        curve=CURVE,
        evaluate=lambda current: {
            "validation_loss": mean_loss(current, watched, tokenizer.pad_token_id)
        },
        weights=token_shares,
        length=lambda row: len(row["ids"]),
        dtype=settings.dtype,
        label="sft",
    )
    if params.lora is not None:
        merge(base)
    with outputs.directory(FOLDER) as folder:
        base.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def encode_rows(frame: pd.DataFrame, tokenizer: Tokenizer, max_length: int) -> list[Row]:
    """One row per demonstration.

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


def main() -> None:
    """Runs the stage."""
    run(
        load(SftParams, "sft"),
        load(Model, "model"),
        load(Runtime, "runtime"),
        load(int, "seeds", "data"),
    )


if __name__ == "__main__":
    command(main)
