"""The vector critic: one linear value head per objective on a copy of the SFT model's backbone.

The policy and the critic share no weights. A shared backbone would need a coefficient between the
two losses, and errors in the values would move the policy and its KL. The price is the memory of a
second model during training. The heads start at 0, so the first advantages are the rewards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Critic(nn.Module):
    """Values of an unfinished answer: the reward that it is expected to get, per stream."""

    def __init__(self, backbone: Any, streams: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.Linear(backbone.config.hidden_size, streams, device=backbone.device)
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)

    def forward(self, inputs: Mapping[str, Tensor], kept: int) -> Tensor:
        """Values before each of the last `kept` tokens, float32 `(rows, kept, streams)`.

        `inputs` are those of the policy: ids, mask and positions, `(rows, seq)` each.
        """
        hidden = self.backbone(**inputs, use_cache=False).last_hidden_state
        values: Tensor = self.heads(hidden[:, -(kept + 1) : -1].to(torch.float32))
        return values
