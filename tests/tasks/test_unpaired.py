"""Binary labels for a single answer per prompt, from the source to the reward model's report."""

import json
from pathlib import Path
from typing import Any

import pytest

from concord.lm.load import load_tokenizer
from concord.rewards.process import process_model as process
from concord.stage import outputs
from tasks import evaluate_rewards, ingest, prepare, reward_model

OBJECTIVES = {"kind": {"domain": "talk", "description": "", "reward": "r"}}
PARAMS = {
    "seeds": {"data": 0, "sampling": 0},
    "runtime": {"threads": 1, "device": "cpu"},
    "model": {
        "name": "base",
        "revision": None,
        "files": "base",
        "chat_template": "base/chat_template.jinja",
        "max_length": 64,
    },
    "sources": {"mine": {"format": "concord", "path": "mine.jsonl"}},
    "objectives": OBJECTIVES,
    "reward_models": {
        "r": {
            "objectives": {"kind": {}},
            "training": {"learning_rate": 0.01, "steps": 60, "batch_size": 8, "micro_batch": 8},
        }
    },
    "prepare": {"validation": 0.25, "test": 0.25},
    "evaluate": {
        "protocol": "judged",  # the likelihood protocol needs two answers to a prompt
        "prompts": 20,
        "validation_prompts": 5,
        "locked_seed": 1,
        "bootstrap": 20,
    },
    "evaluate_rewards": {"pairs": 100},
}


def _lines(number: int) -> list[dict[str, Any]]:
    """Answers of "a" are kind, and answers of "b" are not."""
    shared = {"group_id": f"g{number}", "messages": [{"role": "user", "content": f"q{number}"}]}
    answer, label = ("ab"[number % 2] * (3 + number % 5), (number + 1) % 2)
    return [
        {**shared, "kind": "prompt", "domain": "talk"},
        {**shared, "kind": "demonstration", "domain": "talk", "response": answer, "author": "x"},
        {
            **shared,
            "kind": "binary",
            "objective": "kind",
            "annotator": "x",
            "response": answer,
            "label": label,
        },
    ]


def test_from_the_source_to_the_report(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    for link in ("base", "models/sft"):
        Path(link).symlink_to(tiny_model)
    Path("params.yaml").write_text(json.dumps(PARAMS), encoding="utf-8")
    Path("mine.jsonl").write_text(
        "\n".join(json.dumps(line) for n in range(160) for line in _lines(n))
    )
    tokenizer = load_tokenizer(tiny_model)
    process.new_model(tiny_model, ["kind"], tokenizer, "cpu", "float32", 0).save_pretrained(
        "models/process_reward"
    )
    tokenizer.save_pretrained("models/process_reward")
    outputs.write_json("reports/timing/process_reward.json", {})
    ingest.run(
        "mine",
        ingest.Source("concord", "mine.jsonl"),
        ingest.IngestParams(0.5),
        Path("data/ingested/mine"),
    )
    outputs.write_json("data/checks.json", {})
    prepare.main()
    reward_model.main("r")
    evaluate_rewards.main()
    report = outputs.read_json("reports/rewards/r.json")["kind"]
    assert (report["pairs"], report["pair_accuracy"]) == (0, None)
    assert (
        report["grades"]["grades"]
        == outputs.read_json("reports/data.json")["splits"]["ratings"]["test"]
    )
    assert report["grades"]["auc"] > 0.95
    assert report["calibration"]["temperature"] is None
