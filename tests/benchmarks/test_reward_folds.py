"""The folds of reward heads read ratings and pairs of any source format."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import frozen_reading, reward_data
from benchmarks.reward_folds import pair_table
from benchmarks.reward_judge import Judge, fitted
from concord.lm.load import load_tokenizer
from concord.stage.errors import DataError


def lines(kind: str, count: int = 40) -> list[dict[str, Any]]:
    """Answers of "a" are better; every prompt has a pair of them, or a rating of each."""
    rows: list[dict[str, Any]] = []
    for number in range(count):
        shared = {
            "group_id": f"g{number}",
            "messages": [{"role": "user", "content": f"{number * 7919 % 1000} {number} ?"}],
            "objective": "kind",
            "annotator": "ada",
        }
        good, bad = "a" * (2 + number % 4), "b" * (2 + number % 3)
        if kind == "pairs" or (kind == "both" and number % 2):
            sides = {"a": bad, "b": good, "preferred": "b"}
            rows.append({**shared, "kind": "comparison", **sides})
        else:
            for answer, rating in ((good, 2), (bad, 1)):
                rated = {"response": answer, "rating": rating, "scale": [1, 2]}
                rows.append({**shared, "kind": "rating", **rated})
    return rows


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(folder: Path, rows: list[dict[str, Any]], model: Path) -> reward_data.Data:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return reward_data.load("concord", str(path), load_tokenizer(model), None)


@pytest.mark.parametrize(
    ("kind", "ratings", "stated"), [("pairs", 0, 40), ("ratings", 80, 0), ("both", 40, 20)]
)
def test_pairs_and_ratings_are_read_and_judged(
    project: Path, tiny_model: Path, kind: str, ratings: int, stated: int
) -> None:
    data = read(project, lines(kind), tiny_model)
    assert (len(data.ratings), len(data.pairs)) == (ratings, 40)
    assert (data.pairs["origin"] == "comparisons").sum() == stated
    assert len(data.groups) == 40
    ways = ("given", "implied_pairs")
    judge = Judge(tiny_model, [1, 2], ["last"], "float32", ways, data, project / "cache")
    results = list(fitted(judge, data, 2))
    assert not results[0].train.groups & results[0].test.groups
    table = pair_table(judge, data, results, separate=False)
    cells = next(line for line in table if line.startswith("| kind")).split("|")
    assert cells[2].strip() == "40"
    assert float(cells[3].split()[0]) > 0.9


def test_a_source_without_anything_to_predict(project: Path, tiny_model: Path) -> None:
    with pytest.raises(DataError, match="no ratings that differ and no pairs"):
        read(project, [row | {"rating": 1} for row in lines("ratings")], tiny_model)


def test_reading_is_counted_with_each_saving(
    project: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same answers are stated by two people, and prompts are longer than 64 tokens."""
    rows = lines("both", 12)
    for row in rows:
        row["messages"] = [{"role": "user", "content": row["messages"][0]["content"] * 10}]
    rows += [{**row, "annotator": "bo"} for row in rows]
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.model_max_length = 64
    texts = frozen_reading.texts(read(project, rows, tiny_model))
    assert len(texts) == 48
    tried = list(frozen_reading.variants(texts, tokenizer, tiny_model, [1]))[:4]
    counts = [(len(each.sequences), len(each.backbone.layers)) for each in tried]
    assert counts == [(48, 2), (24, 2), (24, 2), (24, 1)]
    capsys.readouterr()
    table = list(frozen_reading.table(tried, 1, tokenizer.pad_token_id))
    tokens = [int(line.split("|")[4]) for line in table[2:]]
    assert tokens[0] > tokens[2]
    assert tokens[1] > 1.3 * tokens[2]
    assert tokens[2] == tokens[3]
