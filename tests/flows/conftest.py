"""A toy project for each test, and one Prefect server for all of them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.toy import ROOT, make_toy, running_server


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The toy project, never run, in a git repository with DVC. Its path contains a space."""
    return make_toy(tmp_path / "toy project")


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with its inherited Prefect profile, in which Python finds this project."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")
    }
    home = tmp_path_factory.mktemp("prefect")
    folder = str(Path(sys.executable).parent)
    return inherited | {
        "PREFECT_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{folder}{os.pathsep}{inherited['PATH']}",
    }


@pytest.fixture(scope="package")
def server(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """A Prefect server; yields an environment in which it is found like that of `make ui`."""
    with running_server(environment, Path(environment["PREFECT_HOME"], "server.log")) as env:
        yield env
