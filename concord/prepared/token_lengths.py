"""Answers as the model sees them: how long they are in tokens, and whether two texts are the same to it."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from concord.lm.chat import assistant_header, render

RESPONSES = {
    "demonstrations": ["response"],
    "comparisons": ["chosen", "rejected"],
    "ratings": ["response"],
    "steps": ["steps"],
}
"""Columns that hold answers, by table."""
BATCH = 1024


class Tokens:
    """Token ids of texts, by the model's own tokenizer, each text encoded once."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length
        self._room = max_length - len(assistant_header(tokenizer)) - 1  # 1: end of sequence
        self._ids: dict[str, tuple[int, ...]] = {}

    def encode(self, texts: Iterable[str]) -> None:
        """Encodes the texts that are new, in batches."""
        new = [text for text in dict.fromkeys(texts) if text not in self._ids]
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            ids = self._tokenizer(batch, add_special_tokens=False)["input_ids"]
            self._ids.update(zip(batch, map(tuple, ids), strict=True))

    def too_long(self, frame: pd.DataFrame, column: str) -> pd.Series:
        """Rows whose answer does not fit beside the assistant's header, so that `encode` would refuse it."""
        texts = (
            frame[column]
            .map(lambda value: value if isinstance(value, str) else "".join(value))
            .astype(object)
        )
        self.encode(texts)
        return texts.map(lambda text: len(self._ids[text]) > self._room).astype(bool)

    def same(self, pairs: pd.DataFrame) -> pd.Series:
        """Pairs whose answers are different texts but the same tokens (unknown characters, for instance)."""
        self.encode([*pairs["chosen"], *pairs["rejected"]])
        same = [
            self._ids[a] == self._ids[b]
            for a, b in zip(pairs["chosen"], pairs["rejected"], strict=True)
        ]
        return pd.Series(same, index=pairs.index, dtype=bool)

    def cut_prompts(self, prompts: pd.DataFrame) -> int:
        """How many prompts will lose their beginning even without an answer."""
        return sum(
            len(render(self._tokenizer, messages)) > self._max_length
            for messages in prompts["messages"]
        )
