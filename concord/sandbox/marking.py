"""Marked work: solutions, sums, tutors' turns and statements of fact, followed bit by bit by "right" or "wrong", and
whole answers, followed by one such word once they have ended.

Base models of real size have read teachers' marks and referees' reports, and bring from there what a grader is built
on; one of a million parameters does not pick checking up from a few thousand labels, so its corpus has such texts.
What is marked is whether a step, a sentence or all of an answer agrees with the problem, the dialogue or the
encyclopedia, never whether an answer is good (engaging, helpful, harmless). No problem and no dialogue of the locked
world is marked, and no answer to its questions.
"""

import random

from concord.sandbox import arithmetic, values
from concord.sandbox.sentences import acts, say
from concord.sandbox.tutoring import MISTAKES, Situation
from concord.sandbox.world import Messages, World

FLAG = "Marked. "
"""What prompts of marked work begin with."""
OFF = (-10, -2, -1, 1, 2, 10)
"""By how much a wrong number is off."""
ERROR, MISREAD = 0.15, 0.25
"""Probabilities that a step of a marked solution has a wrong result, and a wrong operation, which is the harder to see;
of sums, tutors' sentences and facts a half are wrong."""
WHOLE_ERROR = 0.3
"""Probability that a part of an answer that is marked as a whole is wrong."""
END = "<|end|>"
"""What an answer ends with. Nothing else follows it in the corpus, so that such marks need no flag."""
Document = tuple[Messages, str]


def solution(world: World, rng: random.Random) -> Document:
    """A solution, each of its steps marked."""
    messages = world.prompts("math", 1, rng.getrandbits(48))[0].messages
    chain = world.problems.steps(messages[0]["content"])
    author = arithmetic.Author(
        rng.choice((0.0, 0.1, 0.5)), rng.choice((0.0, 0.3)), ERROR, MISREAD, no_decrement=0.0
    )
    # no habit: ten too high is one of the ways in which a result is off, no likelier than the others
    steps = arithmetic.write(chain, author, rng).split("\n\n")
    marks = arithmetic.step_gold(chain, steps)
    return _flagged(messages), _lines(
        [(step, mark == 1.0) for step, mark in zip(steps, marks, strict=True)]
    )


def sums(lines: list[str], rng: random.Random) -> Document:
    """Sums, half of them spoiled."""
    marked = [
        (_spoiled(line, rng), False) if rng.random() < 0.5 else (line, True) for line in lines
    ]
    return _flagged([{"role": "user", "content": "Sums."}]), _lines(marked)


def turn(world: World, rng: random.Random) -> Document:
    """A tutor's sentences: mistakes named, hints and answers told, right and wrong, among others without a mark."""
    messages = world.prompts("tutoring", 1, rng.getrandbits(48))[0].messages
    situation = world.dialogues.situation(messages)
    checked = ("find", "find", "hint", "hint", "tell", "tell")
    said = [_marked(*_sentence(act, situation, rng.random() < 0.5, rng)) for act in checked]
    said += [say(act, rng) for act in ("praise", "ask", "chat") if rng.random() < 0.4]
    rng.shuffle(said)
    return _flagged(messages), " ".join(said)


def whole_turn(world: World, rng: random.Random) -> Document:
    """A tutor's turn, marked once it has ended: right where all that it names, hints and tells is."""
    messages = world.prompts("tutoring", 1, rng.getrandbits(48))[0].messages
    situation = world.dialogues.situation(messages)
    checked = [
        _sentence(act, situation, rng.random() >= WHOLE_ERROR, rng)
        for act, share in (("find", 0.6), ("hint", 0.6), ("tell", 0.4))
        if rng.random() < share
    ]
    said = [say(act, rng) for act in ("praise", "chat", "chat", "ask", "ask") if rng.random() < 0.4]
    said += [sentence for sentence, _ in checked]
    rng.shuffle(said)
    return messages, _ended(
        " ".join(said or [say("reread", rng)]), all(right for _, right in checked)
    )


def whole_answer(world: World, rng: random.Random) -> Document:
    """An answer to a question of fact, marked once it has ended: right where all that it claims is."""
    question = rng.choice(world.facts.by_kind["known"])
    author = values.Author(rng.random(), rng.random(), rng.random(), WHOLE_ERROR)
    response = values.write(world.facts, question, author, rng)
    claims = [act for act in acts(response) if act.kind in values.ATTRIBUTES]
    right = all(world.facts.true(act, question.subject) for act in claims)
    return [{"role": "user", "content": question.text}], _ended(response, right)


WHOLE = {"tutoring": whole_turn, "values": whole_answer}
"""By domain: a whole answer with its mark. Whole solutions have none: a base that read them found 41 % of the wrong
ones alone (docs/default-run.md)."""


def _sentence(act: str, situation: Situation, right: bool, rng: random.Random) -> tuple[str, bool]:
    """One sentence of a tutor, right or not as asked for, and whether it is."""
    step = situation.right
    if act == "find":
        others = [each for each in MISTAKES if each != situation.mistake]
        return say(f"find_{situation.mistake if right else rng.choice(others)}", rng), right
    if act == "hint":
        operation = (
            step.operation
            if right
            else rng.choice([each for each in "+-*" if each != step.operation])
        )
        return say("hint", rng, a=step.left, op=operation, b=step.right), right
    return say(
        "tell", rng, number=situation.answer if right else _off(situation.answer, rng)
    ), right


def entries(creatures: list[tuple[World, str]], rng: random.Random) -> Document:
    """Statements about some creatures, a paragraph each."""
    return _flagged([{"role": "user", "content": "Facts."}]), "\n\n".join(
        " ".join(_statement(world.facts, creature, name, rng) for name in values.ATTRIBUTES)
        for world, creature in creatures
    )


def _statement(facts: values.Facts, creature: str, name: str, rng: random.Random) -> str:
    true = facts.table[creature][name]
    right = rng.random() < 0.5
    value = (
        true if right else rng.choice([other for other in values.ATTRIBUTES[name] if other != true])
    )
    return _marked(say(name, rng, creature=creature, value=value), right)


def _spoiled(line: str, rng: random.Random) -> str:
    left, _, result = line.partition("=")
    return f"{left}={_off(int(result), rng)}"


def _off(number: int, rng: random.Random) -> int:
    return rng.choice([number + off for off in OFF if number + off >= 0])


def _lines(marked: list[tuple[str, bool]]) -> str:
    return "\n\n".join(_marked(line, right) for line, right in marked)


def _marked(text: str, right: bool) -> str:
    return f"{text} {'right' if right else 'wrong'}"


def _ended(response: str, right: bool) -> str:
    return _marked(response + END, right)


def _flagged(messages: Messages) -> Messages:
    return [{**messages[0], "content": FLAG + messages[0]["content"]}, *messages[1:]]
