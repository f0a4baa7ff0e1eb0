"""Outcome reward models: a score per objective for a whole response.

There are two kinds. `finetune` is a stock AutoModelForSequenceClassification with one head per
objective. `probe` has linear heads on the hidden states of a frozen model. `load` detects the kind.
The score of a response does not depend on the batch in which it is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from concord.lm.batches import encode_fitting, pad_sequences, score_in_batches
from concord.lm.chat import Messages
from concord.lm.load import load_strictly, load_tokenizer
from concord.lm.types import Tokenizer
from concord.stage.errors import DataError, ModelError
from concord.stage.finished_parts import part


class RewardModel(Protocol):
    """Scores responses on one or more objectives."""

    objectives: list[str]

    def score(
        self, messages: Sequence[Messages], responses: Sequence[str], batch_size: int = 64
    ) -> np.ndarray:
        """Scores float32 `(n, objectives)`, columns in the order of `objectives`.

        The row of a response that does not fit in the model's maximum length is NaN, and the number
        of such responses is printed.
        """
        ...


def complete(model: RewardModel, scores: np.ndarray) -> np.ndarray:
    """The scores of `model` as they are, for callers that need every score.

    Raises DataError if a response was too long to be scored.
    """
    if unscored := int(np.isnan(scores).any(axis=1).sum()):
        raise DataError(
            f"the reward model of {', '.join(model.objectives)} cannot score {unscored} of "
            f"{len(scores)} responses, because they do not fit in its max_length; raise "
            "model.max_length, or lower max_new_tokens"
        )
    return scores


class FinetunedRewardModel:
    """A sequence classification model whose labels are the objectives."""

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.objectives = [model.config.id2label[index] for index in range(model.config.num_labels)]

    def score(
        self, messages: Sequence[Messages], responses: Sequence[str], batch_size: int = 64
    ) -> np.ndarray:
        """Scores float32 `(n, objectives)`; NaN for a response that is too long."""
        request = [messages, responses]
        return part("scores", request, lambda: self._score(messages, responses, batch_size))

    def _score(
        self, messages: Sequence[Messages], responses: Sequence[str], batch_size: int
    ) -> np.ndarray:
        rows, encoded = encode_fitting(self.tokenizer, messages, responses)
        scores = np.full((len(responses), len(self.objectives)), np.nan, dtype=np.float32)
        scores[rows] = self.score_ids(encoded, batch_size)
        return scores

    def score_ids(self, encoded: Sequence[list[int]], batch_size: int = 64) -> np.ndarray:
        """Scores float32 `(n, objectives)` of sequences of token ids."""
        return score_in_batches(encoded, batch_size, len(self.objectives), self._scores)

    def _scores(self, sequences: list[list[int]]) -> np.ndarray:
        import torch

        batch = pad_sequences(sequences, self.tokenizer.pad_token_id)
        inputs = {name: value.to(self.model.device) for name, value in batch.items()}
        with torch.inference_mode():
            logits = self.model(**inputs).logits
        return np.asarray(logits.float().cpu())


def load(path: str | Path, device: Any = "cpu", dtype: str = "float32") -> RewardModel:
    """The reward model in the folder `path`.

    Raises ModelError if there is none, or if its weights do not match the architecture.
    """
    from transformers import AutoModelForSequenceClassification

    if (Path(path) / "probe.json").is_file():
        from concord.rewards.outcome.probe import load_probe

        return load_probe(path, device, dtype)
    if not Path(path).is_dir():
        raise ModelError(
            f"there is no reward model at {path}; train it with "
            f"`dvc repro reward_model@{Path(path).name}`"
        )
    model = load_strictly(AutoModelForSequenceClassification, path, device, dtype)
    return FinetunedRewardModel(model, load_tokenizer(path))


def new_model(
    sft: str | Path,
    objectives: Sequence[str],
    tokenizer: Tokenizer,
    device: Any,
    dtype: str,
    seed: int,
) -> Any:
    """A sequence classifier on the SFT backbone, with one untrained head per objective.

    All weights except the heads must be in the checkpoint. The heads are initialised from `seed`.
    """
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
