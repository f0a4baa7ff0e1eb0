"""A world: prompts of three domains, authors who answer them, and gold computed from the text
alone.
"""

import random
from dataclasses import dataclass

from concord.sandbox import arithmetic, tutoring, values
from concord.sandbox.lexicon import LEXICONS
from concord.sandbox.sentences import acts
from concord.stage.errors import ParamsError

Messages = list[dict[str, str]]
OBJECTIVES = {
    "math": ("math_accuracy", "math_engagement"),
    "values": ("helpful", "honest", "harmless"),
    "tutoring": ("tutor_accuracy", "tutor_engagement"),
}
DOMAIN = {
    objective: domain for domain, objectives in OBJECTIVES.items() for objective in objectives
}


@dataclass(frozen=True)
class Prompt:
    """One prompt. `group_id` names what must stay in one split; `kind` the question or mistake."""

    messages: Messages
    domain: str
    reference: str | None
    group_id: str
    kind: str


class World:
    """One world with fixed words and facts."""

    def __init__(self, name: str, seed: int) -> None:
        if name not in LEXICONS:
            raise ParamsError(
                f"There is no sandbox world {name!r}. Use one of {', '.join(sorted(LEXICONS))}."
            )
        self.name, self.seed, self.lexicon = name, seed, LEXICONS[name]
        self.facts = values.Facts(self.lexicon, FACT_SEEDS[name])
        self.problems = arithmetic.ProblemReader(self.lexicon)
        self.dialogues = tutoring.DialogueReader(self.lexicon)

    @classmethod
    def build(cls, name: str, seed: int) -> "World":
        """The world `name`. `seed` draws its prompts; the facts depend on the name alone, because
        the base model has learned them.
        """
        return cls(name, seed)

    def prompts(self, domain: str, n: int, seed: int) -> list[Prompt]:
        """`n` prompts of a domain; equal seeds give equal prompts."""
        rng = random.Random(f"{self.name}-{self.seed}-{domain}-{seed}")
        draw = {"math": self._math, "values": self._values, "tutoring": self._tutoring}[domain]
        return [draw(rng) for _ in range(n)]

    def _math(self, rng: random.Random) -> Prompt:
        text, chain = arithmetic.problem(self.lexicon, rng, steps=rng.choice((2, 2, 3)))
        return Prompt(
            _ask(text),
            "math",
            str(chain[-1].result),
            f"{self.name}/math/{text}",
            f"{len(chain)} steps",
        )

    def _values(self, rng: random.Random) -> Prompt:
        question = self.facts.draw(rng)
        return Prompt(_ask(question.text), "values", None, self._group(question), question.kind)

    def _group(self, question: values.Question) -> str:
        """The group of a values question. The locked world is never split, but intervals resample
        its groups: one per subject.
        """
        if self.name == "locked":
            return f"locked/values/{question.subject}"
        topic = question.text if question.kind in ("hazard", "borderline") else question.subject
        return f"{self.name}/values/{question.kind}/{topic}"

    def _tutoring(self, rng: random.Random) -> Prompt:
        messages, text = tutoring.dialogue(self.lexicon, rng)
        situation = self.dialogues.situation(messages)
        if rng.random() < 0.35:
            messages = [
                *messages,
                {"role": "assistant", "content": tutoring.write(situation, rng)},
                {
                    "role": "user",
                    "content": tutoring.student_reply(False, self.lexicon, situation, rng),
                },
            ]
        return Prompt(messages, "tutoring", None, f"{self.name}/tutoring/{text}", situation.mistake)

    def domain(self, messages: Messages) -> str:
        """The domain of a prompt of this world."""
        first = messages[0]["content"]
        if first.startswith("Problem: "):
            return "tutoring"
        return "values" if first in self.facts.questions else "math"

    def kind(self, messages: Messages) -> str:
        """The kind of a values question (known, unknowable, hazard, borderline)."""
        return self.facts.questions[messages[0]["content"]].kind

    def gold(self, messages: Messages, response: str) -> dict[str, float]:
        """Gold of the response on each objective of the prompt's domain, in [0, 1]."""
        domain, first = self.domain(messages), messages[0]["content"]
        if domain == "math":
            return arithmetic.gold(self.problems.steps(first), response)
        if domain == "values":
            return values.gold(self.facts, self.facts.questions[first], response)
        earlier = [
            act
            for message in messages
            if message["role"] == "assistant"
            for act in acts(message["content"])
        ]
        return tutoring.gold(self.dialogues.situation(messages), earlier, response)

    def step_gold(self, messages: Messages, steps: list[str], objective: str) -> list[float]:
        """Gold of each step, (steps,): correctness of the equation for math_accuracy, otherwise
        gold of the text up to that step.
        """
        if objective == "math_accuracy":
            return arithmetic.step_gold(self.problems.steps(messages[0]["content"]), steps)
        return [
            self.gold(messages, "".join(steps[:end]))[objective] for end in range(1, len(steps) + 1)
        ]

    def write(self, messages: Messages, rng: random.Random) -> str:
        """The answer of a newly drawn author."""
        domain, first = self.domain(messages), messages[0]["content"]
        if domain == "math":
            return arithmetic.write(self.problems.steps(first), arithmetic.Author.draw(rng), rng)
        if domain == "values":
            return values.write(
                self.facts, self.facts.questions[first], values.Author.draw(rng), rng
            )
        return tutoring.write(self.dialogues.situation(messages), rng)


FACT_SEEDS = {"dev": 1, "locked": 2, "books": 1}


def _ask(text: str) -> Messages:
    return [{"role": "user", "content": text}]
