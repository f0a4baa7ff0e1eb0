"""A policy that reads the weights of the objectives: they stand as text in front of the prompt.

Any tokenizer can encode the text, and any chat template can follow it. The checkpoint is a stock
one. To serve it at given weights, write `weights_text` in front of the rendered prompt.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast

from concord.lm.types import Tokenizer
from concord.policies.composed import ComposedModel
from concord.policies.model import weight_vector
from concord.policies.publish import Publishable
from concord.stage.errors import ParamsError

OBJECTIVES = "weights_in_prompt"
"""Key of config.json with the objectives whose weights a policy reads, in the order of the text."""


def weights_text(weights: Mapping[str, float], names: Sequence[str]) -> str:
    """The weights as text: a digit per objective, in the order of `names`, in ninths of the sum.

    The text is short, because a small model answers badly after a long one. In the sandbox, names
    with decimal numbers raise the SFT model's loss on its own math answers from 10.8 to 27.9 nats
    per answer, and seven digits to 13.1.

    Examples:
        >>> weights_text({"honest": 2.0, "helpful": 1.0}, ["harmless", "helpful", "honest"])
        '036'
    """
    total = sum(weights.values())
    return "".join(str(round(9 * weights.get(name, 0.0) / total)) for name in names)


class WeightReader(Publishable):
    """A stock model that reads weights: `merge` puts their text in front of every prompt."""

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.name_or_path = model.name_or_path

    @property
    def head_names(self) -> list[str]:
        """The objectives whose weights are read."""
        return list(getattr(self.model.config, OBJECTIVES))

    def merge(self, weights: Mapping[str, float], strength: float = 1.0) -> PrefixedModel:
        """The model at `weights`, one per objective.

        Raises:
            ParamsError: as `weight_vector` does, or `strength` is not 1: what was trained cannot be
                scaled.
        """
        if strength != 1:
            raise ParamsError(
                f"strength is {strength}, but a policy that reads its weights has no strength; "
                "set it to 1"
            )
        weight_vector(weights, self.head_names)
        text = weights_text(weights, self.head_names)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return PrefixedModel(self.model, ids).eval()


class PrefixedModel(ComposedModel):
    """A model with the same tokens in front of every sequence, which its caller does not see."""

    def __init__(self, model: Any, prefix: Sequence[int]) -> None:
        super().__init__()
        self.model, self.prefix = model, torch.tensor(prefix, dtype=torch.long)
        self.config = copy.deepcopy(model.config)
        text = self.config.get_text_config()
        if getattr(text, "max_position_embeddings", None) is not None:
            text.max_position_embeddings -= len(prefix)
        self.generation_config = model.generation_config

    def forward(
        self,
        input_ids: Tensor,  # (batch, seq)
        attention_mask: Tensor | None = None,  # (batch, seq)
        position_ids: Tensor | None = None,  # (batch, seq)
        past_key_values: Any = None,
        **inputs: Any,
    ) -> CausalLMOutputWithPast:
        """`logits` `(batch, seq, vocab)` at the positions of `input_ids`, or at the last of them.

        The tokens are added at the start of a sequence: where the cache is empty.
        """
        rows, length = input_ids.shape
        prefix = self.prefix.to(input_ids.device).expand(rows, -1)
        starts = past_key_values is None or past_key_values.get_seq_length() == 0
        if attention_mask is not None:
            attention_mask = torch.cat([torch.ones_like(prefix), attention_mask], dim=1)
        if position_ids is not None:
            position_ids = position_ids + prefix.shape[1]
        if starts:
            input_ids = torch.cat([prefix, input_ids], dim=1)
            if position_ids is not None:
                ahead = torch.arange(prefix.shape[1], device=prefix.device).expand(rows, -1)
                position_ids = torch.cat([ahead, position_ids], dim=1)
        out = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **inputs,
        )
        return CausalLMOutputWithPast(
            logits=out.logits[:, -length:], past_key_values=out.past_key_values
        )
