"""Keys of labels: what is known, what is new, and what the known labels predict."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from concord.objectives import Objective
from concord.prepared.label_keys import TABLES, all_keys, divide, label_keys, read_labels
from concord.prepared.splits import SPLITS
from concord.prepared.word_preferences import WordPreferences, agreement_figures
from concord.stage import outputs

OBJECTIVES = {"helpful": Objective("values", "", reward="values")}


def pairs(first: int, last: int, right: float = 0.9) -> pd.DataFrame:
    """`please` is preferred to its absence with the probability `right`."""
    noise = np.random.default_rng(first)
    rows = []
    for index in range(first, last):
        better, worse = f"please do {index}", f"go do {index}"
        chosen, rejected = (better, worse) if noise.random() < right else (worse, better)
        messages = [{"role": "user", "content": f"prompt {index}"}]
        rows.append((messages, f"group {index}", chosen, rejected))
    table = pd.DataFrame(rows, columns=["messages", "group_id", "chosen", "rejected"])
    return table.assign(objective="helpful", annotator="ada")


def rows(*names: str) -> pd.DataFrame:
    return pd.DataFrame({"row_id": list(names)})


def flipped(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns={"chosen": "rejected", "rejected": "chosen"})


def test_only_appended_and_changed_labels_are_new() -> None:
    old = {"pairs": pairs(0, 20), "ratings": rows("a", "b"), "steps": rows("c")}
    known = all_keys(old)["key"].to_numpy()
    assert len(known) == 23
    assert known.dtype == np.uint32
    assert (np.diff(known.astype(np.int64)) > 0).all()
    turned = pd.concat([flipped(old["pairs"][:1]), old["pairs"][1:].assign(group_id="merged")])
    later = {"pairs": turned, "ratings": rows("b", "d", "a"), "steps": rows("c")}
    same, new = divide(later, known)
    assert {name: len(table) for name, table in new.items()} == {
        "pairs": 1,
        "ratings": 1,
        "steps": 0,
    }
    assert new["pairs"]["chosen"].item() == old["pairs"]["rejected"][0]
    assert sum(map(len, same.values())) == 22


@pytest.mark.parametrize("column", ["objective", "annotator", "chosen", "messages"])
def test_every_part_of_a_pair_counts(column: str) -> None:
    one = pairs(0, 1)
    other = one.assign(**{column: "x"} if column != "messages" else {column: pairs(1, 2)[column]})
    assert label_keys(one) != label_keys(other)


def test_all_splits_are_read(tmp_path: Path) -> None:
    for table in TABLES:
        for number, split in enumerate(SPLITS):
            outputs.write_table(tmp_path / table / f"{split}.parquet", rows(f"{table} {number}"))
    assert {name: len(table) for name, table in read_labels(tmp_path).items()} == dict.fromkeys(
        TABLES, 3
    )


def test_words_predict_which_answer_is_preferred() -> None:
    learned = WordPreferences.of(pairs(0, 200))
    assert learned.words["please"] > 1
    assert learned.words["go"] < -1
    assert learned.agreement(pairs(200, 300, right=1.0)).mean() == 1
    assert learned.agreement(pairs(200, 300, right=0.0)).mean() == 0
    unknown = pd.DataFrame({"chosen": ["same length"], "rejected": ["these words"]})
    assert learned.agreement(unknown).tolist() == [0.5]


def test_flipped_labels_agree_as_seldom_as_others_disagree() -> None:
    name = "helpful: preferred as other labels predict"
    before, after = agreement_figures(pairs(0, 400), pairs(400, 460), OBJECTIVES)
    _, turned = agreement_figures(pairs(0, 400), flipped(pairs(400, 460)), OBJECTIVES)
    assert before[name]["mean"] == pytest.approx(after[name]["mean"], abs=0.1)
    assert turned[name]["mean"] == pytest.approx(1 - after[name]["mean"])
    assert turned[name]["groups"] == 60
    known, none = agreement_figures(pairs(0, 400), pairs(0, 9), OBJECTIVES)
    assert known == before
    assert not none
    assert agreement_figures(pairs(0, 0), pairs(0, 9), OBJECTIVES) == ({}, {})
