"""The generated world as a source: the file is its specification, the annotations are made from it line by line."""

from collections.abc import Iterator
from pathlib import Path

from concord.annotations.record import GivenOptions, Record, demand_file, parse
from concord.annotations.record import NoOptions as Options
from concord.sandbox.source import lines
from concord.stage.params import section


def read(path: Path, given: GivenOptions) -> Iterator[Record]:
    """The annotations that the world's annotators made, dirt included."""
    section(Options, dict(given), "options")
    demand_file(path)
    return (parse(number, line) for number, line in enumerate(lines(str(path)), start=1))
