"""The table of labelled steps that the process reward model is trained on.

It joins the labels of sampled answers with the human step labels of the sources, and counts them
for the report.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from concord.objectives import Objective
from concord.rewards.process.labelling import Derivation, Labelling
from concord.stage import outputs
from concord.stage.errors import DataError
from concord.stage.paths import PREPARED

COLUMNS = ["messages", "steps", "objective", "labels", "label_kind", "group_id", "source"]


def human_rows(split: str, objectives: Collection[str]) -> list[dict[str, Any]]:
    """The rows with human step labels for these objectives, from the prepared tables."""
    frame = outputs.read_table(PREPARED / f"steps/{split}.parquet")
    requested = frame[frame["objective"].isin(list(objectives))]
    print(
        f"{split}: {len(requested)} answers with human step labels used, "
        f"{len(frame) - len(requested)} of other objectives ignored"
    )
    return [
        {str(name): value for name, value in row.items()} for row in requested.to_dict("records")
    ]


def step_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The table of these rows, which may have more than its columns."""
    return pd.DataFrame([{name: row[name] for name in COLUMNS} for row in rows], columns=COLUMNS)


def require_labels(table: pd.DataFrame, objectives: Collection[str]) -> None:
    """Raises DataError if an objective has no labelled step."""
    labelled = table.loc[
        [bool(np.isfinite(np.array(labels, dtype=float)).any()) for labels in table["labels"]]
    ]
    missing = [name for name in objectives if name not in set(labelled["objective"])]
    if missing:
        raise DataError(
            f"no steps are labelled for {', '.join(missing)}, so the head cannot be fitted; "
            "add references (for hindsight labels) or human step labels to a source, "
            "or remove the objective from process_labels.objectives"
        )


def labelling_report(
    derived: Mapping[str, Derivation],
    objectives: Mapping[str, Objective],
    labellings: Mapping[str, Labelling],
    tables: Mapping[str, pd.DataFrame],
    against_people: Mapping[str, Any],
) -> dict[str, Any]:
    """Objective -> its properties, labelling method and number of labelled answers by split.

    Args:
        derived: objective -> its labeller.
        objectives: the known objectives.
        labellings: objective -> its entry in `process_labels.objectives`.
        tables: split -> its table.
        against_people: objective -> agreement of its judge with human labels; null where missing.
    """
    report = {}
    for name, derivation in derived.items():
        objective, labelling = objectives[name], labellings[name]
        rows = {split: table[table["objective"] == name] for split, table in tables.items()}
        by_kind = {
            split: {
                str(kind): int(count) for kind, count in frame["label_kind"].value_counts().items()
            }
            for split, frame in rows.items()
        }
        report[name] = {
            "verifiable": objective.verifier is not None,
            "steps": labelling.steps,
            "rollouts": labelling.rollouts,
            "maker": derivation.labeller,
            "why": derivation.why,
            "judge": labelling.judge or objective.reward if derivation.needs.judge else None,
            "against_people": against_people.get(name),
            "answers": by_kind,
        }
    return report
