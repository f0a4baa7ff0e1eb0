"""The synthetic sandbox world: its YAML specification is the source.

    world: dev
    seed: 0
    prompts: 700
    demonstrations: 700
    ...

Makes all kinds of annotations. They are generated from the specification, including the errors that
real files contain. `concord.sandbox.source` describes the specification. Groups start with
`sandbox/`, so that they never equal a group of another source.
"""

from collections.abc import Iterator
from pathlib import Path

from concord.annotations.record import GivenOptions, Record, check_file, parse
from concord.annotations.record import NoOptions as Options
from concord.sandbox.source import lines
from concord.stage.params import section


def read(path: Path, given: GivenOptions) -> Iterator[Record]:
    """Generates the annotations of the specification at `path`."""
    section(Options, dict(given), "options")
    check_file(path)
    return (_parsed(number, line) for number, line in enumerate(lines(str(path)), start=1))


def _parsed(number: int, line: str) -> Record:
    record = parse(number, line)
    if record.row is not None and isinstance(record.row.get("group_id"), str):
        record.row["group_id"] = f"sandbox/{record.row['group_id']}"
    return record
