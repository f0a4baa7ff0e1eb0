"""The page of tables: columns, checks, reasons of the quarantine, the interchange format."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import pandas as pd

from concord.annotations import interchange, quarantine, schemas
from docs.markdown import NOTE, cell, escaped, markdown, table

TABLES = """\
`ingest` writes these tables as Parquet to `data/ingested/<source>/`, and `prepare` splits and
cleans them. The checks are pandera schemas (`concord/annotations/schemas.py`). A row that fails a
check is quarantined, with the name of the check as its reason.
"""


def tables_page() -> str:
    """Every table, its columns and its checks, and the reasons of the quarantine."""
    parts = [
        NOTE,
        "# Tables\n",
        TABLES,
    ]
    shared = {name: schemas.SCHEMAS["prompts"].columns[name] for name in schemas.SHARED}
    parts += ["## Columns of every table\n", columns_table(shared)]
    for name, schema in {**schemas.SCHEMAS, "quarantine": schemas.QUARANTINE}.items():
        parts += [f"## `{name}`\n", f"{escaped(schema.description)}\n"]
        known = shared if name in schemas.SCHEMAS else {}
        own = {column: spec for column, spec in schema.columns.items() if column not in known}
        parts.append(columns_table(own))
        if schema.checks:
            checks = ", ".join(f"`{check.name}`" for check in schema.checks)
            parts.append(f"Checks of whole rows: {checks}.\n")
    parts += [
        "## Reasons\n",
        "Why a row is in `data/prepared/quarantine.parquet`.\n",
        table(
            ["reason", "meaning"],
            [(f"`{code}`", cell(text)) for code, text in quarantine.REASONS.items()],
        ),
        "## Interchange format\n",
        markdown(inspect.cleandoc(interchange.__doc__ or "")) + "\n",
    ]
    return "\n".join(parts)


def columns_table(columns: Mapping[str, Any]) -> str:
    """Name, type, checks and meaning of the columns of a table."""
    rows = [
        (
            f"`{name}`",
            column_words(name, spec),
            ", ".join(f"`{name}`" for name in dict.fromkeys(check.name for check in spec.checks))
            or "-",
            cell(spec.description or ""),
        )
        for name, spec in columns.items()
    ]
    return table(["column", "type", "checks", "meaning"], rows)


def column_words(name: str, spec: Any) -> str:
    """The type of a column in words."""
    if name in ("messages", "steps", "labels"):
        return "list"
    kind = {"object": "text", "int64": "integer", "float64": "number"}[str(spec.dtype)]
    may_be_null = spec.nullable
    if kind == "text":  # the check refuses nulls, where it does, and not the column
        may_be_null = bool(spec.checks[0](pd.Series([None], dtype=object)).check_passed)
    return f"{kind} or null" if may_be_null else kind
