"""Judges: a reward head, a local model that answers yes or no, and an endpoint (a test server)."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch

from concord.lm.chat import render
from concord.lm.load import load_causal
from concord.rewards.process.judges.endpoint import EndpointJudge, EndpointJudgeParams
from concord.rewards.process.judges.local import LocalJudge, LocalJudgeParams
from concord.rewards.process.judges.rubric import question
from concord.rewards.process.judging import HeadJudge, judge_params, kind_of, load_judge
from concord.stage.errors import ModelError, ParamsError, UnreachableError

PROMPTS = [[{"role": "user", "content": f"q{n}?"}] for n in range(3)]
ANSWERS = ["yes 0", "1", "2"]


def reply(content: str) -> tuple[int, str]:
    return 200, json.dumps({"choices": [{"message": {"content": content}}]})


class Server:
    """Replies with the entries of `script`, repeating the last one, and records the requests."""

    def __init__(self, *script: tuple[int, str]) -> None:
        self.script, self.requests, self.keys = list(script), [], []  # type: ignore[var-annotated]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.requests.append(json.loads(body))
                outer.keys.append(self.headers["authorization"])
                status, text = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.http.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def serve() -> Iterator[Any]:
    servers: list[Server] = []

    def start(*script: tuple[int, str]) -> Server:
        servers.append(Server(*script))
        return servers[-1]

    yield start
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


def judge(server: Server, cache: Path, **changes: Any) -> EndpointJudge:
    params = EndpointJudgeParams(
        rubric="Be kind.", model="m", endpoint=server.address, **{"parallel": 1, **changes}
    )
    return EndpointJudge(params, cache, wait=0.001)


def test_an_endpoint_gets_the_rubric_and_returns_the_verdict_as_json(
    serve: Any, tmp_path: Path
) -> None:
    server = serve(reply('{"verdict": 0.25}'), reply('{"verdict": 1}'))
    assert judge(server, tmp_path).verdicts(PROMPTS[:2], ANSWERS[:2]).tolist() == [0.25, 1.0]
    first = server.requests[0]
    assert (first["model"], first["temperature"]) == ("m", 0)
    assert first["response_format"]["json_schema"]["strict"]
    (message,) = first["messages"]
    assert all(text in message["content"] for text in ("Be kind.", "user: q0?", "yes 0"))
    assert server.keys == [None, None]


def test_no_question_is_sent_twice(serve: Any, tmp_path: Path) -> None:
    server = serve(reply('{"verdict": 0.5}'))
    for _ in range(2):
        judge(server, tmp_path).verdicts([*PROMPTS, PROMPTS[0]], [*ANSWERS, ANSWERS[0]])
    assert len(server.requests) == 3
    judge(server, tmp_path, parallel=4).verdicts(PROMPTS, ["x", "y", "z"])
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "bad",
    [
        (503, "busy"),
        (429, "slow down"),
        reply("0.5"),
        reply('{"verdict": 2}'),
        reply('{"verdict": "1"}'),
        reply("no"),
        reply('{"verdict": 1, "why": "x"}'),
        (200, "{}"),
        (200, "not json"),
    ],
)
def test_temporary_failures_are_retried(serve: Any, tmp_path: Path, bad: tuple[int, str]) -> None:
    server = serve(bad, bad, reply('{"verdict": 0.75}'))
    assert judge(server, tmp_path).verdicts(PROMPTS[:1], ANSWERS[:1]).tolist() == [0.75]
    assert len(server.requests) == 3


def test_an_endpoint_without_a_verdict_is_an_error(serve: Any, tmp_path: Path) -> None:
    server = serve(reply("no"))
    with pytest.raises(ModelError, match=r"returned no verdict .* in 2 attempts"):
        judge(server, tmp_path, attempts=2).verdicts(PROMPTS[:1], ANSWERS[:1])
    assert len(server.requests) == 2
    gone = EndpointJudgeParams(rubric="r", model="m", endpoint="http://127.0.0.1:9", attempts=2)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        EndpointJudge(gone, tmp_path, wait=0.001).verdicts(PROMPTS[:1], ANSWERS[:1])


def test_a_rejected_request_is_not_retried(serve: Any, tmp_path: Path) -> None:
    server = serve((401, "bad key"))
    with pytest.raises(ModelError, match=r"rejected the request with status 401: bad key"):
        judge(server, tmp_path).verdicts(PROMPTS[:1], ANSWERS[:1])
    assert len(server.requests) == 1


def test_the_key_comes_from_the_environment(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THE_KEY", raising=False)
    server = serve(reply('{"verdict": 1}'))
    with pytest.raises(ParamsError, match="THE_KEY with the judge's API key is not set"):
        judge(server, tmp_path, key="THE_KEY")
    monkeypatch.setenv("THE_KEY", "s3cret")
    judge(server, tmp_path, key="THE_KEY").verdicts(PROMPTS[:1], ANSWERS[:1])
    assert server.keys == ["Bearer s3cret"]


def test_the_verdict_of_a_local_judge_is_the_probability_of_yes(
    tiny_model: Path, tiny_tokenizer: Any
) -> None:
    """Computed from the logits after the question, over all spellings of both words."""
    model = load_causal(tiny_model)
    model.config.max_position_embeddings = 512
    local = LocalJudge(model, tiny_tokenizer, "Be kind.", batch_size=2)
    verdicts = local.verdicts(PROMPTS, ANSWERS)
    text = (
        question("Be kind.", PROMPTS[2], ANSWERS[2])
        + "\nDoes the answer do well by the rubric? Reply with yes or no."
    )
    ids = render(tiny_tokenizer, [{"role": "user", "content": text}])
    with torch.no_grad():
        odds = model(torch.tensor([ids])).logits[0, -1].softmax(0)
    yes, no = (odds[words].sum().item() for words in local.words)
    assert verdicts[2] == pytest.approx(yes / (yes + no), abs=1e-5)
    assert ((verdicts > 0) & (verdicts < 1)).all()


def question_tokens(
    tiny_model: Path, tokenizer: Any, context: int, prompt: Any, answer: str
) -> list[str]:
    """The tokens of the question from a local judge whose context has `context` tokens."""
    model = load_causal(tiny_model)
    model.config.max_position_embeddings = context
    local, seen = LocalJudge(model, tokenizer, "Be kind."), []
    local._yes_probability = lambda rows: seen.extend(rows) or np.full((len(rows), 1), 0.5)  # type: ignore[method-assign,func-returns-value]
    local.verdicts([prompt], [answer])
    return list(tokenizer.convert_ids_to_tokens(seen[0]))


def test_long_questions_are_truncated_on_the_left(
    tiny_model: Path, tiny_tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every character is one token. The mark [...] has five.

    To save 10 tokens, the conversation of 106 drops 15. To save 105, it drops all 106 (saves 101)
    and the answer drops 9 (saves 4). The first step of the answer saves at most 9, so 110 is the
    maximum. The newest step is always kept.
    """
    prompt, answer = (
        [{"role": "user", "content": "0123456789" * 10}],
        "an early step\n\nthe newest step\n\n",
    )
    whole = question_tokens(tiny_model, tiny_tokenizer, 4096, prompt, answer)
    assert "[...]" not in "".join(whole)
    assert capsys.readouterr().out == ""
    some, more = (
        question_tokens(tiny_model, tiny_tokenizer, len(whole) - less, prompt, answer)
        for less in (10, 105)
    )
    assert (len(some), len(more)) == (len(whole) - 10, len(whole) - 105)
    assert "[...]" + ("user: " + "0123456789" * 10)[15:] in "".join(some)
    assert "".join(more).count("[...]") == 2
    assert "[...]step" in "".join(more)
    assert "the newest step" in "".join(more)
    assert capsys.readouterr().out.startswith(
        "truncated 1 of 1 questions on the left: the judge's context has"
    )
    most = question_tokens(tiny_model, tiny_tokenizer, len(whole) - 110, prompt, answer)
    assert "[...]the newest step" in "".join(most)
    with pytest.raises(
        ModelError, match=rf"alone need {len(most)}; shorten the rubric or use a judge"
    ):
        question_tokens(tiny_model, tiny_tokenizer, len(whole) - 111, prompt, answer)


def test_no_more_than_necessary_is_truncated(tiny_model: Path, tiny_tokenizer: Any) -> None:
    """Dropping the conversation is enough. The answer must not be marked with [...] as well."""
    prompt, answer = [{"role": "user", "content": "0123456789"}], "a\n\nthe newest step"
    whole = question_tokens(tiny_model, tiny_tokenizer, 4096, prompt, answer)
    cut = question_tokens(tiny_model, tiny_tokenizer, len(whole) - 11, prompt, answer)
    assert len(cut) == len(whole) - 11
    assert "".join(cut).count("[...]") == 1


def test_the_context_is_limited_by_the_tokenizer(tiny_model: Path, tiny_tokenizer: Any) -> None:
    tiny_tokenizer.model_max_length = 99
    assert LocalJudge(load_causal(tiny_model), tiny_tokenizer, "Be kind.").context == 99


def test_a_head_is_a_judge() -> None:
    class Length:
        objectives = ("other", "helpful")

        def score(self, messages: Any, answers: Any) -> np.ndarray:
            return np.array([[0.0, len(answer)] for answer in answers])

    assert HeadJudge(Length(), "helpful", (3.0, 1.0)).verdicts(
        PROMPTS[:2], ["abc", "abcd"]
    ).tolist() == pytest.approx(  # type: ignore[arg-type]
        [0.5, 1 / (1 + np.e**-1)]
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"endpoint": "localhost:8000"}, "starts with http"),
        ({"key": "K"}, "key is an unknown key; .*allowed: rubric, model, kind"),
        ({"rubric": ""}, "rubric: .*at least 1 character"),
        ({"endpoint": "http://x", "attempts": 0}, "attempts: .*greater than or equal to 1"),
        ({"modle": "x"}, "did you mean model"),
        ({"kind": "locale"}, "did you mean local"),
    ],
)
def test_invalid_parameters(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        judge_params({"rubric": "r", "model": "m", **entry}, "process_labels.judges.j")


def test_the_kind_of_a_judge(tiny_model: Path, tmp_path: Path) -> None:
    local = {"rubric": "r", "model": str(tiny_model)}
    served = {"rubric": "r", "model": "m", "endpoint": "http://localhost:1/v1"}
    assert (kind_of(local), kind_of(served)) == ("local", "endpoint")
    assert judge_params(local, "j") == LocalJudgeParams("r", str(tiny_model))
    assert isinstance(load_judge(local, "j", "cpu", "float32", tmp_path), LocalJudge)
    assert isinstance(load_judge(served, "j", "cpu", "float32", tmp_path), EndpointJudge)


@pytest.mark.parametrize("status", [401, 200])
def test_the_key_is_in_no_message_even_if_the_server_quotes_it(
    serve: Any,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    secret = "sk-canary-0123456789"
    monkeypatch.setenv("JUDGE_API_KEY", secret)
    server = serve((status, json.dumps({"error": f"incorrect API key: {secret}"})))
    with pytest.raises(ModelError) as refused:
        judge(server, tmp_path, key="JUDGE_API_KEY", attempts=1).verdicts(PROMPTS[:1], ["yes"])
    assert server.keys == [f"Bearer {secret}"]
    assert secret not in str(refused.value) + "".join(capfd.readouterr())
    assert not any(secret in file.read_text() for file in tmp_path.rglob("*") if file.is_file())
