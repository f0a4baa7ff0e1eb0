"""Judges: a reward head, a local model that says yes or no, and an endpoint, here a server of the test's own."""

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
from concord.stage.errors import ModelError, ParamsError

PROMPTS = [[{"role": "user", "content": f"q{n}?"}] for n in range(3)]
ANSWERS = ["yes 0", "1", "2"]


def said(content: str) -> tuple[int, str]:
    return 200, json.dumps({"choices": [{"message": {"content": content}}]})


class Server:
    """Answers with what is in `script`, the last one again and again; keeps what it was asked."""

    def __init__(self, *script: tuple[int, str]) -> None:
        self.script, self.asked, self.keys = list(script), [], []  # type: ignore[var-annotated]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.asked.append(json.loads(body))
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


def test_an_endpoint_is_asked_by_the_rubric_and_its_json_is_the_verdict(
    serve: Any, tmp_path: Path
) -> None:
    server = serve(said('{"verdict": 0.25}'), said('{"verdict": 1}'))
    assert judge(server, tmp_path).verdicts(PROMPTS[:2], ANSWERS[:2]).tolist() == [0.25, 1.0]
    first = server.asked[0]
    assert (first["model"], first["temperature"]) == ("m", 0)
    assert first["response_format"]["json_schema"]["strict"]
    (message,) = first["messages"]
    assert all(text in message["content"] for text in ("Be kind.", "user: q0?", "yes 0"))
    assert server.keys == [None, None]


def test_nothing_is_asked_twice(serve: Any, tmp_path: Path) -> None:
    server = serve(said('{"verdict": 0.5}'))
    for _ in range(2):
        judge(server, tmp_path).verdicts([*PROMPTS, PROMPTS[0]], [*ANSWERS, ANSWERS[0]])
    assert len(server.asked) == 3
    judge(server, tmp_path, parallel=4).verdicts(PROMPTS, ["x", "y", "z"])
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    "bad",
    [(503, "busy"), (429, "slow down"), said("0.5"), said('{"verdict": 2}'), said('{"verdict": "1"}'), said("no"),
     said('{"verdict": 1, "why": "x"}'), (200, "{}"), (200, "not json")],
)  # fmt: skip
def test_what_may_pass_is_asked_again(serve: Any, tmp_path: Path, bad: tuple[int, str]) -> None:
    server = serve(bad, bad, said('{"verdict": 0.75}'))
    assert judge(server, tmp_path).verdicts(PROMPTS[:1], ANSWERS[:1]).tolist() == [0.75]
    assert len(server.asked) == 3


def test_an_endpoint_that_never_answers_ends_the_stage(serve: Any, tmp_path: Path) -> None:
    server = serve(said("no"))
    with pytest.raises(ModelError, match=r"gives no verdict: .*\(2 attempts\)"):
        judge(server, tmp_path, attempts=2).verdicts(PROMPTS[:1], ANSWERS[:1])
    assert len(server.asked) == 2
    gone = EndpointJudgeParams(rubric="r", model="m", endpoint="http://127.0.0.1:9", attempts=2)
    with pytest.raises(ModelError, match="cannot be reached"):
        EndpointJudge(gone, tmp_path, wait=0.001).verdicts(PROMPTS[:1], ANSWERS[:1])


def test_a_refusal_is_not_asked_again(serve: Any, tmp_path: Path) -> None:
    server = serve((401, "bad key"))
    with pytest.raises(ModelError, match=r"refuses with status 401: bad key"):
        judge(server, tmp_path).verdicts(PROMPTS[:1], ANSWERS[:1])
    assert len(server.asked) == 1


def test_the_key_comes_from_the_environment(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THE_KEY", raising=False)
    server = serve(said('{"verdict": 1}'))
    with pytest.raises(ParamsError, match="THE_KEY, which holds the judge's key, is not set"):
        judge(server, tmp_path, key="THE_KEY")
    monkeypatch.setenv("THE_KEY", "s3cret")
    judge(server, tmp_path, key="THE_KEY").verdicts(PROMPTS[:1], ANSWERS[:1])
    assert server.keys == ["Bearer s3cret"]


def test_a_local_judge_says_how_likely_yes_is(tiny_model: Path, tiny_tokenizer: Any) -> None:
    """By hand from the logits after the question: P(y) / (P(y) + P(n)), over the forms of either word."""
    model = load_causal(tiny_model)
    model.config.max_position_embeddings = 512
    made = LocalJudge(model, tiny_tokenizer, "Be kind.", batch_size=2)
    found = made.verdicts(PROMPTS, ANSWERS)
    text = (
        question("Be kind.", PROMPTS[2], ANSWERS[2])
        + "\nDoes the answer do well by the rubric? Reply with yes or no."
    )
    ids = render(tiny_tokenizer, [{"role": "user", "content": text}])
    with torch.no_grad():
        odds = model(torch.tensor([ids])).logits[0, -1].softmax(0)
    yes, no = (odds[words].sum().item() for words in made.words)
    assert found[2] == pytest.approx(yes / (yes + no), abs=1e-5)
    assert ((found > 0) & (found < 1)).all()


def asked_with(
    tiny_model: Path, tokenizer: Any, context: int, prompt: Any, answer: str
) -> list[str]:
    """The tokens that a local judge with that context is asked."""
    model = load_causal(tiny_model)
    model.config.max_position_embeddings = context
    made, seen = LocalJudge(model, tokenizer, "Be kind."), []
    made._sure = lambda rows: seen.extend(rows) or np.full((len(rows), 1), 0.5)  # type: ignore[method-assign,func-returns-value]
    made.verdicts([prompt], [answer])
    return list(tokenizer.convert_ids_to_tokens(seen[0]))


def test_a_question_that_is_too_long_loses_its_beginning_never_the_newest_step(
    tiny_model: Path, tiny_tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A character is a token, and [...] is five. To lose 10, the conversation of 106 drops 15; to lose 105, it drops
    all (101 less), and the answer 9 (4 less). Its first step, 13 and a blank line, can make 9 less, so 110 is most."""
    prompt, answer = (
        [{"role": "user", "content": "0123456789" * 10}],
        "an early step\n\nthe newest step\n\n",
    )
    whole = asked_with(tiny_model, tiny_tokenizer, 4096, prompt, answer)
    assert "[...]" not in "".join(whole)
    assert capsys.readouterr().out == ""
    some, more = (
        asked_with(tiny_model, tiny_tokenizer, len(whole) - less, prompt, answer)
        for less in (10, 105)
    )
    assert (len(some), len(more)) == (len(whole) - 10, len(whole) - 105)
    assert "[...]" + ("user: " + "0123456789" * 10)[15:] in "".join(some)
    assert "".join(more).count("[...]") == 2
    assert "[...]step" in "".join(more)
    assert "the newest step" in "".join(more)
    assert capsys.readouterr().out.startswith(
        "1 of 1 questions lost their beginning: the judge reads"
    )
    most = asked_with(tiny_model, tiny_tokenizer, len(whole) - 110, prompt, answer)
    assert "[...]the newest step" in "".join(most)
    with pytest.raises(
        ModelError, match=rf"alone takes {len(most)}, so .*shorten the rubric, or take a judge"
    ):
        asked_with(tiny_model, tiny_tokenizer, len(whole) - 111, prompt, answer)


def test_no_more_is_lost_than_must_be(tiny_model: Path, tiny_tokenizer: Any) -> None:
    """Without the conversation alone it fits, while [...] before the newest step would take more than the "a" saves."""
    prompt, answer = [{"role": "user", "content": "0123456789"}], "a\n\nthe newest step"
    whole = asked_with(tiny_model, tiny_tokenizer, 4096, prompt, answer)
    cut = asked_with(tiny_model, tiny_tokenizer, len(whole) - 11, prompt, answer)
    assert len(cut) == len(whole) - 11
    assert "".join(cut).count("[...]") == 1


def test_the_tokenizer_may_know_a_shorter_context(tiny_model: Path, tiny_tokenizer: Any) -> None:
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
        ({"endpoint": "localhost:8000"}, "begins with http"),
        ({"key": "K"}, "key is an unknown key; .*allowed: rubric, model, kind"),
        ({"rubric": ""}, "rubric: .*at least 1 character"),
        ({"endpoint": "http://x", "attempts": 0}, "attempts: .*greater than or equal to 1"),
        ({"modle": "x"}, "did you mean model"),
        ({"kind": "locale"}, "did you mean local"),
    ],
)
def test_params_that_cannot_work(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        judge_params({"rubric": "r", "model": "m", **entry}, "process_labels.judges.j")


def test_which_judge_it_is(tiny_model: Path, tmp_path: Path) -> None:
    local = {"rubric": "r", "model": str(tiny_model)}
    served = {"rubric": "r", "model": "m", "endpoint": "http://localhost:1/v1"}
    assert (kind_of(local), kind_of(served)) == ("local", "endpoint")
    assert judge_params(local, "j") == LocalJudgeParams("r", str(tiny_model))
    assert isinstance(load_judge(local, "j", "cpu", "float32", tmp_path), LocalJudge)
    assert isinstance(load_judge(served, "j", "cpu", "float32", tmp_path), EndpointJudge)
