"""A process reward model with linear heads on the states of a frozen model at the ends of steps.

It reads the same tokens as a finetuned one (`process_model.windows`), in one or more layers.
Solutions with a common beginning share its computation, and equal ones are read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit  # type: ignore[import-untyped]

from concord.lm.chat import Messages
from concord.lm.frozen import check_layers
from concord.lm.types import Tokenizer
from concord.rewards.outcome.probe import dtype_of, load_heads, save_heads
from concord.rewards.process.process_model import ProcessRewardModel, windows
from concord.stage.finished_parts import Keep, part

Window = tuple[tuple[int, ...], tuple[int, ...]]
"""Token ids, and the positions at which steps are read."""


class StepProbe(ProcessRewardModel):
    """Scores the steps of responses with linear heads on a frozen model.

    Args:
        backbone: a causal language model or the backbone of one.
        tokenizer: its tokenizer.
        layers: the layers whose states are features; 0 stands for the embeddings.
        objectives: the objectives of the heads.
        heads: `weight` `(objectives, layers * hidden size)` and `bias` `(objectives,)`.
    """

    def __init__(
        self,
        backbone: Any,
        tokenizer: Tokenizer,
        layers: Sequence[int],
        objectives: list[str],
        heads: dict[str, np.ndarray],
    ) -> None:
        self.model, self.tokenizer, self.objectives = backbone, tokenizer, objectives
        self.layers, self.heads = check_layers(backbone, layers), heads

    def score_all(
        self, messages: Sequence[Messages], steps: Sequence[Sequence[str]], batch_size: int = 64
    ) -> list[np.ndarray]:
        """The scores of several responses, each float32 `(steps, objectives)` in (0, 1)."""
        request = [messages, steps]
        return part("scores", request, lambda: self._score_all(messages, steps, batch_size))

    def _score_all(
        self, messages: Sequence[Messages], steps: Sequence[Sequence[str]], batch_size: int
    ) -> list[np.ndarray]:
        pieces = windows_of(self.tokenizer, messages, steps)
        distinct = list(dict.fromkeys(window for _, window, _ in pieces))
        tables = dict(zip(distinct, self.states(distinct, batch_size), strict=True))
        results = [
            np.zeros((len(response), len(self.objectives)), dtype=np.float32) for response in steps
        ]
        for index, window, inside in pieces:
            results[index][inside] = self.score_states(tables[window])
        return results

    def states(
        self, pieces: Sequence[Window], batch_size: int = 64, keep: Keep = part
    ) -> list[np.ndarray]:
        """The states at the ends of the steps of each window, float32 `(steps, features)`.

        `keep` is as in `concord.lm.shared_prefixes.read`.
        """
        import torch

        from concord.lm.shared_prefixes import States, read

        results: list[np.ndarray] = [np.zeros(0)] * len(pieces)
        model, sequences = self.model.base_model, [list(ids) for ids, _ in pieces]
        ends = [list(each) for _, each in pieces]
        pad = self.tokenizer.pad_token_id

        def at_ends(rows: list[int], hidden: States) -> list[np.ndarray]:
            counts = [len(pieces[row][1]) for row in rows]
            owner = torch.arange(len(rows)).repeat_interleave(torch.tensor(counts))
            positions = torch.tensor([end for row in rows for end in pieces[row][1]])
            where = owner.to(model.device), positions.to(model.device)
            table = torch.cat([hidden.at(layer, *where) for layer in self.layers], dim=1)
            return np.split(table.cpu().numpy(), np.cumsum(counts)[:-1])

        for rows, tables in read(model, sequences, pad, at_ends, batch_size, ends, keep):
            for row, table in zip(rows, tables, strict=True):
                results[row] = table
        return results

    def score_states(self, states: np.ndarray) -> np.ndarray:
        """Scores float32 `(steps, objectives)` in (0, 1) from states `(steps, features)`."""
        logits = states.astype(float) @ self.heads["weight"].astype(float).T + self.heads["bias"]
        return np.asarray(expit(logits), dtype=np.float32)

    def save(self, path: Path, backbone: Path, final: Path) -> None:
        """Writes the model to the folder `path`, which the caller then renames to `final`."""
        entry = {
            "objectives": self.objectives,
            "layers": list(self.layers),
            "dtype": dtype_of(self.model),
        }
        save_heads(path, final, backbone, entry, self.heads)
        self.tokenizer.save_pretrained(path)


def windows_of(
    tokenizer: Tokenizer, messages: Sequence[Messages], steps: Sequence[Sequence[str]]
) -> list[tuple[int, Window, list[int]]]:
    """The windows of all responses: index of the response, window, and the steps that it reads."""
    return [
        (index, (tuple(window["ids"]), tuple(window["ends"])), window["steps"])
        for index, (prompt, response) in enumerate(zip(messages, steps, strict=True))
        for window in windows(tokenizer, prompt, response, tokenizer.model_max_length)
    ]


def load_step_probe(path: str | Path, device: Any, dtype: str = "float32") -> StepProbe:
    """Loads a saved model; see `concord.rewards.outcome.probe.load_heads`."""
    model, tokenizer, entry, heads = load_heads(path, device, dtype)
    return StepProbe(model, tokenizer, entry["layers"], entry["objectives"], heads)
