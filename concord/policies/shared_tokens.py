"""Sequences packed so that each distinct token is computed once.

The two responses of a pair follow the same prompt, and so do all pairs of a prompt. A causal model
computes the same state for the same token after the same beginning, so sequences with a common
beginning are a tree (a trie). A tree is one run of tokens: each token attends to its ancestors and
to itself, and its position is its depth. Several trees share a row, because no token attends to
another tree.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

Encoded = tuple[list[int], int]
"""Token ids, and the number of prompt tokens."""
WORTHWHILE = 0.85
"""Packed rows are used if they have at most this share of the tokens of padded rows. Their
attention needs an explicit mask, which costs a little."""

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


class Packed(TypedDict):
    """Arguments of `MultiHeadCausalLM.forward`."""

    input_ids: Tensor
    """int64 `(rows, seq)`."""
    position_ids: Tensor
    """int64 `(rows, seq)`."""
    attention_mask: Tensor
    """bool `(rows, 1, seq, seq)`: whether a token attends to another one."""
    targets: Targets


@dataclass
class _Tree:
    """Tokens of sequences with the same prompt; a parent comes before its children."""

    ids: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)  # -1 for the first token
    paths: dict[int, list[int]] = field(default_factory=dict)  # sequence -> its tokens here
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, sequence: int, ids: Sequence[int]) -> None:
        node, path = -1, []
        for token in ids:
            child = self._children.setdefault((node, token), len(self.ids))
            if child == len(self.ids):
                self.ids.append(token)
                self.parents.append(node)
            node = child
            path.append(node)
        self.paths[sequence] = path

    def ancestors(self) -> np.ndarray:
        """bool `(tokens, tokens)`: whether the second is the first or one of its ancestors."""
        table = np.eye(len(self.ids), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                table[node] |= table[parent]
        return table


def pack(sequences: Sequence[Encoded], pad: int) -> Packed | None:
    """The sequences with each distinct token once; None if that saves too little (`WORTHWHILE`).

    The last token of a sequence predicts nothing, so it is left out.

    Examples:
        >>> packed = pack([([5, 6, 7, 8], 2), ([5, 6, 9, 8], 2)], pad=0)
        >>> packed["input_ids"].tolist(), packed["position_ids"].tolist()
        ([[5, 6, 7, 9]], [[0, 1, 2, 2]])
        >>> packed["targets"]["state"].tolist(), packed["targets"]["token"].tolist()
        ([1, 2, 1, 3], [7, 8, 9, 8])
    """
    trees: dict[tuple[int, ...], _Tree] = {}
    for index, (ids, start) in enumerate(sequences):
        trees.setdefault(tuple(ids[:start]), _Tree()).add(index, ids[:-1])
    rows = _fill_rows(list(trees.values()))
    width = max(sum(len(tree.ids) for tree in row) for row in rows)
    padded = len(sequences) * max(len(ids) for ids, _ in sequences)
    if len(rows) * width > WORTHWHILE * padded:
        return None
    return _tensors(rows, width, sequences, pad)


def _fill_rows(trees: list[_Tree]) -> list[list[_Tree]]:
    """Rows of the size of the largest tree: each tree goes into the first row with room for it."""
    trees = sorted(trees, key=lambda tree: -len(tree.ids))
    rows: list[list[_Tree]] = []
    room: list[int] = []
    for tree in trees:
        row = next((row for row, free in enumerate(room) if free >= len(tree.ids)), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(len(trees[0].ids))
        rows[row].append(tree)
        room[row] -= len(tree.ids)
    return rows


def _tensors(rows: list[list[_Tree]], width: int, sequences: Sequence[Encoded], pad: int) -> Packed:
    ids = np.full((len(rows), width), pad)
    positions = np.zeros((len(rows), width), dtype=int)
    # padding attends to itself, because a softmax over nothing is undefined
    mask = np.tile(np.eye(width, dtype=bool), (len(rows), 1, 1))
    states: dict[int, np.ndarray] = {}
    for row, members in enumerate(rows):
        start = 0
        for tree in members:
            inside, ancestors = slice(start, start + len(tree.ids)), tree.ancestors()
            ids[row, inside], mask[row, inside, inside] = tree.ids, ancestors
            positions[row, inside] = ancestors.sum(axis=1) - 1
            for sequence, path in tree.paths.items():
                states[sequence] = row * width + start + np.array(path)
            start = inside.stop
    return {
        "input_ids": torch.from_numpy(ids),
        "position_ids": torch.from_numpy(positions),
        "attention_mask": torch.from_numpy(mask[:, None]),
        "targets": _targets(sequences, [states[index] for index in range(len(sequences))]),
    }


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

    It must attend to the whole sequence and take any mask. Adapters of heads need whole rows,
    because every row has its own mix of them.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None) is not None or kinds != {"full_attention"}
    attention = model.backbone.config._attn_implementation
    if model.config.adapter_rank is not None or windowed or attention != "sdpa":
        return False
    device, mix = model.device, torch.ones(len(model.head_names)) / len(model.head_names)
    packed = pack([([1, 2, 3, 4], 2), ([1, 2, 4, 3], 2)], pad=0)
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
