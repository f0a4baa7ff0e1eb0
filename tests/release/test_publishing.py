"""Publishing: what a release holds, and what a kill, a lost remote or a second publisher leaves."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gto.api
import pytest

from concord.release import ReleaseError, current, finish, publish, publishing
from concord.release.former import roll_back
from concord.release.repository import Repository
from tests.release.projects import PARAMS, Project, finish_run, git, write


def test_a_release_holds_the_record_and_the_new_champion(project: Project) -> None:
    version = publish(project.workspace, "The first")
    assert (version.name, version.stages) == ("v1.0.0", (1,))
    assert current(project.root) == version
    assert git(project.root, "rev-parse", "released") == version.commit
    assert git(project.root, "rev-parse", "released^") == git(project.root, "rev-parse", "main")
    assert project.file("released", "models/champion/results.json") == '{"score": 1}'
    assert project.file("released", "models/champion/README.md") == "The champion."
    assert project.file("released", "dvc.lock").endswith("# 1")
    assert "md5: 01" in project.file("released", "data/rows.txt.dvc")
    assert json.loads(project.file("released", "reports/environment.json"))["packages"]["torch"]
    assert "curves" not in git(project.root, "ls-tree", "-r", "--name-only", "released")
    assert git(project.root, "log", "-1", "--format=%s", "released") == "The first"
    assert project.calls == ["status", "push"]


def test_the_workspace_stays_as_it_was(project: Project) -> None:
    before = (
        git(project.workspace, "status", "--porcelain"),
        git(project.workspace, "rev-parse", "HEAD"),
    )
    publish(project.workspace, "The first")
    after = (
        git(project.workspace, "status", "--porcelain"),
        git(project.workspace, "rev-parse", "HEAD"),
    )
    assert before == after


def test_a_project_may_have_no_pointers(project: Project) -> None:
    """Its sources are all in git."""
    for name in ("data/rows.txt.dvc", ".gitignore"):
        git(project.workspace, "rm", "--quiet", "--force", name)
    git(project.workspace, "commit", "--quiet", "--message", "no pointers")
    assert publish(project.workspace, "The first").name == "v1.0.0"
    assert "data" not in git(project.root, "ls-tree", "--name-only", "released").split()


def test_a_second_call_changes_nothing(project: Project) -> None:
    first = publish(project.workspace, "The first")
    references = git(project.root, "for-each-ref")
    assert publish(project.workspace, "The first") == first
    assert finish(project.workspace) == first
    assert git(project.root, "for-each-ref") == references


def test_numbers_say_what_changed(project: Project) -> None:
    """Third: data. Second: recipe or code. First: the names of the objectives."""
    assert project.publish(1).name == "v1.0.0"
    assert project.publish(2).name == "v1.0.1"
    longer = PARAMS.replace("steps: 1", "steps: 2")
    assert project.publish(3, longer).name == "v1.1.0"
    honest = longer.replace("helpful:", "honest: {domain: values}, helpful:")
    assert project.publish(4, honest).name == "v2.0.0"
    assert project.publish(5, honest).name == "v2.0.1"


def test_gto_agrees_about_versions_and_champion(project: Project) -> None:
    """Ten assignments within a second, the tenth of which sorts before the second."""
    for score in range(4):
        project.publish(score)
    for _ in range(3):
        for name in ("v1.0.0", "v1.0.3"):
            roll_back(project.root, name)
            shown = gto.api.show(str(project.root), "aligned#champion")
            assert [entry["version"] for entry in shown] == [name]
            assert project.champion() == name
    listed = {entry["version"] for entry in gto.api.show(str(project.root), "aligned")}
    assert listed == {"v1.0.0", "v1.0.1", "v1.0.2", "v1.0.3"}


def test_a_clock_that_was_set_back_does_not_change_the_order(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.publish(1)
    monkeypatch.setattr("concord.release.repository.time.time", lambda: 1_000_000_000.0)
    project.publish(2)
    shown = gto.api.show(str(project.root), "aligned#champion")
    assert [entry["version"] for entry in shown] == ["v1.0.1"]


def killed(project: Project, doomed: Callable[[], Any]) -> None:
    """Publishes in a process of its own, which ends itself by SIGKILL."""

    def body() -> None:
        doomed()
        publish(project.workspace, "Score 2")

    process = multiprocessing.get_context("fork").Process(target=body)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def die_at(monkeypatch: pytest.MonkeyPatch, step: str, count: int, before: bool) -> None:
    """Ends this process at the given call of a command, before or after it."""
    original, calls = Repository.git, [0]

    def wrapped(self: Repository, *arguments: str, **options: Any) -> str:
        calls[0] += arguments[0] == step
        here = arguments[0] == step and calls[0] == count
        if here and before:
            os.kill(os.getpid(), signal.SIGKILL)
        output = original(self, *arguments, **options)
        if here:
            os.kill(os.getpid(), signal.SIGKILL)
        return output

    monkeypatch.setattr(Repository, "git", wrapped)


KILLS = [
    ("dvc", 1, False),
    ("hash-object", 1, False),
    ("write-tree", 2, False),
    ("commit-tree", 1, False),
    ("mktag", 1, False),
    ("mktag", 2, False),
    ("push", 1, True),
    ("push", 1, False),
]
"""Command, which of its calls, and whether the kill is before it."""


@pytest.mark.parametrize(("step", "count", "before"), KILLS)
def test_a_killed_publication_is_finished_by_a_second_call(
    project: Project,
    undisturbed: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    count: int,
    before: bool,
) -> None:
    project.publish(1)
    project.run(2)
    seen = project.state()

    def doomed() -> None:
        if step != "dvc":
            die_at(monkeypatch, step, count, before)
            return

        def push(folder: Path, *arguments: str, **_: Any) -> str:
            if arguments[0] == "push":
                os.kill(os.getpid(), signal.SIGKILL)
            return "{}"

        monkeypatch.setattr(publishing, "dvc", push)

    killed(project, doomed)
    published = (step, before) == ("push", False)
    assert project.champion() == ("v1.0.1" if published else "v1.0.0")
    assert (project.state() == seen) != published
    assert publish(project.workspace, "Score 2").name == "v1.0.1"
    assert project.state() == undisturbed


@pytest.mark.parametrize("tags", [[], ["aligned@v1.0.1"]])
@pytest.mark.parametrize("finisher", ["publish", "finish"])
def test_tags_that_a_killed_remote_lost_are_added(
    project: Project, undisturbed: dict[str, str], tags: list[str], finisher: str
) -> None:
    """The remote has the commit, perhaps the version, and not the stage: nobody is promoted."""
    project.publish(1)
    project.publish(2)
    for name in ("aligned@v1.0.1", "aligned#champion#2"):
        if name not in tags:
            git(project.root, "tag", "--delete", name)
    assert project.champion() == "v1.0.0"
    version = (
        publish(project.workspace, "Score 2")
        if finisher == "publish"
        else finish(project.workspace)
    )
    assert version
    assert (version.name, version.stages) == ("v1.0.1", (2,))
    assert project.state() == undisturbed


@pytest.mark.parametrize("step", ["dvc", "git"])
def test_a_remote_that_is_gone_publishes_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    project.publish(1)
    project.run(2)
    seen = project.state()
    original = publishing.dvc

    def gone(folder: Path, *arguments: str, **options: Any) -> str:
        if arguments[0] == "push" and step == "dvc":
            raise ReleaseError("`dvc push` failed: no route to host.")
        if arguments[0] == "push":
            git(project.workspace, "remote", "set-url", "origin", "../../gone")
        return original(folder, *arguments, **options)

    monkeypatch.setattr(publishing, "dvc", gone)
    with pytest.raises(ReleaseError) as error:
        publish(project.workspace, "Score 2")
    assert "\n" not in str(error.value)
    assert ("no route" if step == "dvc" else "does not appear") in str(error.value)
    assert str(error.value).endswith(". Nothing was published.")
    assert project.state() == seen
    monkeypatch.setattr(publishing, "dvc", original)
    git(project.workspace, "remote", "set-url", "origin", "../..")
    assert publish(project.workspace, "Score 2").name == "v1.0.1"


def test_of_two_publishers_at_once_one_loses(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one publishes between the look at the branch and the push."""
    project.publish(1)
    project.run(3)
    other = Project(project.root)
    git(project.root, "clone", "--quiet", "--no-hardlinks", str(project.root), "runs/other")
    rival = project.root / "runs/other"
    git(rival, "checkout", "--quiet", "--detach", "origin/released")
    finish_run(rival, 2)
    original, waiting = Repository.push, [True]

    def push(self: Repository, references: dict[str, str]) -> None:
        if waiting.pop() if waiting else False:
            publish(rival, "The faster one")
        original(self, references)

    monkeypatch.setattr(Repository, "push", push)
    with pytest.raises(ReleaseError, match=r"faster.*Nothing was changed"):
        publish(project.workspace, "Score 3")
    assert other.champion() == "v1.0.1"
    assert other.file("aligned@v1.0.1", "models/champion/results.json") == '{"score": 2}'
    assert len(Repository(project.root).versions()) == 2
    with pytest.raises(ReleaseError, match="does not start from"):
        publish(project.workspace, "Score 3")
    assert project.publish(3).name == "v1.0.2"


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("refused", "gate refused"),
        ("unjudged", r"gate\.json does not exist"),
        ("code", r"concord/code\.py .* differ from the commit"),
        ("stale", "gate, sft .* changed since the run"),
        ("checked out", "released is checked out"),
    ],
)
def test_what_must_not_be_published(
    project: Project, monkeypatch: pytest.MonkeyPatch, problem: str, message: str
) -> None:
    project.publish(1)
    project.run(2)
    if problem == "refused":
        gate = json.dumps({"accepted": False, "verdict": "refused: helpful -0.2"})
        write(project.workspace, {"reports/gate.json": gate})
    if problem == "unjudged":
        (project.workspace / "reports/gate.json").unlink()
    if problem == "code":
        write(project.workspace, {"concord/code.py": "x = 2\n"})
    if problem == "stale":
        stale = json.dumps({"sft": [], "gate": []})
        monkeypatch.setattr(publishing, "dvc", lambda *_, **__: stale)
    if problem == "checked out":
        git(project.root, "checkout", "--quiet", "released")
    seen = project.state()
    with pytest.raises(ReleaseError, match=message):
        publish(project.workspace, "Score 2")
    assert project.state() == seen


def test_git_without_a_user_publishes_too(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{name}_NAME")
        monkeypatch.delenv(f"GIT_{name}_EMAIL")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    git(project.workspace, "config", "user.useConfigOnly", "true")
    assert publish(project.workspace, "The first").name == "v1.0.0"
    assert git(project.root, "log", "-1", "--format=%an", "released") == "concord"
