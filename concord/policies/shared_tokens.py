"""Preference pairs packed so that each distinct token is computed once (`concord.lm.packing`).

The two responses of a pair follow the same prompt, and so do all pairs of a prompt. Adapters of
heads compute other states for another mix of the heads, so with them only sequences with the same
mix share tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from concord.lm import packing

Encoded = tuple[list[int], int]
"""Token ids, and the number of prompt tokens."""
TOLERANCE = 1e-3
"""Largest difference, in nats, between log-probabilities that count as the same."""


class Targets(TypedDict):
    """The predicted tokens: those of all responses, one sequence after the other."""

    state: Tensor
    """int64 `(tokens,)`: index of the state that predicts the token, in the flattened rows."""
    token: Tensor
    """int64 `(tokens,)`: ids."""
    sequence: Tensor
    """int64 `(tokens,)`: index of the sequence."""
    count: int
    """Number of sequences."""


class Packed(packing.Rows):
    """Arguments of `MultiHeadCausalLM.forward`."""

    targets: Targets
    owners: NotRequired[Tensor]
    """int64 `(rows, seq)`: index of a sequence that the token belongs to, for its mix."""


def pack(
    sequences: Sequence[Encoded], pad: int, mixes: Sequence[Hashable] | None = None
) -> Packed | None:
    """The sequences with each distinct token once; None if that saves too little.

    The last token of a sequence predicts nothing, so it is left out. `mixes`, the mix of each
    sequence, is needed for a model with adapters.

    Examples:
        >>> packed = pack([([5, 6, 7, 8], 2), ([5, 6, 9, 8], 2)], pad=0)
        >>> packed["input_ids"].tolist(), packed["position_ids"].tolist()
        ([[5, 6, 7, 9]], [[0, 1, 2, 2]])
        >>> packed["targets"]["state"].tolist(), packed["targets"]["token"].tolist()
        ([1, 2, 1, 3], [7, 8, 9, 8])
    """
    prompts = [tuple(ids[:start]) for ids, start in sequences]
    trees = prompts if mixes is None else list(zip(prompts, mixes, strict=True))
    packed = packing.pack([ids[:-1] for ids, _ in sequences], trees, pad)
    if packed is None:
        return None
    rows = cast(Packed, {**packed.rows, "targets": _targets(sequences, packed.states)})
    if mixes is not None:
        rows["owners"] = _owners(packed)
    return rows


def _owners(packed: packing.Packed) -> Tensor:
    owners = torch.zeros_like(packed.rows["input_ids"])
    for index, states in enumerate(packed.states):
        owners.view(-1)[torch.from_numpy(states)] = index
    return owners


def _targets(sequences: Sequence[Encoded], states: Sequence[np.ndarray]) -> Targets:
    """The response tokens; `states` holds the index of the state of each token but the last."""
    starts = [max(prompt, 1) for _, prompt in sequences]
    tokens = [ids[start:] for (ids, _), start in zip(sequences, starts, strict=True)]
    predicting = [at[start - 1 :] for at, start in zip(states, starts, strict=True)]
    counts = [len(response) for response in tokens]
    return {
        "state": torch.from_numpy(np.concatenate(predicting)),
        "token": torch.tensor(list(itertools.chain.from_iterable(tokens))),
        "sequence": torch.from_numpy(np.repeat(np.arange(len(sequences)), counts)),
        "count": len(sequences),
    }


def can_pack(model: Any) -> bool:
    """Whether `model`, a `MultiHeadCausalLM`, computes the same for packed and for whole sequences.

    It must attend to the whole sequence and take any mask.
    """
    config, attention = model.config.get_text_config(), model.backbone.config._attn_implementation
    if not packing.attends_to_any_mask(config, attention):
        return False
    device, mix = model.device, torch.full((2, len(model.head_names)), 1 / len(model.head_names))
    mixes = None if model.config.adapter_rank is None else ["equal", "equal"]
    packed = pack([([1, 2, 3, 4], 2), ([1, 2, 4, 3], 2)], pad=0, mixes=mixes)
    assert packed is not None
    with torch.no_grad():
        whole = torch.tensor([[1, 2, 3, 4], [1, 2, 4, 3]], device=device)
        labels = torch.where(torch.arange(4, device=device) < 2, -100, whole)
        expected = model(whole, labels=labels, head_weights=mix).logprobs
        logprobs = model(**_to(packed, device), head_weights=mix).logprobs
    return bool(torch.allclose(logprobs, expected, atol=TOLERANCE, rtol=TOLERANCE))


def _to(packed: Any, device: Any) -> Any:
    if isinstance(packed, dict):
        return {name: _to(value, device) for name, value in packed.items()}
    return packed.to(device) if isinstance(packed, Tensor) else packed
