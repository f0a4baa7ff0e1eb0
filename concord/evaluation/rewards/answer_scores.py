"""Scores of many answers by a trained reward model, with a progress bar and the cost beforehand."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from concord.annotations.steps import split
from concord.evaluation.rewards.process_report import solution_scores
from concord.evaluation.rewards.trained_models import TrainedModel
from concord.lm.chat import Messages, assistant_header, render, text_ids
from concord.stage import progress

CHUNK = 128
FIRST = 8
"""Number of answers by which the time of the others is estimated."""


@dataclass(frozen=True)
class Answer:
    """A prompt with an answer, as one text or as steps."""

    messages: Messages
    steps: tuple[str, ...]
    """The steps of the answer; a single one if it is not divided."""

    @property
    def response(self) -> str:
        """The whole answer."""
        return "".join(self.steps)

    def key(self) -> str:
        """Equal for equal answers to equal prompts, divided into the same steps."""
        return json.dumps([list(self.messages), self.steps], sort_keys=True)


class AnswerScores:
    """The scores of the answers that were added, each computed once."""

    def __init__(self, trained: TrainedModel) -> None:
        self.trained = trained
        self.answers: dict[str, Answer] = {}
        self.scores: dict[str, np.ndarray] = {}
        """Key of an answer -> scores: float32 (heads,), or (steps, heads) of a process model."""
        self.too_long = 0

    def add(self, messages: Messages, response: str) -> str:
        """Notes an answer to be scored; returns its key. A process model divides it into steps."""
        domain = "math" if "\n\n" in response else "values"
        steps = split(response, domain) if self.trained.scores_steps else [response]
        return self.add_steps(messages, steps or [response])

    def add_steps(self, messages: Messages, steps: Sequence[str]) -> str:
        """Notes an answer that is divided into steps; returns its key."""
        parts = tuple(steps) if self.trained.scores_steps else ("".join(steps),)
        answer = Answer(messages, parts)
        key = answer.key()
        self.answers.setdefault(key, answer)
        return key

    def compute(self) -> None:
        """Scores all answers that were added. Prints how many they are, and how long it takes."""
        sizes = {key: self._tokens(answer) for key, answer in self.answers.items()}
        fitting = [key for key, size in sizes.items() if size is not None]
        self.too_long = len(sizes) - len(fitting)
        tokens = sum(size for size in sizes.values() if size is not None)
        first, rest = fitting[:FIRST], fitting[FIRST:]
        start = time.monotonic()
        self._score(first)
        share = sum(sizes[key] or 0 for key in first) / max(tokens, 1)
        seconds = (time.monotonic() - start) / share if share else 0.0
        print(
            f"{len(fitting):,} answers of {tokens:,} tokens: {in_words(seconds)}", file=sys.stderr
        )
        chunks = [rest[number : number + CHUNK] for number in range(0, len(rest), CHUNK)]
        for chunk in progress.track(chunks, len(chunks), "scores"):
            self._score(chunk)

    def of(self, key: str, head: int) -> float:
        """The score of an answer: of a process model, the probability that all steps are right."""
        scores = self.scores.get(key)
        if scores is None:
            return float("nan")
        if not self.trained.scores_steps:
            return float(scores[head])
        return float(solution_scores([scores[:, head]], "product")[0])

    def _tokens(self, answer: Answer) -> int | None:
        """The number of tokens to process; None if the answer does not fit into the model."""
        tokenizer = self.trained.model.tokenizer
        longest = int(tokenizer.model_max_length)
        prompt = render(tokenizer, answer.messages)
        size = len(text_ids(tokenizer, answer.response)) + 1
        if not self.trained.scores_steps and size + len(assistant_header(tokenizer)) > longest:
            return None
        return min(len(prompt) + size, longest)

    def _score(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        answers = [self.answers[key] for key in keys]
        messages: list[Any] = [answer.messages for answer in answers]
        if self.trained.scores_steps:
            scores = self.trained.model.score_all(messages, [answer.steps for answer in answers])
        else:
            scores = self.trained.model.score(messages, [answer.response for answer in answers])
        self.scores.update(zip(keys, scores, strict=True))


def in_words(seconds: float) -> str:
    """A duration in words.

    Examples:
        >>> in_words(4.2), in_words(400)
        ('about 5 seconds', 'about 7 minutes')
    """
    if seconds < 90:
        return f"about {int(seconds) + 1} seconds"
    return f"about {round(seconds / 60)} minutes"
