"""Tutoring domain: a student shows work with one mistake; a simulated student gives the tutor's
gold.

The tutor sees the solution and a note on the student's confusion, as in MathDial (Macina et al.,
arXiv 2305.14536). The difficulty is to guide the student without giving the answer away.

Mistakes: `operation` (a wrong operation), `slip` (a wrong result), `stop` (a missing step). Gold
depends on the acts of the turn and on the student's profile. Small talk counts as an act. An act
that an earlier turn of the dialogue already had counts half.

- tutor_accuracy = P(next answer is right) = ability + 0.3 if the mistake is named (- 0.15 if
  another one is named) + `hint` if the hint is the right operation (- 0.15 if not) + 0.1 for a
  question + 0.3 if the right answer is told - 0.08 for each act beyond four; at most 0.05 if a
  wrong answer is told; clipped to [0.02, 0.98].
- tutor_engagement = P(stays engaged) = 0.45 + `praise` + `ask` + 0.05 for a hint - 0.4 if the
  answer is told - 0.15 if a mistake is named without praise - 0.12 for each act beyond four,
  clipped to [0.02, 0.98].

A turn with praise, the mistake, a hint and a question has no penalty and need not tell the answer.
"""

import random
from dataclasses import dataclass

from concord.sandbox.arithmetic import LIMIT, ProblemReader, Step, apply, problem
from concord.sandbox.lexicon import Lexicon
from concord.sandbox.sentences import Act, acts, say

Messages = list[dict[str, str]]
MISTAKES = ("operation", "slip", "stop")
FREE_ACTS = 4
NOTES = {
    "operation": "wrong operation at {step}",
    "slip": "wrong sum at {step}",
    "stop": "stopped before {step}",
}


@dataclass(frozen=True)
class Profile:
    """A student: base chance of being right, and the effects of a hint, a question and praise."""

    ability: float
    hint: float
    ask: float
    praise: float


PROFILES = {
    "shy": Profile(ability=0.25, hint=0.35, ask=0.1, praise=0.3),
    "bold": Profile(ability=0.35, hint=0.2, ask=0.3, praise=0.1),
    "tired": Profile(ability=0.25, hint=0.3, ask=0.15, praise=0.2),
    "curious": Profile(ability=0.35, hint=0.25, ask=0.3, praise=0.15),
    "hasty": Profile(ability=0.25, hint=0.35, ask=0.15, praise=0.2),
}


@dataclass(frozen=True)
class Situation:
    """What the tutor should see: right step, kind of mistake, answer, and student."""

    right: Step
    mistake: str
    answer: int
    profile: Profile


class DialogueReader:
    """Parses a dialogue of one world into its situation."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.problems = ProblemReader(lexicon)
        self.profiles = {text: name for name, texts in lexicon.profiles.items() for text in texts}

    def situation(self, messages: Messages) -> Situation:
        """The situation that the first message of the dialogue describes."""
        problem_text, _, rest = (
            messages[0]["content"].removeprefix("Problem: ").partition(" Solution: ")
        )
        work, _, remark = rest.partition(" Student: ")[2].partition(". ")
        chain, shown = self.problems.steps(problem_text), work.removesuffix(".").split(", ")
        for step, line in zip(chain, shown, strict=False):
            if line != str(step):
                mistake = (
                    "slip"
                    if line.startswith(f"{step.left}{step.operation}{step.right}=")
                    else "operation"
                )
                return Situation(step, mistake, chain[-1].result, PROFILES[self.profiles[remark]])
        return Situation(
            chain[len(shown)], "stop", chain[-1].result, PROFILES[self.profiles[remark]]
        )


def dialogue(lexicon: Lexicon, rng: random.Random) -> tuple[Messages, str]:
    """An opening message with one mistake in the student's work, and the text of its problem."""
    text, chain = problem(lexicon, rng, steps=2)
    mistake = rng.choice(MISTAKES)
    position = 1 if mistake == "stop" else rng.randrange(2)
    lines, step = [str(step) for step in chain], chain[position]
    work = (
        lines[:position]
        if mistake == "stop"
        else [*lines[:position], wrong_line(step, mistake, rng)]
    )
    remark = rng.choice([text for texts in lexicon.profiles.values() for text in texts])
    note = NOTES[mistake].format(step="".join(_operands(step)))
    content = (
        f"Problem: {text} Solution: {', '.join(lines)}. Note: {note}. "
        f"Student: {', '.join(work)}. {remark}"
    )
    return [{"role": "user", "content": content}], text


def wrong_line(step: Step, mistake: str, rng: random.Random) -> str:
    """The student's line with the mistake."""
    if mistake == "slip":
        off = rng.choice((-1, 1, 2) if step.result > 1 else (1, 2))
        return f"{step.left}{step.operation}{step.right}={step.result + off}"
    others = [
        o for o in "+-*" if o != step.operation and 0 < apply(step.left, o, step.right) <= 3 * LIMIT
    ]
    operation = rng.choice(others)
    return f"{step.left}{operation}{step.right}={apply(step.left, operation, step.right)}"


def student_reply(right: bool, lexicon: Lexicon, situation: Situation, rng: random.Random) -> str:
    """The student's next message: the right step, or that it is still unclear."""
    remark = rng.choice(
        [
            text
            for name, texts in lexicon.profiles.items()
            for text in texts
            if PROFILES[name] == situation.profile
        ]
    )
    return f"Now I get {situation.right}." if right else f"I still do not see it. {remark}"


def gold(situation: Situation, earlier: list[Act], response: str) -> dict[str, float]:
    """Gold of the tutor's turn after the acts of the `earlier` turns (see the module docstring)."""
    said = acts(response)
    past = {act.kind for act in earlier}
    return {
        "tutor_accuracy": _clip(_accuracy(situation, said, past)),
        "tutor_engagement": _clip(_engagement(situation.profile, said, past)),
    }


def _clip(value: float) -> float:
    return min(0.98, max(0.02, value))


def _act_weight(kind: str, said: list[Act], past: set[str]) -> float:
    """1 if the turn has this act, 0.5 if an earlier turn had it too, 0 without it."""
    return (0.5 if kind in past else 1.0) * any(act.kind == kind for act in said)


def _accuracy(situation: Situation, said: list[Act], past: set[str]) -> float:
    chance = situation.profile.ability
    for mistake in MISTAKES:
        chance += (0.3 if mistake == situation.mistake else -0.15) * _act_weight(
            f"find_{mistake}", said, past
        )
    hints = [act for act in said if act.kind == "hint"]
    if hints:
        right = all(
            (act.slots["a"], act.slots["op"], act.slots["b"]) == _operands(situation.right)
            for act in hints
        )
        chance += (situation.profile.hint if right else -0.15) * _act_weight("hint", said, past)
    chance += 0.1 * _act_weight("ask", said, past) - 0.08 * max(0, len(said) - FREE_ACTS)
    told_numbers = [act.slots["number"] for act in said if act.kind == "tell"]
    if told_numbers:
        return (
            chance + 0.3
            if all(n == str(situation.answer) for n in told_numbers)
            else min(chance, 0.05)
        )
    return chance


def _operands(step: Step) -> tuple[str, str, str]:
    return str(step.left), step.operation, str(step.right)


def _engagement(profile: Profile, said: list[Act], past: set[str]) -> float:
    kinds = {act.kind for act in said}
    chance = (
        0.45
        + profile.praise * _act_weight("praise", said, past)
        + profile.ask * _act_weight("ask", said, past)
    )
    chance += (
        0.05 * _act_weight("hint", said, past)
        - 0.4 * ("tell" in kinds)
        - 0.12 * max(0, len(said) - FREE_ACTS)
    )
    named = any(kind.startswith("find_") for kind in kinds)
    return chance - 0.15 * (named and "praise" not in kinds)


def write(situation: Situation, rng: random.Random) -> str:
    """A random tutor's turn: warm or curt, attentive or not, patient or giving the answer away."""
    warmth, skill, patience = rng.random(), rng.choice((0.8, 0.9, 1.0)), rng.random()
    said = [say("praise", rng)] if rng.random() < warmth * 0.8 else []
    said += [say("chat", rng) for _ in range(2) if rng.random() < 0.35]
    if rng.random() < 0.55:
        named = situation.mistake if rng.random() < skill else rng.choice(MISTAKES)
        said.append(say(f"find_{named}", rng))
    if rng.random() < 0.45:
        said.append(_hint(situation.right, skill, rng))
    said += [say("ask", rng) for _ in range(2) if rng.random() < warmth * 0.4]
    if rng.random() < (1 - patience) * 0.8:
        said.append(say("tell", rng, number=situation.answer))
    said += [say("reread", rng)] * (rng.random() < 0.15 or not said)
    return " ".join(said)


def _hint(step: Step, skill: float, rng: random.Random) -> str:
    operation = step.operation if rng.random() < skill else rng.choice("+-*")
    return say("hint", rng, a=step.left, op=operation, b=step.right)
