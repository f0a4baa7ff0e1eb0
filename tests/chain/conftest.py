"""One finished tree a session: the tiny recipe, run by the README's first command."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chain.tree import copy_project, environment, make, run


@dataclass
class Finished:
    """The project after `make run`."""

    folder: Path
    cache: Path
    output: str


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("prefect"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, prefect_home: str) -> Finished:
    """Never to be changed: tests that edit take a copy."""
    folder = tmp_path_factory.mktemp("chain")
    project = copy_project(folder / "project", folder / "cache")
    env = environment(PREFECT_HOME=prefect_home, CI="true")
    output = run(project, *make(), "run", env=env)
    return Finished(project, folder / "cache", output)


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished tree, outs and record included, on the same cache."""
    run(tmp_path, "cp", "-a", str(finished.folder), str(tmp_path / "project"))
    return tmp_path / "project"
