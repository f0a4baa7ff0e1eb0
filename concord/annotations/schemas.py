"""The schemas of the tables. The name of a check is the reason code of the rows that fail it.

All tables share these columns: the origin of a row (`source`, `source_file`, `source_line`), the
group that splits keep together (`group_id`), and a hash of the content that identifies duplicates
(`row_id`).
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
    """A vectorized check: `holds` returns a boolean per value or row, nulls included."""

    def check(values: Any) -> pd.Series:
        return pd.Series(holds(values), index=values.index, dtype=bool)

    return Check(check, name=reason, error=reason, ignore_na=False)


def _each(reason: str, holds: Callable[[Any], bool]) -> Check:
    """A check of one value at a time."""
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
    # TEXT rejects nulls already; `nullable=False` would only check every value a second time.
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
    "source_file": _text("File within a source that is a folder; empty if the source is one file."),
    "source_line": Column(int, Check.ge(1), description="Line of the annotation in the file."),
    "group_id": _text(
        "The prompt or dialogue. All rows of a group, in any source, are in the same split."
    ),
    "row_id": _text("Hash of the content of the row, including the annotator."),
}
MESSAGES = {
    "messages": _lists(
        "The prompt: a list of {role, content}. Roles alternate; the last turn is the user's.",
        _each("wrong_type", lambda value: isinstance(value, list) and bool(value)),
    )
}
JUDGED = {
    "objective": _text(
        "The objective. One that is not in `objectives` must be in `prepare.ignore_objectives`."
    ),
    "annotator": _text("Who judged. Labels are only compared within one annotator."),
}

AUTHOR = _text(
    "Who wrote the answer, if known. Not a label; baselines predict from it.",
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
        "Prompts without answers, which policies sample from.",
        {
            "prompt_id": _text("Hash of the messages."),
            "domain": _text(
                "Domain of the prompt. Answers are judged by the objectives of the same domain."
            ),
            "reference": _text(
                "The correct answer, if there is one for a verifier to compare with.", nullable=True
            ),
        },
    ),
    "demonstrations": _table(
        "demonstrations",
        "Demonstrations for supervised fine-tuning.",
        {
            "response": _text("The answer.", ANSWER),
            "domain": _text("Domain of the prompt."),
            "author": _text("Who wrote the answer."),
        },
    ),
    "comparisons": _table(
        "comparisons",
        "Pairs of answers of which one is preferred on an objective.",
        {
            "chosen": _text("The preferred answer.", ANSWER),
            "rejected": _text("The other answer.", ANSWER),
            "margin": _number(
                "By how much the answer is preferred, if the annotator said so.", nullable=True
            ),
            "chosen_author": AUTHOR,
            "rejected_author": AUTHOR,
            **JUDGED,
        },
        [DIFFERENT],
    ),
    "ratings": _table(
        "ratings",
        "Ratings of answers on an objective, including ranks and binary labels.",
        {
            "response": _text("The answer.", ANSWER),
            "rating": _number("The rating on the scale [0, 1]; 1 is best.", UNIT),
            "raw_rating": _number("The rating on its original scale."),
            "scale_low": _number("The worst possible raw rating (for a cost, the largest)."),
            "scale_high": _number("The best possible raw rating (rank 1 for rankings)."),
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
        "Answers with a label for each step.",
        {
            "steps": _lists(
                "The steps; joined, they are the answer.",
                _each(
                    "empty_response",
                    lambda steps: bool(steps) and all(step.strip() for step in steps),
                ),
            ),
            "labels": _lists(
                "One number in [0, 1] per step, or null for an unlabelled step.",
                _each(
                    "off_scale",
                    lambda labels: all(label is None or 0 <= label <= 1 for label in labels),
                ),
            ),
            "objective": JUDGED["objective"],
            "label_kind": _text("How the labels were obtained."),
        },
    ),
}

QUARANTINE = DataFrameSchema(
    {
        "source": _text("Name of the source in params.yaml."),
        "source_file": SHARED["source_file"],
        "source_line": SHARED["source_line"],
        "table": _text("The intended table; empty if the line could not be read."),
        "column": _text("Column at fault."),
        "reason": _text("Reason code (`concord.annotations.quarantine`)."),
        "detail": _text("What is wrong with the value."),
        "raw": _text("The first 500 characters of the line."),
    },
    name="quarantine",
    description="Rejected rows; read = kept + quarantined.",
    strict=True,
)


def build(table: str, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Builds a frame with the columns and types of a table; `rows` may be empty."""
    names = (QUARANTINE if table == "quarantine" else SCHEMAS[table]).columns
    return typed(table, {name: [row[name] for row in rows] for name in names})


def typed(table: str, content: Mapping[str, Sequence[Any]] | pd.DataFrame) -> pd.DataFrame:
    """Builds a frame from columns, with the types of a table."""
    columns = {name: pd.Series(content[name], dtype=dtype) for name, dtype in types(table).items()}
    return pd.DataFrame(columns, copy=False)


def types(table: str) -> dict[str, str]:
    """Column -> pandas dtype."""
    schema = QUARANTINE if table == "quarantine" else SCHEMAS[table]
    return {name: str(column.dtype) for name, column in schema.columns.items()}


def failures(table: str, frame: pd.DataFrame) -> dict[int, Rejection]:
    """Position of each row that violates the schema of `table` -> the first violation."""
    try:
        # `inplace` avoids a copy; the schemas coerce nothing.
        SCHEMAS[table].validate(frame.reset_index(drop=True), lazy=True, inplace=True)
    except SchemaErrors as error:
        return _by_row(error.failure_cases)
    return {}


def _by_row(cases: pd.DataFrame) -> dict[int, Rejection]:
    structural = cases[cases["index"].isna()]
    assert structural.empty, f"the table has wrong columns:\n{structural}"
    # A check of whole rows reports every column. Only the report for `chosen` is kept.
    cases = cases[(cases["schema_context"] == "Column") | (cases["column"] == "chosen")]
    rejections: dict[int, Rejection] = {}
    for case in cases.sort_values(["index", "check_number"], kind="stable").to_dict("records"):
        detail = f"is {case['failure_case']!r}"[:80]
        rejections.setdefault(
            int(case["index"]), Rejection(str(case["check"]), str(case["column"]), detail)
        )
    return rejections
