"""A share of the fuzzed rows; `make torture` runs 10,000 per format."""

from pathlib import Path

import pytest

from concord.stage import plugins
from tests.annotations.fixtures import FILES
from tests.annotations.fuzzed_rows import FORMATS, account, seeded

ROWS = 80


@pytest.mark.parametrize("name", FORMATS)
def test_every_fuzzed_row_is_kept_quarantined_or_left_out(name: str, tmp_path: Path) -> None:
    account(name, ROWS, seeded("suite", name), tmp_path)


def test_a_label_studio_result_with_a_list_for_its_name_is_no_label(tmp_path: Path) -> None:
    """A name that cannot be a key raised TypeError. Seeds that found it: ("x", name, "a")."""
    assert account("label_studio", 250, seeded("x", "label_studio", "a"), tmp_path)["found"] == 250


def test_every_format_that_converts_rows_is_fuzzed() -> None:
    names = {*plugins.names("concord.annotations.formats", entries=["annotations"])}
    assert {*FORMATS} - {*FILES} == names - {"table"}
