"""Reads a file of annotations in any format, for `concord score`: pairs, grades, steps, answers."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from concord.annotations import reader
from concord.annotations.chunks import chunks
from concord.annotations.inspection.inspect_file import ways
from concord.annotations.inspection.recognition import Way
from concord.annotations.schemas import SCHEMAS
from concord.annotations.source_tables import SourceTables
from concord.prepared import pairs as paired
from concord.stage import progress
from concord.stage.errors import DataError
from concord.stage.outputs import read_table
from concord.stage.params import suggest


@dataclass(frozen=True)
class LabelledFile:
    """The content of a file."""

    reading: Way
    read: int
    kept: int
    pairs: pd.DataFrame
    """Comparisons, and the pairs of each ranking, with the columns of `concord.prepared.pairs`."""
    grades: pd.DataFrame
    """Ratings and binary labels."""
    steps: pd.DataFrame
    """Answers with step labels."""
    answers: pd.DataFrame
    """Demonstrations, which judge nothing."""

    def objectives(self) -> list[str]:
        """The objectives that the file has labels of."""
        tables = (self.pairs, self.grades, self.steps)
        return list(dict.fromkeys(name for table in tables for name in table["objective"]))

    def of(self, objective: str) -> LabelledFile:
        """The file with the labels of one objective only."""
        tables = {
            name: frame[frame["objective"] == objective].reset_index(drop=True)
            for name, frame in (
                ("pairs", self.pairs),
                ("grades", self.grades),
                ("steps", self.steps),
            )
        }
        return LabelledFile(**{**vars(self), **tables})


def read_file(path: Path, format_name: str, options: dict[str, Any]) -> LabelledFile:
    """Reads a file. Raises DataError or ParamsError if no format fits, or none of it is kept."""
    reading = ways(path, format_name, options)[0]
    with tempfile.TemporaryDirectory() as folder:
        with SourceTables("scored", Path(folder)) as written:
            records = reader.read(reading.format, path, reading.options, reading.columns)
            for chunk in chunks(progress.count(records, f"rows of {path.name}", quiet=True)):
                written.add(chunk)
        tables = {name: read_table(Path(folder) / f"{name}.parquet") for name in SCHEMAS}
    if written.kept == 0:
        raise DataError(
            f"{path}: none of {written.read} rows can be read as `{reading.format}`; "
            f"`concord inspect {path}` says why"
        )
    ratings = tables["ratings"]
    is_ranked = ratings["kind"] == "ranking"
    pairs = [
        paired.from_comparisons(tables["comparisons"]),
        paired.from_ratings(ratings[is_ranked].reset_index(drop=True)),
    ]
    return LabelledFile(
        reading,
        written.read,
        written.kept,
        pd.concat([frame for frame in pairs if len(frame)] or pairs[:1], ignore_index=True),
        ratings[~is_ranked].reset_index(drop=True),
        tables["steps"],
        tables["demonstrations"],
    )


def heads_and_labels(
    wanted: str, labelled: list[str], heads: list[str], path: Path
) -> dict[str, str]:
    """Head -> the objective of the labels that it is compared with.

    Args:
        wanted: the head to score with; empty for all that the file has labels of.
        labelled: the objectives of the file.
        heads: the objectives of the model.
        path: the file, for messages.

    Raises:
        DataError: it is unclear which labels belong to which head.

    Examples:
        >>> heads_and_labels("", ["helpful", "honest"], ["helpful", "brief"], Path("x"))
        {'helpful': 'helpful'}
        >>> heads_and_labels("helpful", ["overall"], ["helpful", "brief"], Path("x"))
        {'helpful': 'overall'}
    """
    if not labelled:
        return {}
    if wanted:
        if wanted in labelled:
            return {wanted: wanted}
        if len(labelled) == 1:
            return {wanted: labelled[0]}
        raise DataError(
            f"{path} has labels of {', '.join(labelled)}, none of {wanted}; "
            f"{suggest(wanted, labelled)}"
        )
    both = [name for name in heads if name in labelled]
    if both:
        return {name: name for name in both}
    if len(heads) == len(labelled) == 1:
        return {heads[0]: labelled[0]}
    raise DataError(
        f"{path} has labels of {', '.join(labelled)}, but the model has heads for "
        f"{', '.join(heads)}; say which head to compare with --objective"
    )
