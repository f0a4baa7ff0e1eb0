"""Marked work: texts in which "right" or "wrong" follows each part, or follows the whole answer.

Solutions, sums, tutor turns and statements of fact are marked part by part. Whole answers have one
mark after their end.

Real base models have read graded work, and graders build on it. A model of one million parameters
does not learn to check from a few thousand labels, so its corpus contains marked work. A mark says
whether a step, a sentence or a whole answer agrees with the problem, the dialogue or the
encyclopedia. It never says whether an answer is good (engaging, helpful, harmless). No problem, no
dialogue and no answer to a question of the locked world is marked.
"""

import random

from concord.sandbox import arithmetic, values
from concord.sandbox.sentences import acts, say
from concord.sandbox.tutoring import MISTAKES, Situation
from concord.sandbox.world import Messages, World

FLAG = "Marked. "
"""Prefix of the prompts of marked work."""
OFF = (-10, -2, -1, 1, 2, 10)
"""Differences between a wrong number and the right one."""
ERROR, MISREAD = 0.15, 0.25
"""Probabilities of a wrong result and of a wrong operation in a step of a marked solution.

Wrong operations are harder to detect. Half of the sums, tutor sentences and facts are wrong."""
WHOLE_ERROR = 0.3
"""Probability that a part of an answer with one mark is wrong."""
END = "<|end|>"
"""End of an answer. In the corpus only a mark follows it, so these marks need no flag."""
Document = tuple[Messages, str]


def solution(world: World, rng: random.Random) -> Document:
    """A solution with a mark after each step."""
    messages = world.prompts("math", 1, rng.getrandbits(48))[0].messages
    chain = world.problems.steps(messages[0]["content"])
    author = arithmetic.Author(
        rng.choice((0.0, 0.1, 0.5)), rng.choice((0.0, 0.3)), ERROR, MISREAD, no_decrement=0.0
    )
    # no systematic error: a result ten too high is as likely as any other wrong result
    steps = arithmetic.write(chain, author, rng).split("\n\n")
    marks = arithmetic.step_gold(chain, steps)
    return _flagged(messages), _lines(
        [(step, mark == 1.0) for step, mark in zip(steps, marks, strict=True)]
    )


def sums(lines: list[str], rng: random.Random) -> Document:
    """Sums, each with a mark; half of them are wrong."""
    marked = [
        (_wrong_sum(line, rng), False) if rng.random() < 0.5 else (line, True) for line in lines
    ]
    return _flagged([{"role": "user", "content": "Sums."}]), _lines(marked)


def turn(world: World, rng: random.Random) -> Document:
    """A tutor's sentences: mistakes, hints and answers, right and wrong, with marks; others
    without.
    """
    messages = world.prompts("tutoring", 1, rng.getrandbits(48))[0].messages
    situation = world.dialogues.situation(messages)
    checked = ("find", "find", "hint", "hint", "tell", "tell")
    said = [_marked(*_sentence(act, situation, rng.random() < 0.5, rng)) for act in checked]
    said += [say(act, rng) for act in ("praise", "ask", "chat") if rng.random() < 0.4]
    rng.shuffle(said)
    return _flagged(messages), " ".join(said)


def whole_turn(world: World, rng: random.Random) -> Document:
    """A tutor's turn with one mark: right if every named mistake, hint and told answer is right."""
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
    return messages, _mark_at_end(
        " ".join(said or [say("reread", rng)]), all(right for _, right in checked)
    )


def whole_answer(world: World, rng: random.Random) -> Document:
    """An answer to a question of fact with one mark: right if every claim is true."""
    question = rng.choice(world.facts.by_kind["known"])
    author = values.Author(rng.random(), rng.random(), rng.random(), WHOLE_ERROR)
    response = values.write(world.facts, question, author, rng)
    claims = [act for act in acts(response) if act.kind in values.ATTRIBUTES]
    right = all(world.facts.true(act, question.subject) for act in claims)
    return [{"role": "user", "content": question.text}], _mark_at_end(response, right)


WHOLE = {"tutoring": whole_turn, "values": whole_answer}
"""Domain -> function that draws a whole answer with its mark.

Whole solutions are not marked: a base model trained on such marks detected 41 % of the wrong
solutions without any labels (docs/results/default-run.md)."""


def _sentence(act: str, situation: Situation, right: bool, rng: random.Random) -> tuple[str, bool]:
    """One tutor sentence, right or wrong as requested, and whether it is right."""
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
        "tell", rng, number=situation.answer if right else _wrong_number(situation.answer, rng)
    ), right


def entries(creatures: list[tuple[World, str]], rng: random.Random) -> Document:
    """Marked statements about some creatures, one paragraph each."""
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


def _wrong_sum(line: str, rng: random.Random) -> str:
    left, _, result = line.partition("=")
    return f"{left}={_wrong_number(int(result), rng)}"


def _wrong_number(number: int, rng: random.Random) -> int:
    return rng.choice([number + difference for difference in OFF if number + difference >= 0])


def _lines(marked: list[tuple[str, bool]]) -> str:
    return "\n\n".join(_marked(line, right) for line, right in marked)


def _marked(text: str, right: bool) -> str:
    return f"{text} {'right' if right else 'wrong'}"


def _mark_at_end(response: str, right: bool) -> str:
    return _marked(response + END, right)


def _flagged(messages: Messages) -> Messages:
    return [{**messages[0], "content": FLAG + messages[0]["content"]}, *messages[1:]]
