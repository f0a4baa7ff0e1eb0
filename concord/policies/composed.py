"""Causal language models that are made of others and have no checkpoint of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from concord.stage.errors import ModelError


class ComposedModel(nn.Module):
    """Can be sampled from and scored like a model of transformers, but not written."""

    config: Any
    generation_config: Any

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Raises ModelError."""
        raise ModelError(
            f"a {type(self).__name__} cannot be written to {save_directory}, because it is not a "
            "stock model; publish a policy of another method, such as `mah_dpo` or `soup`"
        )
