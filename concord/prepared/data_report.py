"""The data report: what the prepared tables contain, by source, split and objective.

It has the sizes of all tables, the labels of each objective, the agreement of the annotators, and
the overlap between the splits.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from concord.objectives import Objective
from concord.prepared import leakage, splits
from concord.prepared.agreement import survey
from concord.prepared.splits import Parts

LABELLED = ("comparisons", "ratings", "steps", "pairs")
"""Tables with labels of objectives."""


def data_report(
    tables: Mapping[str, pd.DataFrame],
    parts: Parts,
    objectives: Mapping[str, Objective],
    near_train: Mapping[str, int],
    shares: tuple[float, float],
) -> dict[str, Any]:
    """The entries of the report that depend on the prepared tables only.

    Args:
        tables: the prepared tables, with `pairs`.
        parts: the same tables by split.
        objectives: the known objectives.
        near_train: held-out split -> number of its prompts that had a near duplicate in train
            before their groups were merged; empty if near duplicates were not searched for.
        shares: the shares of validation and test, as asked.
    """
    contents = {
        split: leakage.contents_of(part[split] for part in parts.values())
        for split in splits.SPLITS
    }
    prompts, groups = (
        {split: len(content[kind]) for split, content in contents.items()}
        for kind in ("prompts", "groups")
    )
    report = {
        "tables": {table: _count(frame, "source") for table, frame in tables.items()},
        "splits": {
            table: {split: len(frame) for split, frame in part.items()}
            for table, part in parts.items()
        },
        "objectives": label_counts(parts, objectives),
        **survey(tables["pairs"], tables["ratings"], list(objectives)),
        "split_sizes": splits.sizes(prompts, groups, *shares),
        "leakage": leakage.overlap(contents),
    }
    for split, count in near_train.items():
        report["leakage"][split]["near_train_before_merging"] = count
    return report


def label_counts(parts: Parts, objectives: Mapping[str, Objective]) -> dict[str, dict[str, Any]]:
    """Objective -> its labels by table and split, and its `missing_label_share`."""
    shares = missing_label_shares(
        pd.concat(parts["pairs"].values()), pd.concat(parts["ratings"].values()), objectives
    )
    return {
        name: {
            **{
                table: {s: int((f["objective"] == name).sum()) for s, f in parts[table].items()}
                for table in LABELLED
            },
            "missing_label_share": shares[name],
        }
        for name in objectives
    }


def missing_label_shares(
    pairs: pd.DataFrame, ratings: pd.DataFrame, objectives: Mapping[str, Objective]
) -> dict[str, float | None]:
    """Objective -> share of the labelled answers in its domain that have no label for it.

    None if no answer of the domain is labelled.
    """
    answers = [ratings.rename(columns={"response": "answer"})]
    answers += [pairs.rename(columns={side: "answer"}) for side in ("chosen", "rejected")]
    judged = pd.concat([frame[["group_id", "answer", "objective"]] for frame in answers])
    answers_by_objective = {
        name: set(zip(rows["group_id"], rows["answer"], strict=True))
        for name, rows in judged.groupby("objective")
    }
    shares: dict[str, float | None] = {}
    for name, objective in objectives.items():
        in_domain = [
            answers_by_objective.get(other, set())
            for other in objectives
            if objective.domain in ("all", objectives[other].domain)
        ]
        total = set().union(*in_domain)
        labelled = answers_by_objective.get(name, set())
        shares[name] = 1 - len(labelled) / len(total) if total else None
    return shares


def _count(frame: pd.DataFrame, column: str) -> dict[str, int]:
    return {str(name): int(count) for name, count in frame[column].value_counts(sort=False).items()}
