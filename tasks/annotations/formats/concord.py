"""Concord's own interchange format: JSON Lines, UTF-8, one annotation a line (`tasks.annotations.interchange`)."""

from collections.abc import Iterator
from pathlib import Path

from tasks.annotations.records import NoOptions, Options, Record, json_lines
from tasks.stage.params import section


def read(path: Path, options: Options) -> Iterator[Record]:
    """The annotations of a file."""
    section(NoOptions, dict(options), "options")
    return json_lines(path)
