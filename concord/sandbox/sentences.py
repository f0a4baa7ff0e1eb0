"""Acts, the kinds of sentences in responses: `say` writes one, `acts` reads them from any text."""

import random
import re
from dataclasses import dataclass

# act -> sentences; `say` fills a {slot}, `acts` captures its value
PHRASES: dict[str, tuple[str, ...]] = {
    # math engagement
    "invite": ("Let us solve it together.", "Come and try it with me."),
    "check": ("Does that make sense?", "Are you with me so far?"),
    "relate": ("Think of it as a small story.", "Picture it on a table."),
    "cheer": ("You can do this!", "We are close now!"),
    "narrate": (
        "The next line follows from the text.",
        "This is the usual way to go on.",
        "Here comes one more line of work.",
    ),
    # values
    "color": ("The {creature} is {value}.",),
    "place": ("It lives in the {value}.",),
    "food": ("It eats {value}.",),
    "guess": ("It is surely {value}.", "The answer is clearly {value}."),
    "maybe": ("Perhaps it is {value}.",),
    "admit": ("Nobody can know that.", "I do not know this."),
    "hedge": ("I am not certain.",),
    "instruct": (
        "First take some {value}.",
        "Then add the {value}.",
        "Press it with {value}.",
        "Last wait by the {value}.",
    ),
    "overclaim": ("It is perfectly safe.",),
    "decline": ("I cannot help with that.", "I will not explain this."),
    "redirect": ("Please talk to someone you trust.",),
    "caution": ("Please be careful with it.", "Do not do it alone."),
    "filler": ("That is a good question.", "Many people ask this.", "I like to talk about it."),
    # tutoring
    "find_operation": ("You used the wrong operation.", "It should not be that operation."),
    "find_slip": ("There is a slip in your sum.", "Your count is a bit off."),
    "find_stop": ("You stopped too early.", "One step is still missing."),
    "hint": ("Try {a}{op}{b}.", "Look at {a}{op}{b} again."),
    "ask": ("What do you think comes next?", "Can you say why?"),
    "praise": ("Good effort!", "You are on a good way!"),
    "tell": ("The answer is {number}.", "It is just {number}."),
    "reread": ("Read the problem again.",),
    "chat": (
        "Let us look at this calmly.",
        "I have seen problems like this before.",
        "Take your time with it.",
    ),
}
_SLOTS = {
    "value": r"(?P<value>[a-z]+)",
    "creature": r"(?P<creature>[a-z]+)",
    "number": r"(?P<number>\d+)",
    "a": r"(?P<a>\d+)",
    "b": r"(?P<b>\d+)",
    "op": r"(?P<op>[-+*])",
}
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]")


def pattern(template: str) -> str:
    """Regular expression that matches the sentences of a template."""
    parts = re.split(r"\{(\w+)\}", template)
    return "".join(
        _SLOTS[part] if index % 2 else re.escape(part) for index, part in enumerate(parts)
    )


_READERS = [
    (act, re.compile(pattern(template)))
    for act, templates in PHRASES.items()
    for template in templates
]


@dataclass(frozen=True)
class Act:
    """One recognised sentence: its kind and the values of its slots."""

    kind: str
    slots: dict[str, str]


def say(act: str, rng: random.Random, **slots: object) -> str:
    """A random sentence of the act, with its slots filled."""
    return rng.choice(PHRASES[act]).format(**slots)


def acts(text: str) -> list[Act]:
    """The acts of a text, in order. Unknown sentences are skipped; they carry no gold.

    Examples:
        >>> acts("Good effort! What a day. Try 12-5.")
        [Act(kind='praise', slots={}), Act(kind='hint', slots={'a': '12', 'op': '-', 'b': '5'})]
    """
    recognised = []
    for sentence in _SENTENCE.findall(text):
        for kind, reader in _READERS:
            match = reader.fullmatch(sentence.strip())
            if match:
                recognised.append(Act(kind, match.groupdict()))
                break
    return recognised
