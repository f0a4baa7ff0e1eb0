"""Rollback: the former champion again, by an assignment and a commit."""

import shutil
from pathlib import Path

import pytest

from concord.release import ReleaseError, current, finish, former, publish, roll_back
from concord.release.repository import Repository
from tests.release.projects import Project, git


def champions_results(project: Project) -> str:
    """What the next gate compares with: the folder of the champion on the branch."""
    return project.file("released", "models/champion/results.json")


def test_the_former_champion_is_champion_again(project: Project) -> None:
    first, second = project.publish(1), project.publish(2)
    restored = roll_back(project.root)
    assert (restored.name, restored.commit, restored.stages) == ("v1.0.0", first.commit, (1, 3))
    assert current(project.root) == restored
    assert champions_results(project) == '{"score": 1}'
    assert project.file("released", "models/champion/README.md") == "The champion."
    changed = git(project.root, "diff", "--name-only", second.commit, "released").splitlines()
    assert {Path(name).parent.as_posix() for name in changed} == {"models/champion"}


def test_the_next_publication_follows_the_rollback(project: Project) -> None:
    for score in (1, 2):
        project.publish(score)
    roll_back(project.root)
    third = project.publish(3)
    assert (third.name, third.stages) == ("v1.0.2", (4,))
    assert roll_back(project.root).name == "v1.0.0"


def test_rollbacks_step_back_through_the_champions(project: Project) -> None:
    for score in (1, 2, 3):
        project.publish(score)
    assert [roll_back(project.root).name for _ in range(2)] == ["v1.0.1", "v1.0.0"]
    with pytest.raises(ReleaseError, match=r"v1\.0\.0 has no former version"):
        roll_back(project.root)
    assert roll_back(project.root, "v1.0.2").name == "v1.0.2"
    assert champions_results(project) == '{"score": 3}'


def test_a_run_from_before_a_rollback_is_not_published(project: Project) -> None:
    for score in (1, 2):
        project.publish(score)
    project.run(3)
    roll_back(project.root)
    with pytest.raises(ReleaseError, match="does not start from"):
        publish(project.workspace, "Score 3")
    assert project.champion() == "v1.0.0"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "No version was published yet"),
        ("v1.0.0", "v1.0.0 is the champion already"),
        ("v3.0.0", "no version v3.0.0; versions: v1.0.0, v1.0.1"),
        ("v1.0.1", "v1.0.1 was never champion"),
    ],
)
def test_a_rollback_that_cannot_work_says_so(project: Project, name: str, message: str) -> None:
    if name:
        project.publish(1)
        project.publish(2)
        git(project.root, "tag", "--delete", "aligned#champion#2")
        git(project.root, "update-ref", "refs/heads/released", "aligned@v1.0.0^{commit}")
    seen = project.state()
    with pytest.raises(ReleaseError) as error:
        roll_back(project.root, name)
    assert message in str(error.value)
    assert project.state() == seen


def test_a_lost_checkpoint_is_not_put_back(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for score in (1, 2):
        project.publish(score)
    seen = project.state()
    monkeypatch.setattr(former, "lost", lambda *_: ["models/aligned/model.safetensors"])
    with pytest.raises(ReleaseError, match=r"model\.safetensors .* neither in the cache nor"):
        roll_back(project.root)
    assert project.state() == seen


@pytest.mark.parametrize("missing", ["branch", "stage"])
def test_a_rollback_that_was_killed_is_finished(project: Project, missing: str) -> None:
    """A repository that was killed within the push has one of its two references."""
    for score in (1, 2):
        project.publish(score)
    before = git(project.root, "rev-parse", "released")
    roll_back(project.root)
    seen = project.state()
    if missing == "branch":
        git(project.root, "update-ref", "refs/heads/released", before)
        assert roll_back(project.root, "v1.0.0").name == "v1.0.0"
    else:
        git(project.root, "tag", "--delete", "aligned#champion#3")
        assert project.champion() == "v1.0.1"
        restored = finish(project.workspace)
        assert restored
        assert restored.stages == (1, 3)
    assert project.state() == seen


def test_a_clone_for_runs_is_not_rolled_back(project: Project) -> None:
    project.publish(1)
    git(project.workspace, "checkout", "--quiet", "--force", "origin/released")
    with pytest.raises(ReleaseError, match="is a clone for runs"):
        roll_back(project.workspace)


def test_tags_without_the_branch_name_the_command(project: Project, tmp_path: Path) -> None:
    for score in (1, 2):
        project.publish(score)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(project.root), str(clone))
    assert current(clone) == current(project.root)
    with pytest.raises(ReleaseError, match="git fetch origin released:released"):
        roll_back(clone)
    git(clone, "fetch", "--quiet", "origin", "released:released")
    assert roll_back(clone).name == "v1.0.0"


def test_without_git_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert shutil.which("git")
    with pytest.raises(ReleaseError, match="not a git repository"):
        Repository(tmp_path).versions()
