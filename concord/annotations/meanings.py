"""What labels usually mean: words for a and b, yes and no, scales of ratings, names."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import Any

from concord.annotations.fields import NUMBER

SIDES: dict[str, tuple[str, ...]] = {"a": ("a", "model_a", "response_a", "answer_a", "left")}
SIDES["b"] = ("b", "model_b", "response_b", "answer_b", "right")
SIDES["tie"] = ("tie", "tie (bothbad)", "both_bad", "bothbad", "draw", "equal")
WORDS = {word: side for side, words in SIDES.items() for word in words}
"""What columns call the preferred answer, in lower case."""
SIDE_NUMBERS = ({"0": "a", "1": "b"}, {"1": "a", "2": "b"}, {"-1": "a", "0": "tie", "1": "b"})
SCALES = ((0, 1), (1, 5), (0, 4), (0, 5), (1, 7), (1, 10), (0, 10), (1, 100), (0, 100))
"""Common scales, the likeliest first."""
GRADES = (
    ("very poor", "poor", "fair", "good", "very good", "excellent"),
    ("very bad", "bad", "ok", "good", "very good"),
    ("strongly disagree", "disagree", "neutral", "agree", "strongly agree"),
    ("low", "medium", "high"),
    ("no", "partly", "yes"),
)
"""Grades in words, the worst first."""
YES = ("yes", "good", "up", "correct", "right", "pass", "passed", "safe", "accept", "accepted")
NO = ("no", "bad", "down", "incorrect", "wrong", "fail", "failed", "unsafe", "reject", "rejected")

WORD = re.compile(r"[A-Za-z]+|\d+")


def plain(name: str) -> str:
    """A name in lower case, with single underscores between its words.

    Examples:
        >>> plain("Answer 1"), plain("modelResponse")
        ('answer_1', 'model_response')
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return "_".join(WORD.findall(spaced)).lower()


def as_objective(name: str) -> str:
    """A name as the name of an objective: it begins with a letter.

    Examples:
        >>> as_objective("5-star Quality")
        'of_5_star_quality'
    """
    simple = plain(name)
    return simple if simple[:1].isalpha() else f"of_{simple}".rstrip("_")


def sides(said: Collection[str], one: str, other: str) -> dict[str, str] | None:
    """Value -> a, b or tie; empty if `WORDS` has all values, None if their meaning is unknown.

    Args:
        said: the distinct values of a column.
        one: the column of the first answer, which may itself be a value.
        other: the column of the second answer.

    Examples:
        >>> sides(["1", "2"], "first", "second")
        {'1': 'a', '2': 'b'}
    """
    if said and all(word.strip().casefold() in WORDS for word in said):
        return {}
    named = {one: "a", other: "b"} | {
        word: WORDS[word.casefold()] for word in said if word.casefold() in WORDS
    }
    for meaning in (named, *SIDE_NUMBERS):
        if said and {*said} <= meaning.keys():
            return {word: meaning[word] for word in said}
    return None


def good_or_bad(said: Collection[str]) -> dict[str, int] | None:
    """Value -> 1 or 0, or None if the meaning of one is unknown.

    Examples:
        >>> good_or_bad(["up", "down"])
        {'up': 1, 'down': 0}
    """
    meaning = {
        word: int(word.strip().casefold() in YES)
        for word in said
        if word.strip().casefold() in (*YES, *NO)
    }
    return meaning if said and len(meaning) == len(said) else None


def grades(said: Collection[str]) -> tuple[dict[str, int], int] | None:
    """Grade in words -> its place in the first order that has all of them, and the best place.

    None if no order has all of them.

    Examples:
        >>> grades(["agree", "disagree"])
        ({'agree': 3, 'disagree': 1}, 4)
    """
    for order in GRADES:
        if said and {word.strip().casefold() for word in said} <= {*order}:
            places = {word: order.index(word.strip().casefold()) for word in said}
            return places, len(order) - 1
    return None


def numbers(values: Sequence[Any]) -> list[float]:
    """The values that are finite numbers, or text that is one."""
    given = [
        float(value)
        for value in values
        if not isinstance(value, bool | list | dict) and NUMBER.fullmatch(str(value))
    ]
    return [value for value in given if math.isfinite(value)]


def scale(given: Sequence[float]) -> list[float]:
    """The likeliest scale of these ratings: the first common one that contains them.

    Examples:
        >>> scale([2, 5]), scale([7.5, -3])
        ([1, 5], [-3, 7.5])
    """
    for low, high in SCALES:
        if low <= min(given) and max(given) <= high:
            return [low, high]
    return [min(given), max(given)]
