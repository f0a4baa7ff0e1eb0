"""What labels usually mean: words for a and b, yes and no, scales of ratings, names."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from concord.annotations.fields import NUMBER

NOUNS = ("model", "response", "answer", "option", "assistant", "completion")
"""What an answer to compare is called."""
SIDES: dict[str, tuple[str, ...]] = {
    side: (side, *(f"{noun}_{side}" for noun in NOUNS), *others)
    for side, others in {"a": ("left", "first"), "b": ("right", "second")}.items()
}
SIDES["tie"] = (
    *("tie", "tied", "tie_(bothbad)", "both_bad", "bothbad", "both_good", "draw", "equal"),
    *("same", "about_the_same", "equally_good", "equally_bad", "both", "neither", "no_preference"),
)
WORDS = {word: side for side, words in SIDES.items() for word in words}
"""What columns call the preferred answer, in lower case, with underscores between words."""
COMPARED = re.compile(r"(\w+) *(>+|<+|=+) *(\w+)")
"""Such as A>B."""
BETTER = re.compile(
    r"(?:the )?(?:(?:answer|response|model|option|assistant|completion)[ _])?(\w+)"
    r"(?: (?:is|was))?(?: (?:much|clearly|slightly|somewhat|significantly|a lot))? "
    r"(?:better|preferred|wins|won)"
)
"""Such as: Answer 1 is slightly better."""
SIDE_NUMBERS = ({"0": "a", "1": "b"}, {"1": "a", "2": "b"}, {"-1": "a", "0": "tie", "1": "b"})
SCALES = ((0, 1), (1, 5), (0, 4), (0, 5), (1, 7), (1, 10), (0, 10), (1, 100), (0, 100))
"""Common scales, the likeliest first."""
GRADES = (
    ("very poor", "poor", "fair", "good", "very good", "excellent"),
    ("terrible", "poor", "average", "good", "excellent"),
    ("very bad", "bad", "ok", "good", "very good"),
    ("strongly disagree", "disagree", "neutral", "agree", "strongly agree"),
    ("very dissatisfied", "dissatisfied", "neutral", "satisfied", "very satisfied"),
    ("never", "rarely", "sometimes", "often", "always"),
    ("low", "medium", "high"),
    ("no", "partly", "yes"),
    ("f", "d", "c", "b", "a"),
)
"""Grades in words, the worst first."""
YES = (
    *("yes", "good", "up", "correct", "right", "pass", "passed", "safe", "accept", "accepted"),
    *("true", "1", "+", "+1", "desirable", "thumbs_up", "thumb_up", "like", "liked", "positive"),
    *("acceptable", "approved", "harmless", "\N{THUMBS UP SIGN}"),
)
NO = (
    *("no", "bad", "down", "incorrect", "wrong", "fail", "failed", "unsafe", "reject", "rejected"),
    *("false", "0", "-", "-1", "undesirable", "thumbs_down", "thumb_down", "dislike", "disliked"),
    *("negative", "unacceptable", "harmful", "\N{THUMBS DOWN SIGN}"),
)
NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERED = re.compile(
    r"(\d+(?:\.\d+)?) *(?:(stars?|points?|%)|(?:/|of|out of) *(\d+)|[-:=(] *\D+)?"
)
"""A rating that is a number with words after it: 4 stars, 80%, 3/5, 5 - very good."""
STARS = re.compile("([\N{BLACK STAR}\N{WHITE MEDIUM STAR}]*)(\N{WHITE STAR}*)")

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


def word(said: Any) -> str:
    """What a cell says, in lower case, with underscores between words.

    Examples:
        >>> word(" Model A"), word("tie (bothbad)"), word(1.0)
        ('model_a', 'tie_(bothbad)', '1')
    """
    if isinstance(said, float) and said.is_integer():
        said = int(said)
    return re.sub(r"[\s_]+", "_", str(said).strip()).casefold()


def side(said: str) -> str:
    """a, b or tie, if `WORDS` has what a cell says; else the same text.

    Examples:
        >>> side("Model_A"), side("neither"), side("C")
        ('a', 'tie', 'C')
    """
    return WORDS.get(word(said), said)


def sides(said: Collection[str], one: str, other: str) -> dict[str, str] | None:
    """Value -> a, b or tie; empty if `WORDS` has all values, None if their meaning is unknown.

    Args:
        said: the distinct values of a column.
        one: the column of the first answer, which may itself be a value.
        other: the column of the second answer.

    Examples:
        >>> sides(["1", "2"], "first", "second")
        {'1': 'a', '2': 'b'}
        >>> sides(["Answer 2 is better", "A=B"], "answer_1", "answer_2")
        {'Answer 2 is better': 'b', 'A=B': 'tie'}
    """
    if said and all(word(value) in WORDS for value in said):
        return {}
    if (named := named_sides(said, one, other)) is not None:
        return named
    for numbered in SIDE_NUMBERS if len(said) > 1 else ():  # one number alone may mean either
        if {*said} <= numbered.keys():
            return {value: numbered[value] for value in said}
    return None


def named_sides(said: Collection[str], one: str, other: str) -> dict[str, str] | None:
    """Value -> a, b or tie, if all values name an answer by a word, or as its column does."""
    names = names_of_sides(one, other)
    meaning = {value: known for value in said if (known := _side_in(value, names)) is not None}
    return meaning if said and len(meaning) == len({*said}) else None


def names_of_sides(one: str, other: str) -> dict[str, str]:
    """What values may call the answers in two columns -> a or b.

    Examples:
        >>> names_of_sides("answer_1", "answer_2")["2"]
        'b'
    """
    names = {name: side for name, side in WORDS.items() if side != "tie"}
    names |= {word(one): "a", word(other): "b"}
    for first, second in zip(plain(one).split("_"), plain(other).split("_"), strict=False):
        if first != second:
            for noun in ("", *(f"{noun}_" for noun in NOUNS)):
                names |= {f"{noun}{first}": "a", f"{noun}{second}": "b"}
    return names


def _side_in(value: str, names: Mapping[str, str]) -> str | None:
    """a, b or tie, if a value says so."""
    if known := names.get(word(value)) or WORDS.get(word(value)):
        return known
    lower = value.strip().casefold()
    if compared := COMPARED.fullmatch(lower):
        left, sign, right = compared.groups()
        if {names.get(left), names.get(right)} != {"a", "b"}:
            return None
        if sign[0] == "=":
            return "tie"
        return names[left if sign[0] == ">" else right]
    better = BETTER.fullmatch(lower)
    return names.get(better[1]) if better else None


def good_or_bad(said: Collection[str]) -> dict[str, int] | None:
    """Value -> 1 or 0, or None if the meaning of one is unknown.

    Examples:
        >>> good_or_bad(["up", "down"])
        {'up': 1, 'down': 0}
    """
    meaning = {value: int(word(value) in YES) for value in said if word(value) in (*YES, *NO)}
    return meaning if said and len(meaning) == len(said) else None


def written_ratings(said: Collection[str]) -> tuple[dict[str, float], list[float]] | None:
    """Rating in words -> number, and the scale; None if one of them is not a number in words.

    Examples:
        >>> written_ratings(["1 star", "4 stars"])
        ({'1 star': 1, '4 stars': 4}, [1, 5])
        >>> written_ratings(["3/5", "4/10"])
    """
    places: dict[str, float] = {}
    tops: set[float] = set()
    for value in said:
        lower = value.strip().casefold()
        numbered, stars = NUMBERED.fullmatch(lower), STARS.fullmatch(lower)
        if lower in NUMERALS:
            places[value] = NUMERALS.index(lower)
        elif numbered:
            number, unit, top = numbered.groups()
            places[value] = float(number) if "." in number else int(number)
            tops.add(100 if unit == "%" else int(top or 0))
        elif stars and lower:
            places[value] = len(stars[1])
            tops.add(len(lower) if stars[2] else 0)
        else:
            return None
    tops.discard(0)
    if not said or len(tops) > 1 or (tops and max(places.values()) > min(tops)):
        return None
    return places, [0, *tops] if tops else scale([*places.values()])


def grades(said: Collection[str]) -> tuple[dict[str, int], int] | None:
    """Grade in words -> its place in the first order that has all of them, and the best place.

    None if no order has all of them.

    Examples:
        >>> grades(["agree", "disagree"])
        ({'agree': 3, 'disagree': 1}, 4)
    """
    for order in GRADES:
        if said and {value.strip().casefold() for value in said} <= {*order}:
            places = {value: order.index(value.strip().casefold()) for value in said}
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
