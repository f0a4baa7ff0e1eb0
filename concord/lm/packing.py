"""Sequences packed so that each distinct token is computed once.

The answers to a prompt all follow the same tokens. A causal model computes the same state for the
same token after the same beginning, so sequences with a common beginning are a tree (a trie). A
tree is one run of tokens: each token attends to its ancestors and to itself, and its position is
its depth. Several trees share a row, because no token attends to another tree.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor

WORTHWHILE = 0.85
"""Packed rows are used if they have at most this share of the tokens of padded rows. Their
attention needs an explicit mask, which costs a little."""


class Rows(TypedDict):
    """Arguments of a model's forward pass."""

    input_ids: Tensor
    """int64 `(rows, seq)`."""
    position_ids: Tensor
    """int64 `(rows, seq)`."""
    attention_mask: Tensor
    """bool `(rows, 1, seq, seq)`: whether a token attends to another one."""


class Packed(NamedTuple):
    """Sequences as rows of trees."""

    rows: Rows
    states: list[np.ndarray]
    """For each sequence, the index of the state of each of its tokens in the flattened rows."""


@dataclass
class _Tree:
    """Tokens of sequences that share their beginning; a parent comes before its children."""

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


def pack(sequences: Sequence[Sequence[int]], trees: Sequence[Hashable], pad: int) -> Packed | None:
    """The sequences with each distinct token once; None if that saves too little (`WORTHWHILE`).

    Args:
        sequences: token ids, at least one for each sequence.
        trees: a key for each sequence; those with the same key become one tree.
        pad: the token id of padding.

    Examples:
        >>> packed = pack([[5, 6, 7], [5, 6, 9]], trees=["a", "a"], pad=0)
        >>> packed.rows["input_ids"].tolist(), packed.rows["position_ids"].tolist()
        ([[5, 6, 7, 9]], [[0, 1, 2, 2]])
        >>> [states.tolist() for states in packed.states]
        [[0, 1, 2], [0, 1, 3]]
    """
    grown: dict[Hashable, _Tree] = {}
    for index, (ids, key) in enumerate(zip(sequences, trees, strict=True)):
        grown.setdefault(key, _Tree()).add(index, ids)
    rows = _fill_rows(list(grown.values()))
    width = max(sum(len(tree.ids) for tree in row) for row in rows)
    padded = len(sequences) * max(map(len, sequences))
    if len(rows) * width > WORTHWHILE * padded:
        return None
    return _tensors(rows, width, pad)


def attends_to_any_mask(config: Any, attention: str) -> bool:
    """Whether a model with this text configuration can compute packed rows.

    It must attend to whole sequences, by an implementation that takes any mask. `attention` is its
    name.
    """
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None) is not None or kinds != {"full_attention"}
    return not windowed and attention == "sdpa"


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


def _tensors(rows: list[list[_Tree]], width: int, pad: int) -> Packed:
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
    return Packed(
        {
            "input_ids": torch.from_numpy(ids),
            "position_ids": torch.from_numpy(positions),
            "attention_mask": torch.from_numpy(mask[:, None]),
        },
        [states[index] for index in range(len(states))],
    )
