"""Judges of answers, whole or in part: a reward head, a local model with a rubric, or an endpoint with a rubric.

Each gives a number in [0, 1] for how well an answer does on one objective. A rubric is text for the judge: what is
judged and what is good. The two that read it are asked the same question and answer it in their own way: a local model
by the probability that it says yes rather than no, an endpoint (OpenAI's chat completions, which most servers speak) in
JSON of a fixed form. What an endpoint answered is kept, so that nothing is asked, or paid for, twice.

    process_labels:
      judges:
        tutor: {rubric: "Guides ...", endpoint: "http://localhost:8000/v1", model: Qwen3-32B, key: JUDGE_API_KEY}
        small: {rubric: "Guides ...", model: models/judge}
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from tasks.rewards.outcome import RewardModel
from tasks.stage import outputs, progress
from tasks.stage.errors import ModelError, ParamsError
from tasks.stage.models import Messages
from tasks.stage.params import FORBID

QUESTION = """You judge one answer in a conversation by this rubric:

{rubric}

The conversation:

{conversation}

The answer to judge, which may stop before its end; judge what is there:

{answer}
"""
YES_OR_NO = "\nDoes the answer do well by the rubric? Reply with yes or no."
IN_JSON = '\nReply with JSON of the form {"verdict": v}: v is a number from 0 (does badly) to 1 (does well).'
RETRIED = (408, 409, 429, 500, 502, 503, 504, 529)
"""HTTP statuses that may pass."""


@dataclass(frozen=True, config=FORBID)
class JudgeParams:
    """A judge that reads a rubric."""

    rubric: Annotated[str, Field(min_length=1)]
    """What is judged, and what is good."""
    model: str
    """Name at the endpoint; without one, the folder of a local model, whose edits rerun nothing by themselves."""
    endpoint: str | None = None
    """Base address of an OpenAI-compatible server, such as http://localhost:8000/v1; null for a local model."""
    key: str | None = None
    """Name of the environment variable that holds the endpoint's key; null where it asks for none."""
    parallel: Annotated[int, Field(ge=1)] = 8
    """Questions that are asked of an endpoint at once."""
    attempts: Annotated[int, Field(ge=1)] = 5
    """How often a question is asked before the stage fails; the wait doubles from one second."""
    timeout: Annotated[float, Field(gt=0)] = 60.0
    """Seconds to wait for an answer."""

    def __post_init__(self) -> None:
        if self.endpoint is not None and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"endpoint is {self.endpoint!r}; give an address that begins with http:// or https://")
        if self.key is not None and self.endpoint is None:
            raise ValueError("a local model needs no key; leave it out, or give the endpoint")


class Judge(Protocol):
    """Whoever says how well answers do."""

    def verdicts(self, messages: Sequence[Messages], answers: Sequence[str]) -> np.ndarray:
        """float64 `[n]` in [0, 1]."""
        ...


class Head:
    """A reward head, by the mean and standard deviation of its scores of whole answers: sigmoid((s - mean) / std)."""

    def __init__(self, model: RewardModel, objective: str, standard: tuple[float, float]) -> None:
        self.model, self.column, self.standard = model, model.objectives.index(objective), standard

    def verdicts(self, messages: Sequence[Messages], answers: Sequence[str]) -> np.ndarray:
        """float64 `[n]`."""
        mean, std = self.standard
        scores = self.model.score(messages, answers)[:, self.column].astype(float)
        return np.asarray(1.0 / (1.0 + np.exp(-(scores - mean) / std)))


class LocalJudge:
    """A causal model that says yes or no; the verdict is how likely yes is, of the two.

    A question that is longer than the model's context loses the beginning of the conversation, then that of the answer;
    the answer's last paragraph, in which its newest step is, always stays.
    """

    def __init__(self, model: Any, tokenizer: Any, rubric: str, batch_size: int = 16) -> None:
        self.model, self.tokenizer, self.rubric, self.batch_size = model, tokenizer, rubric, batch_size
        yes, no = (self._words(word) for word in ("yes", "no"))
        self.words = [sorted(yes - no), sorted(no - yes)]
        if not all(self.words):
            raise ModelError("the judge's tokenizer cannot tell yes from no by their first token; take another model")
        positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.context = min(tokenizer.model_max_length, positions or tokenizer.model_max_length)

    def verdicts(self, messages: Sequence[Messages], answers: Sequence[str]) -> np.ndarray:
        """float64 `[n]`. Raises ModelError where the rubric and the last paragraph of an answer do not fit."""
        from tasks.rewards.sequences import in_batches

        asked = [self._asked(prompt, answer) for prompt, answer in zip(messages, answers, strict=True)]
        cut = sum(dropped > 0 for _, dropped in asked)
        if cut:
            print(f"{cut} of {len(asked)} questions lost their beginning: the judge reads {self.context} tokens")
        return in_batches([ids for ids, _ in asked], self.batch_size, 1, self._sure)[:, 0].astype(float)

    def _asked(self, messages: Messages, answer: str) -> tuple[list[int], int]:
        """The question as ids, and how many characters it lost, as few as must be."""
        from tasks.stage.models import render

        def ids(dropped: int) -> list[int]:
            text = question(self.rubric, messages, answer, dropped) + YES_OR_NO
            return render(self.tokenizer, [{"role": "user", "content": text}])

        def fits(dropped: int) -> bool:
            return bool(len(ids(dropped)) <= self.context)

        conversation, paragraph = len(_told(messages)), answer.rstrip().rfind("\n\n")
        least = 0
        for most in (0, conversation, conversation + (paragraph + 2 if paragraph >= 0 else 0)):
            least += bisect_left(range(least, most), True, key=fits)
            if fits(least):
                return ids(least), least
        raise ModelError(
            f"the judge reads {self.context} tokens, and its rubric with the last paragraph of an answer alone takes "
            f"{len(ids(least))}, so it cannot be asked; shorten the rubric, or take a judge with a longer context"
        )

    def _words(self, word: str) -> set[int]:
        """First tokens of the word as it may be written."""
        forms = (word, word.capitalize(), f" {word}", f" {word.capitalize()}")
        return {self.tokenizer(form, add_special_tokens=False)["input_ids"][0] for form in forms}

    def _sure(self, sequences: list[list[int]]) -> np.ndarray:
        import torch

        from tasks.rewards.sequences import pad_right

        batch = {n: v.to(self.model.device) for n, v in pad_right(sequences, self.tokenizer.pad_token_id).items()}
        last = batch["attention_mask"].sum(dim=1) - 1
        with torch.inference_mode():
            states = self.model.base_model(**batch, use_cache=False).last_hidden_state
            logits = self.model.get_output_embeddings()(states[torch.arange(len(sequences)), last]).float()
        yes, no = (logits[:, words].logsumexp(dim=1) for words in self.words)
        return np.asarray(torch.sigmoid(yes - no).cpu())[:, None]


class Verdict(BaseModel):
    """What an endpoint must reply."""

    model_config = ConfigDict(extra="forbid", strict=True)
    verdict: Annotated[float, Field(ge=0, le=1)]


SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"verdict": {"type": "number", "minimum": 0, "maximum": 1}},
            "required": ["verdict"],
            "additionalProperties": False,
        },
    },
}


class EndpointJudge:
    """A model behind an OpenAI-compatible server, asked at temperature 0 for JSON. Replies are kept in `cache`."""

    def __init__(self, params: JudgeParams, cache: Path, wait: float = 1.0) -> None:
        self.params, self.cache, self.wait = params, cache, wait
        self.headers = {"authorization": f"Bearer {_key(params.key)}"} if params.key else {}

    def verdicts(self, messages: Sequence[Messages], answers: Sequence[str]) -> np.ndarray:
        """float64 `[n]`. Raises ModelError where the endpoint refuses, or gives no verdict after all attempts."""
        import httpx

        asked = [question(self.params.rubric, m, answer) + IN_JSON for m, answer in zip(messages, answers, strict=True)]
        new = [text for text in dict.fromkeys(asked) if not self._file(text).is_file()]
        print(f"{len(new)} questions to {self.params.model}, {len(set(asked)) - len(new)} answered before")
        with (
            httpx.Client(timeout=self.params.timeout, headers=self.headers) as client,
            ThreadPoolExecutor(self.params.parallel) as pool,
        ):
            for _ in progress.track(self._replies(pool, client, new), len(new), f"judge {self.params.model}"):
                pass
        return np.array([outputs.read_json(self._file(text))["verdict"] for text in asked], dtype=float)

    def _replies(self, pool: ThreadPoolExecutor, client: Any, texts: Sequence[str]) -> Iterator[None]:
        yield from pool.map(lambda text: self._answered(client, text), texts)

    def _answered(self, client: Any, text: str) -> None:
        outputs.write_json(self._file(text), {"verdict": self._ask(client, text)})

    def _ask(self, client: Any, text: str) -> float:
        import httpx

        body = {
            "model": self.params.model, "temperature": 0, "max_tokens": 200,
            "messages": [{"role": "user", "content": text}], "response_format": SCHEMA,
        }  # fmt: skip
        address = f"{str(self.params.endpoint).rstrip('/')}/chat/completions"
        problem = ""
        for attempt in range(self.params.attempts):
            if attempt:
                time.sleep(self.wait * 2 ** (attempt - 1))
            try:
                reply = client.post(address, json=body)
            except httpx.TransportError as error:
                problem = f"cannot be reached: {error}"
                continue
            if reply.status_code in RETRIED:
                problem = f"answers with status {reply.status_code}"
                continue
            if reply.status_code != 200:
                raise ModelError(
                    f"the judge at {address} refuses with status {reply.status_code}: {reply.text[:200]}; "
                    "correct the endpoint, its model or its key"
                )
            try:
                return Verdict.model_validate_json(reply.json()["choices"][0]["message"]["content"]).verdict
            except (ValidationError, ValueError, KeyError, IndexError, TypeError) as error:
                problem = f"gives no verdict: {' '.join(str(error).split())[:200]}"
        raise ModelError(f"the judge at {address} {problem} ({self.params.attempts} attempts); look at its server")

    def _file(self, text: str) -> Path:
        name = hashlib.sha256(json.dumps([self.params.endpoint, self.params.model, text]).encode()).hexdigest()
        return self.cache / name[:2] / f"{name}.json"


def question(rubric: str, messages: Messages, answer: str, dropped: int = 0) -> str:
    """What a judge is asked, up to how to reply, without the first `dropped` characters of conversation and answer."""
    conversation = _told(messages)
    answer, conversation = _without(answer, dropped - len(conversation)), _without(conversation, dropped)
    return QUESTION.format(rubric=rubric.strip(), conversation=conversation, answer=answer)


def _told(messages: Messages) -> str:
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in messages)


def _without(text: str, dropped: int) -> str:
    """A text without its beginning, which is marked."""
    return f"[...]{text[dropped:]}" if dropped > 0 else text


def load(params: JudgeParams, device: Any, dtype: str, cache: Path) -> LocalJudge | EndpointJudge:
    """The judge that params.yaml describes. Raises ParamsError where its key is not there."""
    from tasks.stage.models import load_causal, load_tokenizer

    if params.endpoint is not None:
        return EndpointJudge(params, cache)
    return LocalJudge(load_causal(params.model, device, dtype), load_tokenizer(params.model), params.rubric)


def _key(name: str) -> str:
    if not os.environ.get(name):
        raise ParamsError(f"the environment variable {name}, which holds the judge's key, is not set; set it")
    return os.environ[name]
