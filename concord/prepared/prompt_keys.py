"""What makes two prompts the same: their normalised turns."""

import hashlib
import json
import unicodedata
from collections.abc import Sequence

import pandas as pd


def normalise(text: str) -> str:
    """Text in lower case, with single spaces and in Unicode normalisation form NFKC.

    Examples:
        >>> normalise("  What IS\\nit? ")
        'what is it?'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def prompt_key(messages: Sequence[dict[str, str]]) -> str:
    """A hash of the normalised turns; the system prompt is ignored."""
    turns = [
        [turn["role"], normalise(turn["content"])] for turn in messages if turn["role"] != "system"
    ]
    return hashlib.sha256(json.dumps(turns).encode()).hexdigest()[:16]


def prompt_keys(frame: pd.DataFrame) -> pd.Series:
    """`prompt_key` of each row."""
    return frame["messages"].map(prompt_key).astype(object)
