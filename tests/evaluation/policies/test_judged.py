"""The judged protocol by hand: verifiers, pass@k, and the measures of the writing."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.policies import judged
from concord.evaluation.policies.answer_judge import fitted
from concord.evaluation.policies.judge_params import JudgeParams
from concord.evaluation.policies.likelihood import Labels
from concord.evaluation.policies.protocol import Point
from concord.evaluation.policies.run_protocol import EvaluateParams
from concord.objectives import Objective
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import section

POINT = Point("equal", "math", {"right": 1.0})
NO_LABELS = Labels(pd.DataFrame({"objective": []}), pd.DataFrame({"objective": []}))
OBJECTIVES = {"right": Objective(domain="math", description="", verifier="exact_match")}


class Counting:
    """Answers 0, 1, 2, ... to the rows of a call; half a nat and one token per answer."""

    def answers(
        self, messages: Sequence[Any], weights: Mapping[str, float], scale: float = 1.0
    ) -> Any:
        ones = np.ones(len(messages))
        texts = [str(row) for row in range(len(messages))]
        return SimpleNamespace(texts=texts, kl=ones, lengths=ones, reference_logprobs=-0.5 * ones)


def prompts() -> pd.DataFrame:
    """Right are: the first answer to 0, and the third answer (row 5) to 1."""
    rows = [
        {
            "messages": [{"role": "user", "content": str(number)}], "domain": "math",
            "reference": reference, "group_id": f"g{number}", "prompt_id": f"p{number}",
        }
        for number, reference in enumerate(("0", "5"))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def settings(**changes: Any) -> judged.JudgedSettings:
    defaults = {"prompts": 5, "validation_prompts": 1, "validation_samples": 1}
    return judged.JudgedSettings(
        judge=JudgeParams(pass_at=3),
        **{**defaults, "max_new_tokens": 4, "bootstrap": 10, "seed": 0, **changes},
    )


def result(**changes: Any) -> Any:
    data = judged.JudgedData(prompts(), NO_LABELS, prompts().iloc[:0])
    return judged.judge(
        Counting(), data, OBJECTIVES, {"math": ["right"]}, {"held_out": [POINT]},  # type: ignore[arg-type]
        settings(**changes),
    )  # fmt: skip


def test_a_verifier_judges_its_objective_and_counts_passes() -> None:
    """One answer each: 0 is right, 1 is not. Of three answers each, one of three is right."""
    outcome = result()
    assert outcome.held_out["gold.right"].tolist() == [1.0, 0.0]
    assert outcome.held_out["proxy.right"].isna().all()
    assert outcome.extra["pass_at"] == {
        "right": {"pass@1": pytest.approx(1 / 3), "pass@3": pytest.approx(1.0)}
    }
    assert outcome.extra["judge"] == {}
    assert len(outcome.validation) == 0


def test_writing_by_hand() -> None:
    """Half a nat per token is a perplexity of exp(.5); an answer of one token is not cut at 4."""
    (entry,) = result().extra["writing"]
    assert entry["perplexity"]["value"] == pytest.approx(np.exp(0.5))
    assert entry["length"]["value"] == 1.0
    assert entry["cut"]["value"] == 0.0
    (short,) = result(max_new_tokens=1).extra["writing"]
    assert short["cut"]["value"] == 1.0


def test_perplexity_is_over_all_tokens() -> None:
    """1 nat for 1 token and 1 nat for 3 tokens are half a nat per token."""
    frame = pd.DataFrame(
        {
            "domain": "math", "point": "equal", "group_id": ["a", "b"], "length": [1.0, 3.0],
            "reference_logprob": [-1.0, -1.0], "repetition": [0.0, 0.5], "cut": [0.0, 1.0],
        }
    )  # fmt: skip
    (entry,) = judged.writing(frame, 10, 0)
    assert entry["perplexity"]["value"] == pytest.approx(np.exp(0.5))
    assert entry["repetition"]["value"] == 0.25
    assert entry["cut"]["value"] == 0.5


@pytest.mark.parametrize(
    ("text", "share"), [("", 0.0), ("a b c", 0.0), ("a b c a b c", 0.25), ("no no no no no", 2 / 3)]
)
def test_repetition(text: str, share: float) -> None:
    assert judged.repetition(text) == pytest.approx(share)


def test_a_judge_needs_its_protocol() -> None:
    entry = {
        "protocol": "sandbox", "weights": {"right": 1.0}, "prompts": 1, "validation_prompts": 1,
        "sweep": 2, "bootstrap": 1, "locked_seed": 0, "judge": {"folds": 3},
    }  # fmt: skip
    with pytest.raises(ParamsError, match="remove `judge`, or use `protocol: judged`"):
        section(EvaluateParams, entry, "evaluate")
    assert section(EvaluateParams, {**entry, "protocol": "judged"}, "evaluate").judging.folds == 3
    with pytest.raises(ParamsError, match="folds"):
        section(EvaluateParams, {**entry, "protocol": "judged", "judge": {"folds": 1}}, "evaluate")


def test_a_domain_without_held_out_prompts_is_an_error() -> None:
    with pytest.raises(DataError, match="no prompts of the domain chat"):
        judged.held_out_prompts(prompts(), "chat", 3)


def test_with_few_groups_each_is_a_fold() -> None:
    """Three groups and five folds: the judge of a group learns from the other two."""
    rows = [
        {
            "messages": [{"role": "user", "content": f"question {group}"}],
            "group_id": group,
            "response": f"{word} {group}",
            "objective": "kind",
            "rating": grade,
            "kind": "rating",
        }
        for group in "abc"
        for word, grade in (("warm", 1.0), ("cold", 0.0))
    ]
    none = pd.DataFrame(
        columns=["messages", "group_id", "chosen", "rejected", "objective", "origin"]
    )
    labels = Labels(pd.DataFrame(rows), none)
    prompts = pd.DataFrame({"group_id": list("abc")})
    judge = fitted(labels, prompts, "qa", ["kind"], 5, None)
    assert sorted(judge.folds.values()) == [0, 1, 2]
