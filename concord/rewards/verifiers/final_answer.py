r"""The final answer of a response: what is marked by \boxed{...} or, as in GSM8K, by ####."""

from __future__ import annotations

import re

BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
AFTER_HASHES = re.compile(r"####\s*(.+)")


def final_answer(text: str) -> str | None:
    r"""What stands in the last `\boxed{...}`, else after the last `####` (GSM8K); None without either."""
    boxes = list(BOX.finditer(text))
    if boxes:
        return _braced(text, boxes[-1].end())
    found = AFTER_HASHES.findall(text)
    return found[-1] if found else None


def _braced(text: str, start: int) -> str | None:
    """Text from `start` up to the brace that closes; None where it never does (the response was cut off)."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[start:place]
    return None


def marked_or_all(text: str) -> str:
    marked = final_answer(text)
    return (text if marked is None else marked).strip()
