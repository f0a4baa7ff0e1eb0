"""The acts a response is made of: each act has its sentences, and `acts` reads them back out of any text."""

import random
import re
from dataclasses import dataclass

# act -> sentences; a {slot} is filled by the writer and captured by the reader
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
    """The regular expression a template's sentences match."""
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
    """One sentence, understood: its kind and what filled its slots."""

    kind: str
    slots: dict[str, str]


def say(act: str, rng: random.Random, **slots: object) -> str:
    """One of the act's sentences with its slots filled."""
    return rng.choice(PHRASES[act]).format(**slots)


def acts(text: str) -> list[Act]:
    """The acts of a text in their order; sentences outside the inventory are skipped (they carry no gold)."""
    found = []
    for sentence in _SENTENCE.findall(text):
        for kind, reader in _READERS:
            match = reader.fullmatch(sentence.strip())
            if match:
                found.append(Act(kind, match.groupdict()))
                break
    return found
