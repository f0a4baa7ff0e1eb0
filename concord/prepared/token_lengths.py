"""Token counts of responses, and responses that differ as text but not as tokens."""

from collections.abc import Iterable

import pandas as pd

from concord.lm.chat import AS_TEXT, assistant_header, render
from concord.lm.types import Tokenizer

RESPONSES = {
    "demonstrations": ["response"],
    "comparisons": ["chosen", "rejected"],
    "ratings": ["response"],
    "steps": ["steps"],
}
"""Table -> its columns that contain responses."""
BATCH = 1024
"""Texts per call of the tokenizer."""


class Tokens:
    """Token ids of texts under the model's tokenizer; each text is encoded only once."""

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length
        self._room = max_length - len(assistant_header(tokenizer)) - 1  # 1 for end of sequence
        self._ids: dict[str, tuple[int, ...]] = {}

    def encode(self, texts: Iterable[str]) -> None:
        """Encodes the texts that were not encoded yet."""
        new = [text for text in dict.fromkeys(texts) if text not in self._ids]
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            ids = self._tokenizer(batch, **AS_TEXT)["input_ids"]
            self._ids.update(zip(batch, map(tuple, ids), strict=True))

    def too_long(self, frame: pd.DataFrame, column: str) -> pd.Series:
        """Rows whose response and the assistant header together exceed the maximum length.

        These are the responses for which `concord.lm.chat.encode` raises DataError.
        """
        texts = (
            frame[column]
            .map(lambda value: value if isinstance(value, str) else "".join(value))
            .astype(object)
        )
        self.encode(texts)
        return texts.map(lambda text: len(self._ids[text]) > self._room).astype(bool)

    def same_tokens(self, pairs: pd.DataFrame) -> pd.Series:
        """Pairs whose responses have the same tokens, for example because of unknown characters."""
        self.encode([*pairs["chosen"], *pairs["rejected"]])
        same = [
            self._ids[a] == self._ids[b]
            for a, b in zip(pairs["chosen"], pairs["rejected"], strict=True)
        ]
        return pd.Series(same, index=pairs.index, dtype=bool)

    def count_truncated_prompts(self, prompts: pd.DataFrame) -> int:
        """Number of prompts that are truncated even if the response is empty."""
        return sum(
            len(render(self._tokenizer, messages)) > self._max_length
            for messages in prompts["messages"]
        )
