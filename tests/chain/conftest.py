"""The finished run of the tiny recipe, and copies of it."""

from pathlib import Path

import pytest

from tests.chain.finished import Finished, Runs
from tests.chain.tree import run


@pytest.fixture(scope="session")
def finished(runs: Runs) -> Finished:
    """The finished run. Tests must not change it."""
    return runs.wait_for("flow")


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished run with all outputs, on the same cache."""
    run(tmp_path, "cp", "-a", str(finished.folder), str(tmp_path / "project"))
    return tmp_path / "project"
