"""A project in git alone, with a workspace whose run has finished. DVC is replaced."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from concord.release import former, publishing
from tests.release.projects import Project, git, make_project


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("template") / "project")


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Iterator[Project]:
    """The project, and its workspace in runs/retrain."""
    with pytest.MonkeyPatch.context() as patch:
        made = copied(template, tmp_path, patch)
        yield made
        changed = git(made.root, "status", "--porcelain", "--untracked-files=no")
        assert not changed, "the working tree of the project was changed"


@pytest.fixture(scope="session")
def undisturbed(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What others see after two publications that nothing disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        project = copied(template, tmp_path_factory.mktemp("undisturbed"), patch)
        project.publish(1)
        project.publish(2)
        return project.state()


def copied(template: Path, folder: Path, patch: pytest.MonkeyPatch) -> Project:
    """A copy of the project. `calls` lists the calls of DVC, which is replaced."""
    shutil.copytree(template, folder / "project", symlinks=True)
    made = Project(folder / "project")

    def dvc(folder: Path, *arguments: str, shown: bool = False) -> str:
        made.calls.append(arguments[0])
        return "{}"

    patch.setattr(publishing, "dvc", dvc)
    patch.setattr(publishing, "remote_folder", lambda folder: None)
    patch.setattr(former, "lost", lambda *_: [])
    for name in ("AUTHOR", "COMMITTER"):
        patch.setenv(f"GIT_{name}_NAME", "test")
        patch.setenv(f"GIT_{name}_EMAIL", "test@example.org")
    return made
