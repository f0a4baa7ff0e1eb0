"""Supervised fine-tuning of the base model on the demonstrations.

model.name, data/prepared/sft/{train,validation}.parquet
-> models/sft (with its tokenizer and the recipe's chat template), reports/curves/sft.csv

python -m tasks.sft
"""

from __future__ import annotations

from pathlib import Path

from pydantic.dataclasses import dataclass

from concord.lm.demonstrations import collate, encode_rows, loss, mean_loss, token_shares
from concord.lm.load import base_tokenizer, load_base
from concord.lm.lora import Lora, attach, merge
from concord.lm.train import Training, fit
from concord.stage import outputs, resume, runtime
from concord.stage.command import command
from concord.stage.params import FORBID, Model, Runtime, load
from concord.stage.paths import CURVES, PREPARED, SFT

TABLES = [PREPARED / "sft" / f"{split}.parquet" for split in ("train", "validation")]
FOLDER = SFT
CURVE = CURVES / "sft.csv"
VALIDATION_ROWS = 256  # evaluated during training


@dataclass(frozen=True, config=FORBID)
class SftParams:
    """The section `sft`."""

    training: Training = Training(learning_rate=1e-4, epochs=2, batch_size=16, micro_batch=4)
    """Training settings. A row of a batch is one demonstration."""
    lora: Lora | None = None
    """Low-rank adapters to train instead of all weights. They are merged after training."""


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
        report_to=settings.report_to,
    )
    if params.lora is not None:
        merge(base)
    with outputs.directory(FOLDER) as folder:
        base.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


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
