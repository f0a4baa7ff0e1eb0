"""Supervised fine-tuning: the base model learns to answer as the demonstrations do.

model.name, data/prepared/sft/{train,validation}.parquet -> models/sft (with its tokenizer and the recipe's chat
template), reports/curves/sft.csv

    python -m tasks.sft
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass

from concord.lm.lora import Lora, attach, merge
from concord.lm.train import Row, Training, fit
from concord.stage import outputs, resume, runtime
from concord.stage.errors import command
from concord.stage.params import FORBID, Model, Runtime, load
from concord.stage.paths import CURVES, PREPARED, SFT

if TYPE_CHECKING:
    import pandas as pd

TABLES = [PREPARED / "sft" / f"{split}.parquet" for split in ("train", "validation")]
FOLDER = SFT
CURVE = CURVES / "sft.csv"
VALIDATION_ROWS = 256  # looked at while training


@dataclass(frozen=True, config=FORBID)
class SftParams:
    """How the base model is tuned."""

    training: Training
    """How it trains; `batch_size` counts demonstrations."""
    lora: Lora | None = None
    """Adapters to train in place of all weights, merged at the end."""


def run(params: SftParams, model: Model, settings: Runtime, seed: int) -> None:
    """Tunes the base model and writes it, its tokenizer and its curve."""
    from concord.lm.load import base_tokenizer, load_base

    device = runtime.start(settings, seed)
    inputs: list[str | Path] = [*TABLES, model.files, model.chat_template]
    tokenizer = base_tokenizer(model)
    policy = load_base(model, device, settings.dtype)
    if params.lora is not None:
        attach(policy, params.lora, seed)
    train, validation = (
        encoded(outputs.read_table(table), tokenizer, model.max_length) for table in TABLES
    )
    watched = validation[:: max(1, len(validation) // VALIDATION_ROWS)]
    fit(
        policy,
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
        label="sft",
    )
    if params.lora is not None:
        merge(policy)
    with outputs.directory(FOLDER) as folder:
        policy.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def encoded(frame: pd.DataFrame, tokenizer: Any, max_length: int) -> list[Row]:
    """Rows with `ids` of prompt, response and end, and `prompt`, how many of them are the prompt."""
    from concord.lm.chat import encode

    pairs = zip(frame["messages"], frame["response"], strict=True)
    rows = [encode(tokenizer, messages, response, max_length) for messages, response in pairs]
    return [{"ids": ids, "prompt": prompt} for ids, prompt in rows]


def token_shares(rows: list[Row]) -> list[float]:
    """Each row's share of the response tokens of the global batch: every token of a step counts the same."""
    counts = [len(row["ids"]) - row["prompt"] for row in rows]
    return [count / sum(counts) for count in counts]


def collate(rows: list[Row], pad: int) -> dict[str, Any]:
    """ids, mask `(batch, seq)` padded on the left; `answer` `(batch,)` response tokens; `weights` `(batch,)`."""
    import torch

    from concord.lm.batches import pad_sequences

    batch = pad_sequences([row["ids"] for row in rows], pad, side="left")
    answer = torch.tensor([len(row["ids"]) - row["prompt"] for row in rows])
    weights = torch.tensor([row["weight"] for row in rows], dtype=torch.float32)
    return {**batch, "answer": answer, "weights": weights}


def loss(model: Any, batch: dict[str, Any]) -> tuple[Any, dict[str, float]]:
    """sum over rows of weight * mean over response tokens of -log p(token)."""
    from concord.lm.sample import answer_logprobs

    sums = answer_logprobs(model, batch["input_ids"], batch["attention_mask"], batch["answer"])
    return -(batch["weights"] * sums / batch["answer"]).sum(), {}


def mean_loss(model: Any, rows: list[Row], pad: int) -> float:
    """Mean over all response tokens of -log p(token), in nats."""
    total, batches = 0.0, [rows[start : start + 32] for start in range(0, len(rows), 32)]
    shares = iter(token_shares(rows))
    for batch in batches:
        weighted = [{**row, "weight": next(shares)} for row in batch]
        tensors = {name: tensor.to(model.device) for name, tensor in collate(weighted, pad).items()}
        total += float(loss(model, tensors)[0])
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
