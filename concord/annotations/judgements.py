"""Comparisons and labels of answers, built the same way for many formats."""

from collections.abc import Mapping, Sequence
from typing import Any

from concord.annotations.dialogues import Turn, group_id
from concord.annotations.fields import shorten, text
from concord.annotations.record import RowError

Annotation = dict[str, Any]


def comparison(
    messages: Sequence[Turn],
    answers: tuple[str, str],
    preferred: str,
    objective: str,
    annotator: str,
    authors: Sequence[str | None] | None = None,
    margin: float | None = None,
) -> Annotation:
    """A comparison of two answers; `preferred` is a, b or tie. The group is the first user turn."""
    return {
        "kind": "comparison",
        "group_id": group_id(messages),
        "messages": list(messages),
        "a": answers[0],
        "b": answers[1],
        "preferred": preferred,
        "margin": margin,
        "authors": None if authors is None else list(authors),
        "objective": objective,
        "annotator": annotator,
    }


def yes_or_no(
    messages: Sequence[Turn], response: str, label: bool, objective: str, annotator: str
) -> Annotation:
    """A binary label of an answer. The group is the first user turn."""
    return {
        "kind": "binary",
        "group_id": group_id(messages),
        "messages": list(messages),
        "response": response,
        "label": int(label),
        "objective": objective,
        "annotator": annotator,
    }


def demonstration(
    messages: Sequence[Turn], domain: str, column: str, author: str = "unknown"
) -> Annotation:
    """A dialogue that ends with the answer to imitate. Raises RowError for another end."""
    if not messages or messages[-1]["role"] != "assistant":
        raise RowError("roles_do_not_alternate", column, "does not end with an assistant turn")
    return {
        "kind": "demonstration",
        "group_id": group_id(messages),
        "messages": list(messages[:-1]),
        "response": messages[-1]["content"],
        "domain": domain,
        "author": author,
    }


def author(row: Mapping[str, Any], key: str) -> str | None:
    """Who wrote an answer, if the row says so."""
    return None if row.get(key) is None else text(row, key)


def by_sign(score: float, most: float, column: str) -> tuple[str, float]:
    """Which of two answers a score prefers, and its strength: negative a, positive b, 0 a tie."""
    if abs(score) > most:
        raise RowError("off_scale", column, f"{shorten(score)} is outside {-most:g} to {most:g}")
    if score == 0:
        return "tie", 0.0
    return ("a" if score < 0 else "b"), abs(score)
