"""A project in git alone, with a workspace whose run has finished. DVC is replaced."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from concord.release import former, publishing
from tests.release.projects import Project, make_project


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("template") / "project")


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The project, and its workspace in runs/retrain. `project.calls` lists the calls of DVC."""
    shutil.copytree(template, tmp_path / "project", symlinks=True)
    made = Project(tmp_path / "project")

    def dvc(folder: Path, *arguments: str, shown: bool = False) -> str:
        made.calls.append(arguments[0])
        return "{}"

    monkeypatch.setattr(publishing, "dvc", dvc)
    monkeypatch.setattr(publishing, "remote_folder", lambda folder: None)
    monkeypatch.setattr(former, "lost", lambda *_: [])
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@example.org")
    yield made
    assert not subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"],
        cwd=made.root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout, "the working tree of the project was changed"
