"""The tables, column by column. A check's name is the reason code of the rows that fail it.

Columns that every table has: where a row comes from (`source`, `source_file`, `source_line`), what may not straddle
splits (`group_id`), and a hash of its content (`row_id`), by which duplicates are found.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandera.errors import SchemaErrors
from pandera.pandas import Check, Column, DataFrameSchema

from concord.annotations.record import Rejection


def _rows(
    reason: str, holds: Callable[[Any], Sequence[bool] | NDArray[np.bool_] | pd.Series]
) -> Check:
    """A check that says of all values, or of all rows, at once which ones hold; of nulls as well."""

    def found(values: Any) -> pd.Series:
        return pd.Series(holds(values), index=values.index, dtype=bool)

    return Check(found, name=reason, error=reason, ignore_na=False)


def _each(reason: str, holds: Callable[[Any], bool]) -> Check:
    return _rows(reason, lambda values: [holds(value) for value in values.tolist()])


def _texts(values: pd.Series) -> NDArray[np.bool_]:
    if pd.api.types.infer_dtype(values, skipna=False) == "string":
        return np.ones(len(values), dtype=bool)
    return np.array([isinstance(value, str) for value in values.tolist()], dtype=bool)


def _filled(values: pd.Series) -> Sequence[bool]:
    return [isinstance(value, str) and bool(value.strip()) for value in values.tolist()]


def _different(frame: pd.DataFrame) -> Sequence[bool]:
    pairs = zip(frame["chosen"].tolist(), frame["rejected"].tolist(), strict=True)
    return [one.strip() != other.strip() for one, other in pairs]


TEXT = _rows("wrong_type", _texts)
TEXT_OR_NULL = _rows(
    "wrong_type",
    lambda values: [value is None or isinstance(value, str) for value in values.tolist()],
)
ANSWER = _rows("empty_response", _filled)
UNIT = _rows("off_scale", lambda values: values.between(0, 1))
DIFFERENT = _rows("identical_responses", _different)


def _text(description: str, *checks: Check, nullable: bool = False) -> Column:
    # TEXT refuses nulls by itself: `nullable=False` would look at every value once more, and only find the same.
    return Column(
        object,
        [TEXT_OR_NULL if nullable else TEXT, *checks],
        description=description,
        nullable=True,
    )


def _number(description: str, *checks: Check, nullable: bool = False) -> Column:
    return Column(float, list(checks), description=description, nullable=nullable)


def _lists(description: str, *checks: Check) -> Column:
    return Column(object, list(checks), description=description)


SHARED = {
    "source": _text("Name of the source in params.yaml."),
    "source_file": _text("File of a source that is a folder; empty for a source of one file."),
    "source_line": Column(
        int, Check.ge(1), description="Line of the file that holds the annotation."
    ),
    "group_id": _text(
        "Prompt or dialogue, headed by the source's name: a group lies in one split."
    ),
    "row_id": _text("Hash of the row's content, annotator included."),
}
MESSAGES = {
    "messages": _lists(
        "The prompt: a list of {role, content}, roles taking turns, the last one the user's.",
        _each("wrong_type", lambda value: isinstance(value, list) and bool(value)),
    )
}
JUDGED = {
    "objective": _text("What was judged; one of `objectives`, or it is left aside."),
    "annotator": _text("Who judged. Only labels of one annotator are compared with each other."),
}

AUTHOR = _text(
    "Who wrote the answer, where that is known; no label, but what a baseline may guess by.",
    nullable=True,
)


def _table(
    name: str, description: str, columns: dict[str, Column], checks: list[Check] | None = None
) -> DataFrameSchema:
    return DataFrameSchema(
        {**SHARED, **MESSAGES, **columns},
        checks or [],
        name=name,
        description=description,
        strict=True,
        ordered=False,
    )


SCHEMAS: dict[str, DataFrameSchema] = {
    "prompts": _table(
        "prompts",
        "What is asked, without an answer: policies sample on these.",
        {
            "prompt_id": _text("Hash of the messages."),
            "domain": _text("Kind of prompt; objectives of the same domain judge the answers."),
            "reference": _text(
                "The right answer, where one exists for a verifier to check.", nullable=True
            ),
        },
    ),
    "demonstrations": _table(
        "demonstrations",
        "Answers to imitate in supervised fine-tuning.",
        {
            "response": _text("The answer.", ANSWER),
            "domain": _text("Kind of prompt."),
            "author": _text("Who wrote it."),
        },
    ),
    "comparisons": _table(
        "comparisons",
        "Of two answers, the one preferred on an objective.",
        {
            "chosen": _text("The preferred answer.", ANSWER),
            "rejected": _text("The other answer.", ANSWER),
            "margin": _number("By how much, where the annotator said so.", nullable=True),
            "chosen_author": AUTHOR,
            "rejected_author": AUTHOR,
            **JUDGED,
        },
        [DIFFERENT],
    ),
    "ratings": _table(
        "ratings",
        "An answer's grade on an objective; ranks and yes/no labels are grades as well.",
        {
            "response": _text("The answer.", ANSWER),
            "rating": _number("The grade on [0, 1], 1 being best.", UNIT),
            "raw_rating": _number("The grade as given."),
            "scale_low": _number("The worst grade that could be given (of a cost, the greatest)."),
            "scale_high": _number("The best grade that could be given (rank 1 for rankings)."),
            "author": AUTHOR,
            "kind": _text(
                "rating, ranking or binary.",
                _each("wrong_type", lambda kind: kind in ("rating", "ranking", "binary")),
            ),
            **JUDGED,
        },
    ),
    "steps": _table(
        "steps",
        "Labels of the single steps of an answer.",
        {
            "steps": _lists(
                "The answer in pieces, which joined give the answer.",
                _each(
                    "empty_response",
                    lambda steps: bool(steps) and all(step.strip() for step in steps),
                ),
            ),
            "labels": _lists(
                "One number in [0, 1] per step, null where unlabelled.",
                _each(
                    "off_scale",
                    lambda labels: all(label is None or 0 <= label <= 1 for label in labels),
                ),
            ),
            "objective": JUDGED["objective"],
            "label_kind": _text("How the labels came about."),
        },
    ),
}

QUARANTINE = DataFrameSchema(
    {
        "source": _text("Name of the source in params.yaml."),
        "source_file": SHARED["source_file"],
        "source_line": SHARED["source_line"],
        "table": _text(
            "Table for which the row was meant; empty where the line could not be read."
        ),
        "column": _text("Column at fault."),
        "reason": _text("Reason code (`concord.annotations.quarantine`)."),
        "detail": _text("What was found."),
        "raw": _text("The first 500 characters of the line."),
    },
    name="quarantine",
    description="Rows that were set aside; read = kept + quarantined.",
    strict=True,
)


def build(table: str, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame with the table's columns and types, however few they are."""
    names = (QUARANTINE if table == "quarantine" else SCHEMAS[table]).columns
    return typed(table, {name: [row[name] for row in rows] for name in names})


def typed(table: str, content: Mapping[str, Sequence[Any]] | pd.DataFrame) -> pd.DataFrame:
    """Columns as a frame with the table's types."""
    columns = {name: pd.Series(content[name], dtype=dtype) for name, dtype in types(table).items()}
    return pd.DataFrame(columns, copy=False)


def types(table: str) -> dict[str, str]:
    """Column -> its pandas type."""
    schema = QUARANTINE if table == "quarantine" else SCHEMAS[table]
    return {name: str(column.dtype) for name, column in schema.columns.items()}


def failures(table: str, frame: pd.DataFrame) -> dict[int, Rejection]:
    """Rows of a table (by position) that break its schema, each with the first reason found."""
    try:
        SCHEMAS[table].validate(
            frame.reset_index(drop=True), lazy=True, inplace=True
        )  # nothing is coerced
    except SchemaErrors as error:
        return _by_row(error.failure_cases)
    return {}


def _by_row(cases: pd.DataFrame) -> dict[int, Rejection]:
    structural = cases[cases["index"].isna()]
    assert structural.empty, f"a table was built with wrong columns:\n{structural}"
    # A check of whole rows reports each of their columns: keep the one that says something.
    cases = cases[(cases["schema_context"] == "Column") | (cases["column"] == "chosen")]
    found: dict[int, Rejection] = {}
    for case in cases.sort_values(["index", "check_number"], kind="stable").to_dict("records"):
        detail = f"is {case['failure_case']!r}"[:80]
        found.setdefault(
            int(case["index"]), Rejection(str(case["check"]), str(case["column"]), detail)
        )
    return found
