"""The public data sets are read as before, and `inspect` names the format of each.

The sets are no part of the repository, only their counts are: `real_sets.tsv`. Set CONCORD_DATA to
a folder with the sets to run this. With CONCORD_CASES, each file of a folder of small cases is
read, quarantined or refused, and every row is counted.
"""

import contextlib
import csv
import os
from pathlib import Path

import pytest

from concord.annotations.inspection.inspect_file import inspect, single_file, ways
from concord.annotations.inspection.survey import Survey, survey
from concord.stage.errors import ConcordError

COUNTS = Path(__file__).with_name("real_sets.tsv")
DATA, CASES = (os.environ.get(name, "") for name in ("CONCORD_DATA", "CONCORD_CASES"))


def sources() -> list[dict[str, str]]:
    with COUNTS.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def cases() -> list[Path]:
    """The cases, each a file or a folder beside a text that describes it."""
    described = sorted(Path(CASES).glob("*.txt")) if CASES else []
    return [path.with_suffix("") for path in described if path.with_suffix("").suffix != ".tsv"]


def counts(result: Survey) -> tuple[int, int, int, int]:
    quarantined, left_out = (sum(result.rows[key].values()) for key in ("quarantined", "left_out"))
    return result.rows["found"], result.rows["kept"], quarantined, left_out


@pytest.mark.skipif(not DATA, reason="set CONCORD_DATA to a folder with the public data sets")
@pytest.mark.parametrize("source", sources(), ids=lambda source: source["path"])
def test_a_set_is_read_as_before(source: dict[str, str]) -> None:
    path = Path(DATA) / source["path"]
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    way = ways(path, "", {})[0]
    assert way.format == source["format"]
    result = survey(single_file(path, way.format), way)
    expected = [int(source[key]) for key in ("found", "kept", "quarantined", "left_out")]
    assert [*counts(result)] == expected
    assert result.kept == int(source["annotations"])
    assert expected[0] == sum(expected[1:])


@pytest.mark.skipif(not CASES, reason="set CONCORD_CASES to a folder with cases")
@pytest.mark.parametrize("path", cases(), ids=lambda path: path.name)
def test_a_case_is_read_quarantined_or_refused(path: Path) -> None:
    """No other library's error is shown, and no row is lost."""
    with contextlib.suppress(ConcordError):
        inspect(path)
        way = ways(path, "", {})[0]
        found, *outcomes = counts(survey(single_file(path, way.format), way))
        assert found == sum(outcomes)


def test_the_counts_add_up() -> None:
    """Each row of a set was kept, quarantined or left out when the counts were taken."""
    for source in sources():
        outcomes = [int(source[key]) for key in ("kept", "quarantined", "left_out")]
        assert int(source["found"]) == sum(outcomes), source["path"]
