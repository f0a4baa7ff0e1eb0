"""Policies whose objective weights can be set at inference, and the loading of any policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from concord.lm.load import load_causal, load_tokenizer
from concord.policies.model import MultiHeadCausalLM
from concord.policies.specialists import Specialists
from concord.policies.weights_in_prompt import OBJECTIVES, WeightReader


@runtime_checkable
class Steerable(Protocol):
    """A policy with one weight per objective."""

    @property
    def head_names(self) -> list[str]:
        """The objectives whose weights can be set, in order."""
        ...

    def merge(self, weights: Mapping[str, float], strength: float = 1.0) -> Any:
        """The causal language model at `weights`, one for each of `head_names`.

        `strength` scales the difference from the SFT model: 1 is what was trained.
        """
        ...


CLASSES = (MultiHeadCausalLM, Specialists)
"""The steerable policies that transformers loads. Their modules register them."""


def load(path: str | Path, device: Any = "cpu", dtype: str = "float32") -> Any:
    """Loads a policy: one of `CLASSES`, a `WeightReader`, or a stock causal language model."""
    model = load_causal(path, device, dtype)
    reads_weights = hasattr(model.config, OBJECTIVES)
    return WeightReader(model, load_tokenizer(path)) if reads_weights else model
