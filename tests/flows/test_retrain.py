"""Scheduled retraining on a project of two stages: accepted, idle, refused, failed, killed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from concord import release
from flows import inputs, retrain_state, retraining, workspace
from flows.retrain_state import State
from flows.retraining import Request, RetrainError
from tests.chain.tree import python
from tests.flows.fake_project import (
    arrives,
    champion,
    commit,
    git,
    history,
    make,
    pairs,
    run,
    tree_of,
)
from tests.flows.toy import ROOT, dvc


@pytest.fixture(scope="module", autouse=True)
def code() -> Iterator[None]:
    """Processes in the workspace find this project's code, as if the workspace had it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        yield


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its first release. Tests must copy it."""
    root = make(tmp_path_factory.mktemp("retrain") / "the project")
    before = tree_of(root)
    outcome = run(root)
    assert (outcome.outcome, outcome.version) == ("accepted", "v1.0.0")
    assert champion(root) == {"rows": 5, "share": 1.0}
    assert tree_of(root) == before
    return root


@pytest.fixture
def project(released: Path, tmp_path: Path) -> Path:
    """A copy of the project with its first release."""
    shutil.copytree(released.parent, tmp_path / "copy", symlinks=True)
    root = tmp_path / "copy" / released.name
    shutil.rmtree(root / "runs/retrain")  # it names its origin
    return root


def test_new_then_nothing_then_poisoned(project: Path) -> None:
    """Three runs in a row end as accepted, idle and refused, and a dirty tree stays as it is."""
    (project / "train.py").write_text("raise SystemExit('half an edit')")
    (project / "notes.txt").write_text("not even added")
    git(project, "add", "train.py")
    before = tree_of(project)
    arrives(project, "second.jsonl", pairs(5))
    outcome = run(project)
    assert (outcome.outcome, outcome.version) == ("accepted", "v1.0.1")
    assert len(outcome.inputs) == 1
    assert "second.jsonl for the source pairs" in outcome.inputs[0]
    assert champion(project) == {"rows": 10, "share": 1.0}

    began = time.monotonic()
    assert run(project).outcome == "idle"
    assert time.monotonic() - began < 10

    published = git(project, "rev-parse", "released"), git(project, "tag")
    arrives(project, "third.jsonl", pairs(10, chosen="bad"))
    outcome = run(project)
    assert outcome.outcome == "refused"
    assert outcome.reason == "refused: 0.67 after 1.00"
    assert run(project).outcome == "idle", "refused data are not tried twice"
    assert (git(project, "rev-parse", "released"), git(project, "tag")) == published

    arrives(project, "fourth.jsonl", pairs(20))
    arrives(project, "again.jsonl", pairs(5))
    outcome = run(project)
    assert (outcome.outcome, outcome.version) == ("accepted", "v1.0.2")
    assert champion(project) == {"rows": 15, "share": 1.0}, "without the refused file"
    assert tree_of(project) == before
    expected = ["accepted", "accepted", "idle", "refused", "idle", "accepted"]
    assert history(project) == expected


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("broken.jsonl", pairs(5) + "{broken\n" * 3, r"3 of 8 rows \(37.5%\) were rejected"),
        ("empty.jsonl", "", "has no rows|no rows|is empty"),
        ("zip.jsonl", "PK\x03\x04", "Zip|zip"),
        ("model.bin", "x", "none of the extensions"),
    ],
)
def test_files_that_cannot_be_used_are_refused_before_training(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str, reason: str
) -> None:
    """The reason names the file. The good file beside it is used by the next run."""
    monkeypatch.setattr(retraining, "_align", None)
    bad, good = arrives(project, name, content), arrives(project, "good.jsonl", pairs(5))
    outcome = run(project)
    assert outcome.outcome == "refused"
    assert str(bad) in outcome.reason
    assert str(good) not in outcome.reason
    assert re.search(reason, outcome.reason), outcome.reason
    waiting = retraining._look(
        retraining.Run(project, State.load(project), Request(), print, 0)
    ).new
    assert [one.path for one in waiting] == [str(good)]


def test_a_failure_publishes_nothing_and_the_next_run_resumes(project: Path) -> None:
    arrives(project, "second.jsonl", pairs(5))
    published = git(project, "rev-parse", "released")
    with pytest.raises(RetrainError, match=r"exit status 1\); the last lines:\n    out of memory"):
        run(project, align=(python(), "-c", "print('out of memory'); raise SystemExit(1)"))
    assert git(project, "rev-parse", "released") == published
    assert run(project).outcome == "accepted"
    assert history(project)[-2:] == ["failed", "accepted"]


def test_a_missing_folder_fails_in_one_sentence(project: Path) -> None:
    (project.parent / "inbox").rmdir()
    with pytest.raises(
        inputs.InputError, match=r"retrain\.watch\.pairs is \.\./inbox, but .* not a"
    ):
        run(project)


def test_a_commit_of_the_project_is_new_unless_it_changes_nothing(project: Path) -> None:
    (project / "README.md").write_text("A better text.\n")
    commit(project, "Docs")
    assert run(project).reason == "what is new changes nothing that is computed"
    assert run(project).reason == "nothing is new"
    (project / "train.py").write_text((project / "train.py").read_text() + "print('changed')\n")
    commit(project, "Code")
    outcome = run(project)
    assert (outcome.outcome, outcome.version) == ("accepted", "v1.0.1")
    assert "changed" in git(project, "show", "released:train.py")
    assert git(project, "merge-base", "released", "main") == git(project, "rev-parse", "main")


def test_files_that_both_sides_added_are_joined(project: Path) -> None:
    """A person adds a file to the source and commits; a release has added another."""
    arrives(project, "second.jsonl", pairs(5))
    assert run(project).outcome == "accepted"
    (project / "data/raw/pairs/by_hand.jsonl").write_text(pairs(30))
    dvc(project, "add", "--quiet", "data/raw/pairs")
    commit(project, "More data")
    assert run(project).outcome == "accepted"
    assert champion(project) == {"rows": 15, "share": 1.0}


def test_a_new_version_of_an_import_is_new(project: Path) -> None:
    source = project.parent / "elsewhere"
    source.mkdir()
    (source / "import.jsonl").write_text(pairs(40))
    dvc(project, "import-url", "--quiet", str(source), "data/raw/more")
    graph = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(
        graph.replace("data/raw/pairs]", "data/raw/pairs, data/raw/more]")
    )
    commit(project, "An import")
    assert run(project).outcome == "accepted"
    assert run(project).outcome == "idle"
    (source / "import.jsonl").write_text(pairs(40, 6))
    outcome = run(project)
    assert outcome.outcome == "accepted"
    assert outcome.inputs[0].startswith("a new version of data/raw/more.dvc")
    assert run(project).outcome == "idle"


def killed(act: Callable[[], Any]) -> None:
    """Runs `act` in a process of its own, which must be killed by it."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), status


KILLS = [
    (workspace, "_share_cache", "before"),
    (workspace, "reset", "after"),
    (inputs, "problems", "after"),
    (inputs, "_copy", "after"),
    (inputs, "add_files", "after"),
    (retraining, "_align", "after"),
    (release, "publish", "before"),
    (release, "publish", "after"),
]


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    project: Path, released: Path, tmp_path: Path
) -> None:
    """Each run is killed one step later than the one before. Nothing is published until the end."""
    before = git(project, "rev-parse", "released")
    arrives(project, "second.jsonl", pairs(5))
    for module, name, when in KILLS:
        assert git(project, "rev-parse", "released") == before

        def act(module: Any = module, name: str = name, when: str = when) -> None:
            original = getattr(module, name)

            def fatal(*arguments: Any) -> Any:
                if when == "after":
                    original(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)

            setattr(module, name, fatal)
            run(project)

        killed(act)
    assert history(project) == ["accepted"]
    assert run(project).outcome == "idle"
    assert history(project) == ["accepted", "accepted", "idle"], "the killed one is recorded"
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(released.parent, undisturbed, symlinks=True)
    other = undisturbed / released.name
    shutil.rmtree(other / "runs/retrain")
    arrives(other, "second.jsonl", pairs(5))
    assert run(other).outcome == "accepted"
    for path in ("dvc.lock", "data/raw/pairs.dvc", "models/champion/results.json"):
        assert git(project, "show", f"released:{path}") == git(other, "show", f"released:{path}")
    assert release.current(project) is not None
    assert git(project, "tag").split() == git(other, "tag").split()


def test_a_second_run_says_so_and_ends(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import sys, time; from pathlib import Path; from flows.retrain_state import lock\n"
        "with lock(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(project)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with retrain_state.lock(project, wait=0) as held:
            assert held is None
        lines = history(project)
        monkeypatch.setattr(retraining, "lock", lambda root: retrain_state.lock(root, wait=0.3))
        assert run(project).reason == retraining.BUSY
        assert history(project) == lines
        holder.kill()
    with retrain_state.lock(project, wait=1) as held:
        assert held is not None, "the kernel frees the lock of a holder that was killed"


def test_a_file_that_is_still_written_waits(project: Path) -> None:
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("settle_seconds: 0", "settle_seconds: 60"))
    commit(project, "Wait a minute")
    file = arrives(project, "second.jsonl", pairs(5)[:-20])
    run_ = retraining.Run(project, State.load(project), Request(), print, 0)
    assert [one.kind for one in retraining._look(run_).new] == ["project"]
    os.utime(file, (time.time() - 61, time.time() - 61))
    assert [one.kind for one in retraining._look(run_).new] == ["file", "project"]


def test_no_model_code_is_imported_to_find_that_nothing_is_new() -> None:
    script = (
        "import sys, flows.retrain; heavy = {'torch', 'transformers', 'trl', 'datasets', 'pandas'}"
        "; sys.exit(', '.join(heavy & sys.modules.keys()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
