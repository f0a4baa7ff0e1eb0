"""Access to the public data sets, which are not part of the repository."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def public_data() -> Callable[[str], Path]:
    """Returns the path of a file or folder below CONCORD_DATA, or skips the test."""

    def path_of(name: str) -> Path:
        folder = os.environ.get("CONCORD_DATA")
        if not folder or not Path(folder).is_dir():
            pytest.skip("set CONCORD_DATA to a folder with the public data sets")
        path = Path(folder) / name
        if not path.exists():
            pytest.skip(f"{path} does not exist")
        return path

    return path_of
