"""The baselines on small tables, compared with values computed by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.rewards import baselines
from concord.stage.outputs import write_table


def pair(
    group: int, chosen: str, rejected: str, better: str | None, worse: str | None
) -> dict[str, Any]:
    row = {
        "group_id": f"g{group}",
        "objective": "kind",
        "messages": [{"role": "user", "content": f"q{group}"}],
    }
    return {
        **row,
        "chosen": chosen,
        "rejected": rejected,
        "chosen_author": better,
        "rejected_author": worse,
    }


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def test_the_length_baseline_counts_a_tie_as_one_half() -> None:
    """The longer answer wins two of four pairs, loses one and ties one: (2 + 0.5) / 4."""
    test = table(
        pair(1, "aaa", "a", None, None),
        pair(2, "aaa", "a", None, None),
        pair(3, "a", "aaa", None, None),
        pair(4, "aa", "bb", None, None),
    )
    result = baselines.accuracy(test, np.array([1.0, 1.0, -1.0, 0.0]))
    assert result.value == pytest.approx(0.625)
    assert baselines.pair_baselines(test, test)["longer"] == result
    assert result.low < 0.625 < result.high


def test_authors_and_words_are_learned_from_the_training_pairs() -> None:
    """Ann writes better than Bob, and `please` is the better word: all test pairs are right."""
    train = table(*(pair(i, "please go", "just go", "Ann", "Bob") for i in range(6)))
    test = table(
        pair(7, "please sit", "just sit", "Ann", "Bob"),
        pair(8, "please go", "just go", "Ann", "Bob"),
    )
    result = baselines.pair_baselines(train, test)
    assert {name: result[name].value for name in ("author", "tf_idf") if result[name]} == {
        "author": 1.0,
        "tf_idf": 1.0,
    }
    turned = test.rename(
        columns={"chosen_author": "rejected_author", "rejected_author": "chosen_author"}
    )
    other = baselines.pair_baselines(train, turned)
    assert other["author"] is not None
    assert (other["author"].value, result["tf_idf"]) == (0.0, other["tf_idf"])


def test_author_columns_are_empty_without_authors() -> None:
    train = table(*(pair(i, "please go", "just go", None, None) for i in range(3)))
    result = baselines.pair_baselines(train, train)
    assert (result["author"], result["unseen authors"]) == (None, None)
    assert baselines.format_interval(None) == "-"


def test_pairs_of_unseen_authors_share_no_author_with_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Authors a, b, c, d: trained on pairs within {a, c}, tested within {b, d}, and vice versa."""
    train = table(
        *(
            pair(i, "please go", "just go", *names)
            for i, names in enumerate(("ac", "bd", "ab", "cd"))
        )
    )
    test = table(
        pair(9, "please go", "just go", "b", "d"), pair(10, "please go", "just go", "a", "b")
    )
    fitted: list[set[str]] = []
    fit = baselines.bradley_terry

    def watched(frame: pd.DataFrame, *args: Any) -> Any:
        fitted.append({*frame["chosen_author"], *frame["rejected_author"]})
        return fit(frame, *args)

    monkeypatch.setattr(baselines, "bradley_terry", watched)
    monkeypatch.setattr(
        baselines, "word_features", lambda texts: baselines.name_features(texts)
    )  # min_df needs more rows than a fixture has
    assert baselines.unseen_authors(train, test) is not None
    assert fitted == [{"a", "c"}]


def graded(problem: int, author: str, final: int | None, right: int) -> dict[str, Any]:
    text = "I give up" if final is None else f"so\n\n\\boxed{{{final}}}"
    row = {
        "problem": f"p{problem}",
        "group_id": f"g{problem}",
        "author": author,
        "response": text,
        "correct": float(right),
    }
    return {**row, "final": None if final is None else str(final)}


def test_picking_among_answers() -> None:
    """Two problems with four answers each.

    Random: (2/4 + 1/4) / 2. The large model is right on the second problem only. The majority of
    the first problem says 3 (right). On the second, three answers tie with one vote each, and the
    answer without a final answer has none: 1/3.
    """
    test = table(
        *(
            graded(1, name, final, int(final == 3))
            for name, final in zip("abcL", (3, 3, 5, 7), strict=True)
        ),
        *(
            graded(2, name, final, int(final == 9))
            for name, final in zip("abcL", (1, 2, None, 9), strict=True)
        ),
    )
    train = table(graded(5, "a", 1, 0), graded(5, "L", 2, 1))
    ways = baselines.pick_baselines(train, test)
    means = {way: baselines.pick_accuracy(test, scores) for way, scores in ways.items()}
    assert {way: result.value for way, result in means.items() if result} == {
        "random": pytest.approx(3 / 8),
        "majority": pytest.approx((1 + 1 / 3) / 2),
        "best author": 0.5,
        "oracle": 1.0,
    }


def test_votes_are_weighted() -> None:
    """The two 3s weigh .2 together, the 5 weighs .7; an unreadable answer has no weight."""
    test = table(
        *(graded(1, name, final, 0) for name, final in zip("abc", (3, 3, 5), strict=True)),
        graded(2, "a", None, 0),
    )
    ways = baselines.pick_by_scores(test, np.array([0.1, 0.1, 0.7, 0.9]))
    assert ways["weighted vote"].tolist() == pytest.approx([0.2, 0.2, 0.7, 0.0])
    assert ways["reward model"].tolist() == [0.1, 0.1, 0.7, -np.inf]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Prepared tables of a checkable objective, whose answers have authors."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        pairs, ratings = [], []
        for number in range(4):
            messages = [{"role": "user", "content": f"{split} {number}?"}]
            shared = {"group_id": f"{split}{number}", "messages": messages, "objective": "right"}
            texts = {
                "Ann": f"well {number} \\boxed{{{number}}}",
                "Bob": f"hm {number} \\boxed{{7}}",
            }
            sides = {
                "chosen": texts["Ann"],
                "rejected": texts["Bob"],
                "chosen_author": "Ann",
                "rejected_author": "Bob",
            }
            pairs.append({**shared, **sides})
            ratings += [
                {**shared, "response": text, "rating": float(who == "Ann"), "author": who}
                for who, text in texts.items()
            ]
        write_table(f"data/prepared/rewards/m/{split}.parquet", pd.DataFrame(pairs))
        write_table(f"data/prepared/ratings/{split}.parquet", pd.DataFrame(ratings))
    objective = {"domain": "math", "description": "right", "verifier": "math_answer"}
    return {
        "objectives": {"right": objective},
        "reward_models": {"m": {"objectives": {"right": {}}}},
    }


def test_the_printed_tables(project: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Ann is right on every problem. Each final answer has one vote, so the majority ties."""
    Path("params.yaml").write_text(json.dumps(project), encoding="utf-8")
    baselines.main()
    printed = capsys.readouterr().out.splitlines()
    assert printed[2].startswith(
        "| right (m) | 4 | 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] | 1.000"
    )
    cells = [cell.split(" ")[1] for cell in printed[-1].split("|")[1:-1]]
    assert cells == ["right", "4", "0.500", "0.500", "1.000", "-", "-", "1.000"]
