"""A batch of sampled answers as tensors, and the distributions of a model at its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from concord.lm.batches import pad_sequences
from concord.lm.types import CausalLM


@dataclass(frozen=True)
class Answers:
    """Sampled answers with their rewards."""

    prompts: Sequence[Sequence[int]]
    """Token ids of the prompts."""
    responses: Sequence[Sequence[int]]
    """The sampled token ids, with the end of sequence only where it was sampled."""
    finished: Sequence[bool]
    """Whether the answer reached its end of sequence."""
    rewards: np.ndarray
    """Anchored rewards `(rows, objectives)`, NaN if an objective does not apply to the row."""
    weights: np.ndarray
    """Weight of each objective, `(rows, objectives)`."""
    metrics: dict[str, float]
    """Metrics of the batch for the training curve."""
    step_rewards: Mapping[int, Sequence[Sequence[tuple[int, float]]]] = field(default_factory=dict)
    """Column of a process reward -> for each row the reward of each step, as pairs of the position
    of its last token and the anchored reward. They sum to the entry in `rewards`. Other rewards are
    given at the last token."""


@dataclass(frozen=True)
class AnswerBatch:
    """Answers as tensors, padded on the left, so that the last column is every answer's last token.

    `kept` is the length of the longest answer.
    """

    inputs: dict[str, Tensor]
    """Ids, mask and positions of prompts and answers, `(rows, seq)` each."""
    sampled: Tensor
    """Marks the tokens of the answers, `(rows, kept)`."""
    trained: Tensor
    """The same, without answers that did not finish, `(rows, kept)`."""

    @classmethod
    def of(cls, answers: Answers, pad: int, device: torch.device | str) -> AnswerBatch:
        """The batch of `answers`; `pad` is the id of the padding token."""
        pairs = zip(answers.prompts, answers.responses, strict=True)
        padded = pad_sequences([[*prompt, *response] for prompt, response in pairs], pad, "left")
        ids, mask = padded["input_ids"].to(device), padded["attention_mask"].to(device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        lengths = torch.tensor([len(response) for response in answers.responses], device=device)
        kept = int(lengths.max())
        sampled = torch.arange(kept, device=device) >= kept - lengths[:, None]
        trained = sampled & torch.tensor(answers.finished, device=device)[:, None]
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        return cls(inputs, sampled, trained)

    @property
    def kept(self) -> int:
        """Length of the longest answer, in tokens."""
        return self.sampled.shape[1]

    def inputs_of(self, rows: Tensor) -> dict[str, Tensor]:
        """The inputs of some rows, without the columns in which all of them are padding."""
        mask = self.inputs["attention_mask"][rows]
        width = max(int(mask.sum(1).max()), self.kept + 1)
        return {name: values[rows, -width:] for name, values in self.inputs.items()}

    def parts(self, count: int, order: Sequence[int] | None = None) -> Iterator[Tensor]:
        """The indices of all rows in `count` parts of nearly the same size, in `order`."""
        rows = range(len(self.sampled)) if order is None else order
        yield from torch.tensor(list(rows), device=self.sampled.device).tensor_split(count)


def distributions(model: CausalLM, inputs: dict[str, Tensor], kept: int) -> Tensor:
    """Log-probabilities of the vocabulary at the last `kept` tokens, float32.

    `(rows, kept, vocab)`, in nats.
    """
    logits = model(**inputs, use_cache=False, logits_to_keep=kept + 1).logits[:, :-1]
    result: Tensor = logits.float().log_softmax(dim=-1)
    return result


def token_logprobs(distribution: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """Log-probabilities of the tokens in `inputs` under `distribution`, `(rows, kept)`."""
    tokens = inputs["input_ids"][:, -distribution.shape[1] :, None]
    return distribution.gather(-1, tokens).squeeze(-1)
