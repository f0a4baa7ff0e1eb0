"""A model behind an OpenAI-compatible server as a judge. It answers in JSON of a fixed form.

Replies are cached, so that no question is asked, or paid for, twice.

    process_labels:
      judges:
        tutor: {kind: endpoint, rubric: "Guides ...", endpoint: "http://localhost:8000/v1", model: Qwen3-32B,
                key: JUDGE_API_KEY}
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from concord.lm.chat import Messages
from concord.rewards.process.judges.rubric import question
from concord.stage import outputs, progress
from concord.stage.errors import ModelError, ParamsError
from concord.stage.params import FORBID

IN_JSON = '\nReply with JSON of the form {"verdict": v}: v is a number from 0 (does badly) to 1 (does well).'
RETRIED = (408, 409, 429, 500, 502, 503, 504, 529)
"""HTTP statuses that may pass."""


@dataclass(frozen=True, config=FORBID)
class EndpointJudgeParams:
    """A judge behind a server."""

    rubric: Annotated[str, Field(min_length=1)]
    """What is judged, and what is good."""
    model: str
    """Name at the endpoint."""
    endpoint: str
    """Base address of an OpenAI-compatible server, such as http://localhost:8000/v1."""
    kind: Literal["endpoint"] = "endpoint"
    """The name of this module."""
    key: str | None = None
    """Name of the environment variable that holds the endpoint's key; null if it needs none."""
    parallel: Annotated[int, Field(ge=1)] = 8
    """Questions that are asked at once."""
    attempts: Annotated[int, Field(ge=1)] = 5
    """How often a question is asked before the stage fails; the wait doubles from one second."""
    timeout: Annotated[float, Field(gt=0)] = 60.0
    """Seconds to wait for an answer."""

    def __post_init__(self) -> None:
        if not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(
                f"endpoint is {self.endpoint!r}; give an address that begins with http:// or https://"
            )


PARAMS = EndpointJudgeParams


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

    def __init__(self, params: EndpointJudgeParams, cache: Path, wait: float = 1.0) -> None:
        self.params, self.cache, self.wait = params, cache, wait
        self.headers = {"authorization": f"Bearer {_key(params.key)}"} if params.key else {}

    def verdicts(self, messages: Sequence[Messages], answers: Sequence[str]) -> np.ndarray:
        """float64 `[n]`. Raises ModelError where the endpoint refuses, or gives no verdict after all attempts."""
        import httpx

        asked = [
            question(self.params.rubric, m, answer) + IN_JSON
            for m, answer in zip(messages, answers, strict=True)
        ]
        new = [text for text in dict.fromkeys(asked) if not self._file(text).is_file()]
        print(
            f"{len(new)} questions to {self.params.model}, {len(set(asked)) - len(new)} answered before"
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
            [outputs.read_json(self._file(text))["verdict"] for text in asked], dtype=float
        )

    def _replies(
        self, pool: ThreadPoolExecutor, client: Any, texts: Sequence[str]
    ) -> Iterator[None]:
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
                return Verdict.model_validate_json(
                    reply.json()["choices"][0]["message"]["content"]
                ).verdict
            except (ValidationError, ValueError, KeyError, IndexError, TypeError) as error:
                problem = f"gives no verdict: {' '.join(str(error).split())[:200]}"
        raise ModelError(
            f"the judge at {address} {problem} ({self.params.attempts} attempts); look at its server"
        )

    def _file(self, text: str) -> Path:
        name = hashlib.sha256(
            json.dumps([self.params.endpoint, self.params.model, text]).encode()
        ).hexdigest()
        return self.cache / name[:2] / f"{name}.json"


def load(params: EndpointJudgeParams, device: Any, dtype: str, cache: Path) -> EndpointJudge:
    """The judge; its replies are cached in `cache`. Raises ParamsError if its key is not set."""
    return EndpointJudge(params, cache)


def missing(params: EndpointJudgeParams, where: str, root: Path) -> Iterator[str]:
    """The problem of a key that is not set."""
    if params.key is not None and not os.environ.get(params.key):
        yield f"{where}.key: the environment variable {params.key} is not set, so the endpoint would refuse; set it"


def _key(name: str) -> str:
    if not os.environ.get(name):
        raise ParamsError(
            f"the environment variable {name}, which holds the judge's key, is not set; set it"
        )
    return os.environ[name]
