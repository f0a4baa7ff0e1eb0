"""Judges of single objectives: functions and reward heads, instead of the fitted judge."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.policies import judged, named_judges
from concord.evaluation.policies.judge_params import JudgeParams
from concord.evaluation.policies.likelihood import Labels
from concord.evaluation.policies.protocol import Point
from concord.objectives import Objective
from concord.rewards.process.judges import function, head
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import section

FUNCTIONS = """
def shorter(messages, answer):
    return 1 / (1 + len(answer))

def too_much(messages, answer):
    return 2

def fails(messages, answer):
    return answer["text"]

def one_argument(answer):
    return 1.0
"""
OBJECTIVES = {"brief": Objective(domain="chat", description="", reward="chat")}
PAIRS = pd.DataFrame(
    {
        "group_id": ["g0", "g1"], "objective": "brief", "origin": "comparisons",
        "messages": [[{"role": "user", "content": str(number)}] for number in range(2)],
        "chosen": ["a", "much longer"], "rejected": ["not short", "b"],
    }
)  # fmt: skip
"""People prefer the shorter answer in one of two pairs."""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "walk_judges.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "walk_judges", raising=False)
    return "walk_judges"


class Policy:
    """Answers with one letter per prompt of a call, so that later prompts get longer answers."""

    def answers(self, messages: Any, weights: Any, scale: float = 1.0) -> Any:
        ones = np.ones(len(messages))
        texts = ["x" * (row + 1) for row in range(len(messages))]
        return SimpleNamespace(texts=texts, kl=ones, lengths=ones, reference_logprobs=-ones)


def outcome(entry: dict[str, Any]) -> Any:
    prompts = pd.DataFrame(
        {
            "messages": PAIRS["messages"], "domain": "chat", "reference": None,
            "group_id": PAIRS["group_id"], "prompt_id": ["p0", "p1"],
        }
    )  # fmt: skip
    ratings = pd.DataFrame(
        {name: [] for name in ("objective", "kind", "messages", "group_id", "response", "rating")}
    )
    params = JudgeParams(judges={"brief": entry})
    settings = judged.JudgedSettings(params, 5, 1, 1, max_new_tokens=9, bootstrap=10, seed=0)
    return judged.judge(
        Policy(), judged.JudgedData(prompts, Labels(ratings, PAIRS), prompts.iloc[:0]),  # type: ignore[arg-type]
        OBJECTIVES, {"chat": ["brief"]}, {"held_out": [Point("equal", "chat", {"brief": 1.0})]},
        settings, judges=named_judges.load(params.judges, "cpu", "float32"),
    )  # fmt: skip


def test_a_function_judges_the_answers_and_its_agreement_is_stated(functions: str) -> None:
    """Answers of one and two letters score 1/2 and 1/3; it agrees with one of the two pairs."""
    result = outcome({"kind": "function", "function": f"{functions}:shorter"})
    assert result.held_out["gold.brief"].tolist() == [pytest.approx(1 / 2), pytest.approx(1 / 3)]
    agreement = result.extra["judge"]["brief"]
    assert (agreement["value"], agreement["pairs"], agreement["kind"]) == (0.5, 2, "function")
    assert "named below" in result.extra["measure"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("too_much", DataError, r"too_much returned 2 for the answer .*a number from 0 to 1"),
        ("fails", DataError, r"fails raised TypeError .*fix the function"),
        ("shortr", ParamsError, r"no function 'shortr'; did you mean shorter"),
        ("one_argument", ParamsError, r"define it as one_argument\(messages: list\[dict\], answer"),
    ],
)
def test_a_bad_function_is_an_error(
    functions: str, name: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        outcome({"kind": "function", "function": f"{functions}:{name}"})


def test_a_module_that_does_not_exist_is_reported_by_check() -> None:
    entry = {"kind": "function", "function": "no_such_module:judge"}
    params = {"evaluate": {"judge": {"judges": {"brief": entry}}}, "policies": {}}
    (problem,) = named_judges.problems(OBJECTIVES, params, Path())
    assert problem.startswith("evaluate.judge.judges.brief.function: 'no_such_module:judge'")
    with pytest.raises(ParamsError, match=r"judges\.brief: .*write module:name"):
        section(JudgeParams, {"judges": {"brief": {"kind": "function", "function": "x"}}}, "judge")


class Model:
    objectives = ("other", "brief")

    def score(self, messages: Any, answers: Any) -> np.ndarray:
        return np.array([[0.0, float(len(answer))] for answer in answers], dtype=np.float32)


def test_a_head_is_standardised_on_what_it_judges_first() -> None:
    """Of lengths 1 and 3, mean 2 and deviation 1, length 3 is one deviation above the mean."""
    judge = head.StandardisedHead(Model(), "brief")  # type: ignore[arg-type]
    expected = 1 / (1 + np.exp(-1))
    assert judge.verdicts([[], []], ["a", "aaa"]).tolist() == [
        pytest.approx(1 - expected),
        pytest.approx(expected),
    ]
    assert judge.verdicts([[]], ["aaa"]).tolist() == [pytest.approx(expected)]


@pytest.mark.parametrize(
    ("chat", "others", "pairs", "message"),
    [
        ({"annotators": ["ann"]}, {"annotators": ["bob"]}, "rollouts", None),
        ({}, {"annotators": ["bob"]}, "rollouts", "without a person in common"),
        ({"annotators": ["ann", "bob"]}, {"annotators": ["bob"]}, "rollouts", "in common"),
        (
            {"annotators": ["ann"]},
            {"annotators": ["bob"]},
            "annotations",
            "the labels of all people",
        ),
    ],
)
def test_a_head_judges_only_what_other_people_trained(
    chat: dict[str, Any], others: dict[str, Any], pairs: str, message: str | None
) -> None:
    heads = {"objectives": {"brief": {}}}
    entry = {"kind": "head", "model": "others", "objective": "brief"}
    params = {
        "evaluate": {"judge": {"judges": {"brief": entry}}},
        "reward_models": {"chat": heads | chat, "others": heads | others},
        "policies": {"steered": {"method": "mah_dpo", "pairs": pairs}},
    }
    problems = list(named_judges.problems(OBJECTIVES, params, Path()))
    if message is None:
        assert not problems
    else:
        assert len(problems) == 1
        assert message in problems[0]
    params["evaluate"]["judge"]["judges"]["brief"] = entry | {"model": "othrs"}
    assert "did you mean others?" in next(named_judges.problems(OBJECTIVES, params, Path()))


def test_the_parameters_of_a_function_are_strict() -> None:
    with pytest.raises(ParamsError, match="modul"):
        section(function.FunctionJudgeParams, {"function": "a:b", "modul": 1}, "judge")
