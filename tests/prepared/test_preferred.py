"""Demonstrations from preferences: answers that more pairs prefer than reject."""

import pandas as pd

from concord.annotations import schemas
from concord.objectives import Objective
from concord.prepared.pairs import COLUMNS
from concord.prepared.preferred import preferred_answers

OBJECTIVES = {
    "kind": Objective(domain="chat", description="", reward="chat"),
    "brief": Objective(domain="chat", description="", reward="chat"),
}


def pairs(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """Pairs of (prompt, objective, chosen, rejected)."""
    shared = {"source": "mine", "source_file": "", "source_line": 1, "annotator": "ann"}
    shared |= {"margin": None, "origin": "comparisons", "rejected_author": None}
    table = [
        {
            **shared,
            "group_id": prompt,
            "messages": [{"role": "user", "content": prompt}],
            "objective": objective,
            "chosen": chosen,
            "rejected": rejected,
            "chosen_author": "writer" if chosen == "a" else None,
        }
        for prompt, objective, chosen, rejected in rows
    ]
    return pd.DataFrame(table, columns=COLUMNS)


def test_answers_that_are_preferred_more_often_than_rejected() -> None:
    """a wins twice and loses once; b wins and loses once; c loses. At Q, c wins."""
    table = preferred_answers(
        pairs(
            ("P", "kind", "a", "b"),
            ("P", "kind", "a", "c"),
            ("P", "brief", "b", "a"),
            ("Q", "brief", "c", "a"),
        ),
        OBJECTIVES,
    )
    rows = [
        (turns[0]["content"], answer)
        for turns, answer in zip(table["messages"], table["response"], strict=True)
    ]
    assert rows == [("P", "a"), ("Q", "c")]
    assert table["author"].tolist() == ["writer", "preferred"]
    assert set(table["domain"]) == {"chat"}
    assert not schemas.failures("demonstrations", table)


def test_without_pairs_there_are_none() -> None:
    assert preferred_answers(pairs(), OBJECTIVES).empty
