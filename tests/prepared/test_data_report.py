"""The data report: counts by table, split and objective."""

import pandas as pd
import pytest

from concord.objectives import Objective
from concord.prepared.data_report import missing_label_shares

OBJECTIVES = {
    "fun": Objective("math", "", reward="r"),
    "clear": Objective("math", "", reward="r"),
    "kind": Objective("talk", "", reward="r"),
    "overall": Objective("all", "", reward="r"),
}


def test_missing_labels_are_counted_within_the_domain() -> None:
    """In the domain math, `a` has a label of `fun` and of `clear`, `b` only of `fun`."""
    pairs = pd.DataFrame(
        [{"group_id": "g", "chosen": "a", "rejected": "b", "objective": "fun"}], dtype=object
    )
    ratings = pd.DataFrame(
        [
            {"group_id": "g", "response": "a", "objective": "clear"},
            {"group_id": "h", "response": "c", "objective": "overall"},
        ]
    )
    assert missing_label_shares(pairs, ratings, OBJECTIVES) == {
        "fun": 0.0,
        "clear": 0.5,
        "kind": None,
        "overall": pytest.approx(2 / 3),
    }
