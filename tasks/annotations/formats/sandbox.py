"""The generated world as a source: the file is its specification, the annotations are made from it line by line."""

from collections.abc import Iterator
from pathlib import Path

from tasks.annotations.records import NoOptions, Options, Record, demand_file, parse
from tasks.sandbox.source import lines
from tasks.stage.params import section


def read(path: Path, options: Options) -> Iterator[Record]:
    """The annotations that the world's annotators made, dirt included."""
    section(NoOptions, dict(options), "options")
    demand_file(path)
    return (parse(number, line) for number, line in enumerate(lines(str(path)), start=1))
