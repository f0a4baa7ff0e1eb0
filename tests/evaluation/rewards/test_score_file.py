"""`concord score`: figures of a trained model on a file, beside baselines, and clear refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.rewards.score_file import score
from concord.evaluation.rewards.scored_file import heads_and_labels
from concord.evaluation.rewards.scoring import steps_as_grades
from concord.evaluation.rewards.trained_models import open_model
from concord.lm.load import load_causal
from concord.rewards.outcome import reward_model
from concord.rewards.outcome.probe import Probe
from concord.rewards.process import process_model
from concord.stage.errors import DataError, ModelError, ParamsError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Works in a folder without params.yaml and models."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def outcome(tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path) -> Path:
    """A fine-tuned model with two heads."""
    path, names = tmp_path / "models/rewards/values", ["helpful", "honest"]
    tiny_tokenizer.model_max_length = 64
    model = reward_model.new_model(tiny_model, names, tiny_tokenizer, "cpu", "float32", seed=0)
    model.save_pretrained(path)
    tiny_tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def process(tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path) -> Path:
    """A process reward model with one head."""
    path = tmp_path / "models/process_reward"
    tiny_tokenizer.model_max_length = 128
    model = process_model.new_model(tiny_model, ["sound"], tiny_tokenizer, "cpu", "float32", 0)
    model.save_pretrained(path)
    tiny_tokenizer.save_pretrained(path)
    return path


def write(name: str, rows: list[dict[str, Any]]) -> Path:
    path = Path(name)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pairs(count: int = 30) -> list[dict[str, Any]]:
    """The preferred answer is always the shorter one, and has a word of its own."""
    return [
        {"prompt": f"Q{row}?", "chosen": f"fine {row % 7}", "rejected": f"it is bad {row % 5}"}
        for row in range(count)
    ]


def value_of(text: str, name: str, after: str = "") -> float:
    """The number in the line that begins with `name`, after a heading."""
    lines = text[text.index(after) :].splitlines()
    line = next(line for line in lines if line.strip().startswith(name))
    return float(line.strip().removeprefix(name).split()[0])


def test_pair_accuracy_beside_baselines(outcome: Path) -> None:
    path = write("pairs.jsonl", pairs())
    text = score(outcome, path, "honest", "", {}, "scores.parquet")
    scores = pd.read_parquet("scores.parquet")
    model = reward_model.load(outcome)
    messages = [[{"role": "user", "content": row["prompt"]}] for row in pairs()]
    sides = [
        model.score(messages, [row[side] for row in pairs()])[:, 1]
        for side in ("chosen", "rejected")
    ]
    expected = float(np.mean(sides[0] > sides[1]))
    assert value_of(text, "model") == pytest.approx(expected, abs=5e-4)
    assert "honest, against the labels of overall" in text
    assert "pair accuracy (30 pairs of 30 prompts)" in text
    assert value_of(text, "length") == 0.0
    assert value_of(text, "TF-IDF, cross-validated") == 1.0
    assert value_of(text, "chance") == 0.5
    assert len(scores) == 60
    chosen = scores[scores["side"] == "chosen"]
    np.testing.assert_allclose(chosen["score.honest"], sides[0], atol=1e-4)


def test_pairs_of_rankings_count_too(outcome: Path) -> None:
    rows = [
        {"prompt": f"Q{row}?", "responses": ["one", "two", "six"], "ranks": [1, 2, 2]}
        for row in range(4)
    ]
    text = score(outcome, write("r.jsonl", rows), "helpful", "", {}, "")
    assert "pair accuracy (8 pairs of 4 prompts)" in text
    assert "too few labels" in text


def test_binary_labels_and_ratings(outcome: Path) -> None:
    rows = [
        {
            "prompt": f"Q{row}?",
            "response": "good" if row % 2 else "bad it is",
            "rating": 5 - row % 2,
        }
        for row in range(30)
    ]
    text = score(outcome, write("ratings.jsonl", rows), "helpful", "", {}, "")
    assert "rank correlation (30 ratings of 30 prompts)" in text
    assert value_of(text, "length", "rank correlation") == 1.0
    assert value_of(text, "TF-IDF, cross-validated", "rank correlation") > 0.8
    rows = [
        {"prompt": f"Q{row}?", "completion": ["bad it is", "good"][row % 2], "label": row % 2}
        for row in range(30)
    ]
    text = score(outcome, write("labels.jsonl", rows), "helpful", "", {}, "")
    assert "AUC (30 labels of 30 prompts)" in text
    assert value_of(text, "length", "AUC") == 0.0
    assert value_of(text, "chance", "AUC") == 0.5


def solutions(count: int = 24) -> list[dict[str, Any]]:
    """Half of the solutions have an error, in the step with the word `wrong`."""
    rows = []
    for row in range(count):
        steps = ["Start.", "wrong turn" if row % 2 else "good turn", "End."]
        rows.append(
            {"prompt": f"Q{row}?", "completions": steps, "labels": [True, not row % 2, True]}
        )
    return rows


def test_step_labels(process: Path) -> None:
    text = score(process, write("steps.jsonl", solutions()), "", "", {}, "scores.parquet")
    assert "sound, against the labels of overall" in text
    assert "AUC of steps (72 steps of 24 answers)" in text
    assert value_of(text, "TF-IDF, cross-validated", "AUC of steps") == 1.0
    assert value_of(text, "TF-IDF, cross-validated", "first error found") == 1.0
    assert value_of(text, "chance", "first error found") == 1.0  # always the second step
    assert value_of(text, "TF-IDF, cross-validated", "F1 of first errors") >= 0.8
    assert 0.0 <= value_of(text, "model", "F1 of first errors") <= 1.0
    scores = pd.read_parquet("scores.parquet")
    loaded = process_model.load(process)
    messages = [{"role": "user", "content": "Q0?"}]
    table = loaded.score(messages, ["Start.\n\n", "good turn\n\n", "End."])
    assert scores["score.sound"][0] == pytest.approx(float(np.prod(table[:, 0])), abs=1e-4)


def test_answer_model_on_step_labels_judges_whole_answers(outcome: Path) -> None:
    text = score(outcome, write("steps.jsonl", solutions()), "helpful", "", {}, "")
    assert "AUC (24 labels of 24 prompts)" in text
    frame = pd.DataFrame(
        {"group_id": ["g"], "messages": [[]], "objective": ["x"], "steps": [["a", "b"]]}
    )
    assert steps_as_grades(frame.assign(labels=[[1.0, None]]))["rating"].tolist() == [1.0]
    assert steps_as_grades(frame.assign(labels=[[1.0, 0.0]]))["rating"].tolist() == [0.0]


def test_process_model_on_pairs(process: Path) -> None:
    text = score(process, write("pairs.jsonl", pairs(6)), "", "", {}, "")
    assert "pair accuracy (6 pairs of 6 prompts)" in text


def test_probe_is_opened(tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path) -> None:
    tiny_tokenizer.model_max_length = 64
    heads = {"weight": np.linspace(-1, 1, 32).reshape(1, 32), "bias": np.zeros(1)}
    probe = Probe(load_causal(tiny_model), tiny_tokenizer, [1], ["helpful"], heads)
    (tmp_path / "probe").mkdir()
    probe.save(tmp_path / "probe", tiny_model, tmp_path / "probe")
    text = score(tmp_path / "probe", write("pairs.jsonl", pairs(6)), "", "", {}, "")
    assert "helpful, against the labels of overall" in text


def test_answers_without_labels_get_scores_only(outcome: Path) -> None:
    rows = [{"prompt": "Q?", "completion": f"answer {row}"} for row in range(5)]
    text = score(outcome, write("answers.jsonl", rows), "", "", {}, "scores.parquet")
    assert "scores of helpful: mean" in text
    assert "has no labels of it" in text
    assert {"score.helpful", "score.honest"} <= {*pd.read_parquet("scores.parquet").columns}


def test_answer_that_is_too_long_costs_its_row_only(outcome: Path) -> None:
    rows = pairs(6)
    rows[2]["chosen"] = "x" * 100
    text = score(outcome, write("pairs.jsonl", rows), "helpful", "", {}, "")
    assert "1 answers do not fit into the model" in text
    assert "pair accuracy (5 pairs of 5 prompts)" in text


def test_refusals(outcome: Path, tiny_model: Path) -> None:
    path = write("pairs.jsonl", pairs(4))
    with pytest.raises(ModelError, match=r"no folder gone; trained here: models/rewards/values"):
        score(Path("gone"), path, "", "", {}, "")
    with pytest.raises(ModelError, match=r"models/rewards holds no model: .*models/rewards/values"):
        score(Path("models/rewards"), path, "", "", {}, "")
    with pytest.raises(ModelError, match="LlamaForCausalLM, which has no heads"):
        open_model(tiny_model)
    with pytest.raises(ModelError, match="no head for 'helpfull'; did you mean helpful"):
        score(outcome, path, "helpfull", "", {}, "")
    with pytest.raises(DataError, match="say which head to compare with --objective"):
        score(outcome, path, "", "", {}, "")
    with pytest.raises(ParamsError, match=r"name it \*\.parquet"):
        score(outcome, path, "", "", {}, "scores.csv")
    prompts = write("prompts.jsonl", [{"prompt": "Q?"}])
    with pytest.raises(DataError, match="prompts but no answers"):
        score(outcome, prompts, "", "", {}, "")
    broken = write("broken.jsonl", [{"prompt": "Q?", "chosen": 3, "rejected": 4}])
    with pytest.raises(DataError, match=r"`concord inspect broken\.jsonl` says why"):
        score(outcome, broken, "", "", {}, "")


@pytest.mark.parametrize(
    ("wanted", "labelled", "heads", "expected"),
    [
        ("", [], ["a"], {}),
        ("", ["a", "b"], ["b", "c"], {"b": "b"}),
        ("", ["x"], ["a"], {"a": "x"}),
        ("a", ["x"], ["a", "b"], {"a": "x"}),
        ("a", ["a", "b"], ["a", "b"], {"a": "a"}),
    ],
)
def test_labels_are_matched_with_heads(
    wanted: str, labelled: list[str], heads: list[str], expected: dict[str, str]
) -> None:
    assert heads_and_labels(wanted, labelled, heads, Path("x")) == expected


def test_several_objectives_none_of_which_is_meant() -> None:
    with pytest.raises(DataError, match="labels of x, y, none of a"):
        heads_and_labels("a", ["x", "y"], ["a"], Path("f"))
