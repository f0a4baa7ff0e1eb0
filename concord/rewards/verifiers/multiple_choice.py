"""Verifier `multiple_choice`: the response chooses the same letter as the reference."""

from __future__ import annotations

import math
import re

from concord.rewards.verifiers.final_answer import final_answer, final_answer_or_text
from concord.stage.errors import DataError

MARKUP = re.compile(
    r"(?:\\(?:text|math)(?:bf|rm|it|sf)?(?=\s*\{)|\\(?:boldsymbol|bm)(?=\s*\{)|[\\{}$*_`\s])+"
)
LETTER = r"(?:[(\[][A-Ja-j][)\]]|\b[A-J]\b(?!\.[a-zA-Z])[)\]]?)"  # not the I of "I.e."
LETTERS = (
    rf"{LETTER}(?: ?(?:/|&|\bor\b|\band\b) ?{LETTER}"
    rf"| ?,(?: (?:or|and))? ?{LETTER}(?! [a-z])){{0,9}}"  # not the I of "B, I think"
)
LEADING = re.compile(rf"({LETTERS})(?:$|[.:](?:\s.*|$)|(?<=[)\]]).*)")
NEITHER = re.compile(
    r"(?i:\bneither\b)[^.;]{0,100}?(?i:\bnor\b(?: option| choice)?) ?[(\[]?[A-J]\b[)\]]?"
)
_OPTION = r"(?:(?:the )?(?:options?|choices?|answers?|letters?) )?"
_QUESTION = r"\b(?:answer|(?:correct|right|best|my) (?:option|choice|letter|one|pick))"
_VERB = r"(?: (?:is|must be|has to be|should be|would be))"
_CORRECT = (
    r"(?:the )?(?:(?:correct|right|best|only|final) )*"
    r"(?:answer|option|choice|one|correct|right|true)"
    r"\b(?! (?:of|if|only|next|when))"
)
STATED = [
    re.compile(pattern)
    for pattern in (
        # The answer is B. Correct option: (B).
        rf"(?i:{_QUESTION}{_VERB}? ?:? ?{_OPTION}(?:either )?)({LETTERS})"
        r"(?! (?:is|are) (?:not|wrong|incorrect|false)\b)",
        # The answer is b.
        rf"(?i:{_QUESTION}(?:{_VERB} ?:?| ?:) ?{_OPTION})([a-j])(?=[.;!]*(?:$|\s+[A-Z]))",
        # Option B is correct. B is the right answer.
        rf"(?i:{_OPTION})({LETTERS})(?i: (?:is|are|must be|has to be)(?: both)? {_CORRECT})",
        # It must be B. So it is B. I choose B.
        r"(?i:\b(?:it(?:'s| is| must be| has to be| should be)|choose|pick|select|go with)"
        rf" {_OPTION})({LETTERS})(?! ?(?!because|since|as|so)[a-z])",
        # Therefore, B.
        rf"(?i:\b(?:therefore|hence|thus),? {_OPTION})({LETTERS})(?=[.!]*(?:$| [A-Z]))",
    )
]
BRACKETED = re.compile(r"[(\[][A-J][)\]]")


def verify(response: str, reference: str | None) -> float:
    r"""1 if the response chooses the letter of `reference` (A to J), else 0.

    A response that chooses several letters, or none, is wrong. The choice is read from the first of
    these that the response contains:

    1. the last marked answer, such as \boxed{B}, <answer>B</answer> or #### B;
    2. statements such as "The answer is B.", "Option B is correct." or "It must be B.";
    3. the start of the response, such as "B", "(B)" or "B) text";
    4. letters in brackets.

    Raises:
        DataError: `reference` is not a single letter from A to J.

    Examples:
        >>> verify("A is in Spain. The answer is **B**.", "B")
        1.0
        >>> verify("Either (A) or (B)", "B")
        0.0
    """
    if reference is None:
        return math.nan
    expected = _leading_letters(final_answer_or_text(reference))
    if len(expected) != 1:
        raise DataError(
            f"the reference {reference!r} is not a single letter from A to J; "
            "give the letter or use the verifier exact_match"
        )
    return float(_chosen_letters(response) == expected)


def _chosen_letters(response: str) -> set[str]:
    """The letters that a response chooses; several if it is ambiguous."""
    marked = final_answer(response)
    if marked is not None:
        return _leading_letters(marked) or _stated_letters(MARKUP.sub(" ", marked))
    text = MARKUP.sub(" ", response)
    return (
        _stated_letters(text)
        or _leading_letters(response.strip().partition("\n")[0])
        or {bracketed[1] for bracketed in BRACKETED.findall(text)}
    )


def _stated_letters(text: str) -> set[str]:
    """The letters in all statements of a text."""
    text = NEITHER.sub(" ", text)
    return _single_letters(
        " ".join(letters for pattern in STATED for letters in pattern.findall(text))
    )


def _leading_letters(text: str) -> set[str]:
    """The letters that `text` starts with. A letter on its own may be lower-case."""
    text = MARKUP.sub(" ", text).strip()
    single = re.fullmatch(r"\W*([A-Ja-j])\W*", text)
    if single:
        return {single[1].upper()}
    leading = LEADING.match(text)
    return _single_letters(leading[1]) if leading else set()


def _single_letters(text: str) -> set[str]:
    return {letter.upper() for letter in re.findall(r"\b[A-Ja-j]\b", text)}
