"""Outcome reward models: a score per objective for a whole response, whichever way the model was fitted.

`finetune` is a stock AutoModelForSequenceClassification with a head per objective; `probe` linear heads on a frozen
model's inner states. `load` tells them apart. A score does not depend on the batch that it was computed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from concord.lm.batches import encode_all, in_batches, pad_sequences
from concord.lm.chat import Messages
from concord.lm.load import load_strictly, load_tokenizer
from concord.stage.errors import ModelError


class RewardModel(Protocol):
    """What scores responses."""

    objectives: list[str]

    def score(
        self, messages: Sequence[Messages], responses: Sequence[str], batch_size: int = 64
    ) -> np.ndarray:
        """float32 `[n, H]`, columns in the order of `objectives`."""
        ...


class FinetunedRewardModel:
    """A sequence classification model whose labels are the objectives."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.objectives = [model.config.id2label[index] for index in range(model.config.num_labels)]

    def score(
        self, messages: Sequence[Messages], responses: Sequence[str], batch_size: int = 64
    ) -> np.ndarray:
        """float32 `[n, H]`."""
        return self.score_ids(encode_all(self.tokenizer, messages, responses), batch_size)

    def score_ids(self, encoded: Sequence[list[int]], batch_size: int = 64) -> np.ndarray:
        """float32 `[n, H]` of sequences of ids."""
        return in_batches(encoded, batch_size, len(self.objectives), self._scores)

    def _scores(self, sequences: list[list[int]]) -> np.ndarray:
        import torch

        batch = pad_sequences(sequences, self.tokenizer.pad_token_id)
        with torch.inference_mode():
            logits = self.model(
                **{name: value.to(self.model.device) for name, value in batch.items()}
            ).logits
        return np.asarray(logits.float().cpu())


def load(path: str | Path, device: Any = "cpu", dtype: str = "float32") -> RewardModel:
    """The reward model saved in the folder `path`. Raises ModelError where it does not fit."""
    from transformers import AutoModelForSequenceClassification

    if (Path(path) / "probe.json").is_file():
        from concord.rewards.outcome.probe import load_probe

        return load_probe(path, device, dtype)
    if not Path(path).is_dir():
        raise ModelError(
            f"no reward model at {path}; run its stage: dvc repro reward_model@{Path(path).name}"
        )
    model = load_strictly(AutoModelForSequenceClassification, path, device, dtype)
    return FinetunedRewardModel(model, load_tokenizer(path))


def new_model(
    sft: str | Path, objectives: Sequence[str], tokenizer: Any, device: Any, dtype: str, seed: int
) -> Any:
    """The SFT backbone under a fresh head per objective; everything but the heads must be in the checkpoint."""
    from transformers import AutoModelForSequenceClassification

    return load_strictly(
        AutoModelForSequenceClassification,
        sft,
        device,
        dtype,
        new={"score.weight"},
        unused={"lm_head.weight"},
        seed=seed,
        num_labels=len(objectives),
        id2label=dict(enumerate(objectives)),
        label2id={name: index for index, name in enumerate(objectives)},
        problem_type="regression",
        pad_token_id=tokenizer.pad_token_id,
    )
