"""A judge behind an OpenAI-compatible server, which replies in JSON of a fixed form.

Replies are cached, so the same question is never sent, or paid for, twice.

    process_labels:
      judges:
        tutor:
          kind: endpoint
          rubric: Guides ...
          endpoint: http://localhost:8000/v1
          model: Qwen3-32B
          key: JUDGE_API_KEY
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from concord.lm.chat import Messages
from concord.rewards.process.judges.rubric import question
from concord.stage import outputs, progress
from concord.stage.errors import ConcordError, ModelError, ParamsError, UnreachableError
from concord.stage.params import FORBID

IN_JSON = (
    '\nReply with JSON of the form {"verdict": v}: '
    "v is a number from 0 (does badly) to 1 (does well)."
)
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
RETRIED = (408, 409, 429, 500, 502, 503, 504, 529)
"""HTTP statuses of temporary failures."""


@dataclass(frozen=True, config=FORBID)
class EndpointJudgeParams:
    """Parameters of a judge behind a server."""

    rubric: Annotated[str, Field(min_length=1)]
    """What to judge, and what a good answer is."""
    model: str
    """Name of the model at the endpoint."""
    endpoint: str
    """Base URL of an OpenAI-compatible server, such as http://localhost:8000/v1. It has no password
    in it: parameters are in reports and logs."""
    kind: Literal["endpoint"] = "endpoint"
    """The name of this module."""
    key: str | None = None
    """Name of the environment variable with the endpoint's API key, in capitals; null if it needs
    none."""
    parallel: Annotated[int, Field(ge=1)] = 8
    """Number of concurrent requests."""
    attempts: Annotated[int, Field(ge=1)] = 5
    """Attempts per question before the stage fails. The wait between them starts at one second and
    doubles."""
    timeout: Annotated[float, Field(gt=0)] = 60.0
    """Seconds to wait for a reply."""

    def __post_init__(self) -> None:
        if not self.endpoint.startswith(("http://", "https://")):
            raise ValueError("endpoint is not a URL; give one that starts with http:// or https://")
        if "@" in self.endpoint or "?" in self.endpoint:
            raise ValueError(
                "endpoint has a user name, a password or a query in it, which reports and logs "
                "would show; remove it, and put the key into the variable that `key` names"
            )
        if self.key is not None and not VARIABLE.fullmatch(self.key):
            raise ValueError(
                "key is not the name of an environment variable in capitals, such as "
                "JUDGE_API_KEY; put the API key itself into that variable, and never into a file"
            )


PARAMS = EndpointJudgeParams


class Verdict(BaseModel):
    """The reply that an endpoint must give."""

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
    """A model behind an OpenAI-compatible server, queried for JSON at temperature 0.

    Args:
        params: the parameters of the judge.
        cache: folder for the replies.
        wait: seconds before the second attempt.

    Raises:
        ParamsError: the environment variable of the API key is not set.
    """

    def __init__(self, params: EndpointJudgeParams, cache: Path, wait: float = 1.0) -> None:
        self.params = params
        self.cache = cache
        self.wait = wait
        self.headers = {"authorization": f"Bearer {_key(params.key)}"} if params.key else {}

    def verdicts(self, messages: Sequence[Messages], answers: Sequence[str]) -> np.ndarray:
        """Verdicts in [0, 1], float64 `(answers,)`.

        Raises:
            ModelError: the endpoint rejects a request, or returns no valid verdict in all attempts.
            UnreachableError: it cannot be reached, or is busy, in the last attempt.
        """
        import httpx

        questions = [
            question(self.params.rubric, prompt, answer) + IN_JSON
            for prompt, answer in zip(messages, answers, strict=True)
        ]
        new = [text for text in dict.fromkeys(questions) if not self._file(text).is_file()]
        print(
            f"{len(new)} questions to {self.params.model}, "
            f"{len(set(questions)) - len(new)} more in the cache"
        )
        with (
            httpx.Client(timeout=self.params.timeout, headers=self.headers) as client,
            ThreadPoolExecutor(self.params.parallel) as pool,
        ):
            for _ in progress.track(
                self._replies(pool, client, new), len(new), f"judge {self.params.model}"
            ):
                pass
        return np.array(
            [outputs.read_json(self._file(text))["verdict"] for text in questions], dtype=float
        )

    def _replies(
        self, pool: ThreadPoolExecutor, client: Any, texts: Sequence[str]
    ) -> Iterator[None]:
        yield from pool.map(lambda text: self._ask_and_cache(client, text), texts)

    def _ask_and_cache(self, client: Any, text: str) -> None:
        outputs.write_json(self._file(text), {"verdict": self._ask(client, text)})

    def _ask(self, client: Any, text: str) -> float:
        import httpx

        body = {
            "model": self.params.model, "temperature": 0, "max_tokens": 200,
            "messages": [{"role": "user", "content": text}], "response_format": SCHEMA,
        }  # fmt: skip
        address = f"{str(self.params.endpoint).rstrip('/')}/chat/completions"
        problem, kind = "", cast(type[ConcordError], ModelError)
        for attempt in range(self.params.attempts):
            if attempt:
                time.sleep(self.wait * 2 ** (attempt - 1))
            try:
                reply = client.post(address, json=body)
            except httpx.TransportError as error:
                problem, kind = f"cannot be reached ({error})", UnreachableError
                continue
            if reply.status_code in RETRIED:
                problem, kind = f"returned status {reply.status_code}", UnreachableError
                continue
            if reply.status_code != 200:
                raise ModelError(
                    f"the judge at {address} rejected the request with status "
                    f"{reply.status_code}: {self._without_key(reply.text)[:200]}; "
                    "correct the endpoint, the model or the key"
                )
            try:
                return Verdict.model_validate_json(
                    reply.json()["choices"][0]["message"]["content"]
                ).verdict
            except (ValidationError, ValueError, KeyError, IndexError, TypeError) as error:
                detail = " ".join(self._without_key(str(error)).split())[:200]
                problem, kind = f"returned no verdict ({detail})", ModelError
        raise kind(
            f"the judge at {address} {problem} in {self.params.attempts} attempts; "
            "check that its server works"
        )

    def _without_key(self, text: str) -> str:
        """A reply of the server, which may quote the API key, without it."""
        key = self.headers.get("authorization", "").removeprefix("Bearer ")
        return text.replace(key, "***") if key else text

    def _file(self, text: str) -> Path:
        name = hashlib.sha256(
            json.dumps([self.params.endpoint, self.params.model, text]).encode()
        ).hexdigest()
        return self.cache / name[:2] / f"{name}.json"


def load(params: EndpointJudgeParams, device: Any, dtype: str, cache: Path) -> EndpointJudge:
    """The judge. Its replies are cached in `cache`. Raises ParamsError if its key is not set."""
    return EndpointJudge(params, cache)


def missing(params: EndpointJudgeParams, where: str, root: Path) -> Iterator[str]:
    """Yields a message if the environment variable of the API key is not set."""
    if params.key is not None and not os.environ.get(params.key):
        yield (
            f"{where}.key: the environment variable {params.key} is not set, "
            "so the endpoint would reject every request; set it"
        )


def _key(name: str) -> str:
    if not os.environ.get(name):
        raise ParamsError(
            f"the environment variable {name} with the judge's API key is not set; set it"
        )
    return os.environ[name]
