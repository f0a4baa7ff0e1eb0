"""Math domain: word problems of two or three steps, with gold for accuracy, steps and engagement.

- math_accuracy: 1 if the number in the last `\\boxed{}` is the answer, else 0.
- step gold: 1 if the equation holds and is the solution's step at that position, else 0.
- math_engagement: 0.1 + 0.3 * min(engaging acts, 3) - 0.25 * max(0, engaging acts - 3), clipped to
  [0, 1]. Narration adds length only.

Authors slip, misread operations, and share a systematic error: with probability 0.3, 0.6 or 0.9
they forget to decrement the tens after borrowing in a subtraction ("borrow-no-decrement"; Brown &
Burton 1978, VanLehn 1990). Slips scatter over many results, so a majority vote corrects them. It
does not correct the systematic error: a vote of models trained on such authors is wrong on problems
whose last step borrows.
"""

import random
import re
from dataclasses import dataclass

from concord.sandbox.lexicon import Lexicon
from concord.sandbox.sentences import acts, say

ENGAGING = ("invite", "check", "relate", "cheer")
_EQUATION = re.compile(r"(\d+)([-+*])(\d+)=(\d+)")
_BOXED = re.compile(r"\\boxed\{(\d+)\}")
LIMIT = 99


@dataclass(frozen=True)
class Step:
    """One operation of the solution."""

    left: int
    operation: str
    right: int

    @property
    def result(self) -> int:
        """Result of the operation."""
        return apply(self.left, self.operation, self.right)

    def __str__(self) -> str:
        return f"{self.left}{self.operation}{self.right}={self.result}"


def apply(left: int, operation: str, right: int) -> int:
    """Result of one operation.

    Examples:
        >>> apply(12, "-", 5)
        7
    """
    return {"+": left + right, "-": left - right, "*": left * right}[operation]


def borrows(left: int, operation: str, right: int) -> bool:
    """Whether this operation is a subtraction that borrows a ten.

    Examples:
        >>> borrows(12, "-", 5), borrows(17, "-", 5)
        (True, False)
    """
    return operation == "-" and left > right and left % 10 < right % 10


def problem(lexicon: Lexicon, rng: random.Random, steps: int) -> tuple[str, list[Step]]:
    """A word problem and its solution; every intermediate result lies in [1, 99]."""
    name, things = rng.choice(lexicon.names), rng.choice(lexicon.objects)
    value = rng.randint(*lexicon.start_range)
    sentences = [rng.choice(lexicon.starts).format(name=name, a=value, things=things)]
    chain: list[Step] = []
    for _ in range(steps):
        step = _random_step(value, lexicon, rng)
        templates = {"+": lexicon.gains, "-": lexicon.losses, "*": lexicon.multiplies}[
            step.operation
        ]
        sentences.append(rng.choice(templates).format(name=name, b=step.right))
        chain.append(step)
        value = step.result
    sentences.append(rng.choice(lexicon.questions).format(name=name, things=things))
    return " ".join(sentences), chain


def _random_step(value: int, lexicon: Lexicon, rng: random.Random) -> Step:
    while True:
        operation = rng.choice("++--*")
        right = rng.randint(2, 3) if operation == "*" else rng.randint(*lexicon.change_range)
        step = Step(value, operation, right)
        if 1 <= step.result <= LIMIT:
            return step


class ProblemReader:
    """Parses a problem of one world into its steps, so that gold depends on the text alone."""

    def __init__(self, lexicon: Lexicon) -> None:
        templates = [
            ("=", lexicon.starts),
            ("+", lexicon.gains),
            ("-", lexicon.losses),
            ("*", lexicon.multiplies),
        ]
        self.readers = [
            (operation, re.compile(_number_pattern(template)))
            for operation, group in templates
            for template in group
        ]

    def steps(self, text: str) -> list[Step]:
        """The solution steps of the problem in `text`."""
        value, chain = 0, []
        for sentence in re.findall(r"[^.!?]+[.!?]", text):
            for operation, reader in self.readers:
                match = reader.fullmatch(sentence.strip())
                if match and operation == "=":
                    value = int(match["number"])
                elif match:
                    chain.append(Step(value, operation, int(match["number"])))
                    value = chain[-1].result
        return chain


def _number_pattern(template: str) -> str:
    parts = re.split(r"\{(\w+)\}", template)
    slots = {
        "name": "[A-Z][a-z]+",
        "things": "[a-z]+",
        "a": r"(?P<number>\d+)",
        "b": r"(?P<number>\d+)",
    }
    return "".join(
        slots[part] if index % 2 else re.escape(part) for index, part in enumerate(parts)
    )


def answer(response: str) -> int | None:
    r"""The number in the last box, or None if there is no box.

    Examples:
        >>> answer(r"12-5=7 \boxed{7}")
        7
    """
    boxes = _BOXED.findall(response)
    return int(boxes[-1]) if boxes else None


def engagement(response: str) -> float:
    """Gold math_engagement of a response (see the module docstring)."""
    engaging = sum(act.kind in ENGAGING for act in acts(response))
    score = 0.1 + 0.3 * min(engaging, 3) - 0.25 * max(0, engaging - 3)
    return min(1.0, max(0.0, score))


def gold(chain: list[Step], response: str) -> dict[str, float]:
    """Gold rewards of a full response."""
    return {
        "math_accuracy": float(answer(response) == chain[-1].result),
        "math_engagement": engagement(response),
    }


def step_gold(chain: list[Step], steps: list[str]) -> list[float]:
    """Gold correctness of each step, (steps,).

    An equation is correct if it is the solution's step at that position. A box is correct if it
    holds the answer. Text with neither is correct. Equations after the last step are wrong.
    """
    labels, position = [], 0
    for text in steps:
        equation, boxed = _EQUATION.search(text), answer(text)
        if equation and position < len(chain):
            labels.append(float(equation.group() == str(chain[position])))
            position += 1
        else:
            labels.append(float(boxed == chain[-1].result if boxed is not None else not equation))
    return labels


@dataclass(frozen=True)
class Author:
    """How an author solves problems; every field is a probability per line."""

    liveliness: float
    wordiness: float
    error: float
    """Probability of a wrong result."""
    misread: float
    """Probability of an operation other than the one in the problem."""
    no_decrement: float
    """Probability that a subtraction with borrowing comes out ten too high."""

    @classmethod
    def draw(cls, rng: random.Random) -> "Author":
        """A random author. Lively authors make more errors, so that the two objectives conflict."""
        liveliness = rng.choice((0.0, 0.1, 0.3, 0.5, 0.9))
        wordiness, error = (
            rng.choice((0.0, 0.2, 0.5)),
            rng.choice((0.02, 0.06, 0.15)) + 0.1 * liveliness,
        )
        return cls(
            liveliness,
            wordiness,
            error,
            misread=error / 2,
            no_decrement=rng.choice((0.3, 0.6, 0.9)),
        )


def write(chain: list[Step], author: Author, rng: random.Random) -> str:
    """An author's solution. Errors carry over to later steps; lively authors add engaging acts."""
    value, lines = chain[0].left, []
    for step in chain:
        operation = (
            step.operation
            if rng.random() > author.misread
            else rng.choice([o for o in "+-*" if o != step.operation])
        )
        result = apply(value, operation, step.right)
        if borrows(value, operation, step.right) and rng.random() < author.no_decrement:
            result += 10
        elif rng.random() < author.error:
            result += rng.choice((-10, -2, -1, 1, 2, 10))
        line = f"{value}{operation}{step.right}={max(result, 0)}"
        value = max(result, 0)
        lines.append(_add_acts(line, author, rng))
    return "\n\n".join([*lines, f"\\boxed{{{value}}}"])


def _add_acts(line: str, author: Author, rng: random.Random) -> str:
    said = [say(rng.choice(ENGAGING), rng) for _ in range(2) if rng.random() < author.liveliness]
    said += [say("narrate", rng)] * (rng.random() < author.wordiness)
    return " ".join([*said, line])
