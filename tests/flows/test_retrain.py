"""Scheduled retraining on a project of two stages: accepted, idle, refused, failed, killed."""

import errno
import json
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

import httpx
import pytest

from concord import release
from concord.stage.errors import DiskError
from flows import inputs, retrain_state, retraining, workspace, workspace_stages
from flows.look import look_for_new
from flows.retrain_state import State
from flows.workspace_stages import RetrainError
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
from tests.flows.toy import ROOT, alive, dvc, wait_until


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


@pytest.fixture(scope="module")
def second(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose second run failed, and whose third one published. Tests must copy it."""
    root = copy(released, tmp_path_factory.mktemp("second") / "copy")
    arrives(root, "second.jsonl", pairs(5))
    published = git(root, "rev-parse", "released")
    with pytest.raises(RetrainError, match=r"exit status 1\); the last lines:\n    out of memory"):
        run(root, align=(python(), "-c", "print('out of memory'); raise SystemExit(1)"))
    assert git(root, "rev-parse", "released") == published
    outcome = run(root)
    assert (outcome.outcome, outcome.version) == ("accepted", "v1.0.1")
    assert len(outcome.inputs) == 1
    assert "second.jsonl for the source pairs" in outcome.inputs[0]
    assert champion(root) == {"rows": 10, "share": 1.0}
    assert history(root) == ["accepted", "failed", "accepted"]
    return root


SAME = "what is new does not change the model: the candidate is the champion"


def copy(root: Path, target: Path) -> Path:
    """A copy of a project and its watched folder, without the workspace, which names its origin."""
    shutil.copytree(root.parent, target, symlinks=True)
    shutil.rmtree(target / root.name / "runs/retrain")
    return target / root.name


def look(root: Path) -> list[str]:
    """The names of new files, or the kind of other new inputs."""
    new = look_for_new(State.load(root)).new
    return [Path(one.path).name if one.path else one.kind for one in new]


def test_nothing_new_then_poisoned_then_unusable(second: Path, tmp_path: Path) -> None:
    """After new data: idle, refused by the gate, accepted, refused before training.

    The working tree of a person, in the middle of an edit, stays as it is.
    """
    project = copy(second, tmp_path / "copy")
    (project / "train.py").write_text("raise SystemExit('half an edit')")
    (project / "notes.txt").write_text("not even added")
    git(project, "add", "train.py")
    before = tree_of(project)
    began = time.monotonic()
    assert run(project).outcome == "idle"
    assert time.monotonic() - began < 10

    published = git(project, "rev-parse", "released"), git(project, "tag")
    arrives(project, "third.jsonl", pairs(10, chosen="bad"))
    outcome = run(project)
    assert (outcome.outcome, outcome.reason) == ("refused", "refused: 0.67 after 1.00")
    assert run(project).outcome == "idle", "refused data are not tried twice"
    assert (git(project, "rev-parse", "released"), git(project, "tag")) == published

    arrives(project, "fourth.jsonl", pairs(20))
    arrives(project, "again.jsonl", pairs(5))
    outcome = run(project)
    assert (outcome.outcome, outcome.version) == ("accepted", "v1.0.2")
    assert champion(project) == {"rows": 15, "share": 1.0}, "without the refused file"

    bad = {
        "broken.jsonl": (pairs(30) + "{broken\n" * 3, r"3 of 8 rows \(37.5%\) were rejected"),
        "empty.jsonl": ("", "empty|no rows"),
        "zip.jsonl": ("PK\x03\x04", "[Zz][Ii][Pp]"),
        "model.bin": ("x", "none of the extensions"),
        "state.json": (pairs(30), "a name for metadata"),
    }
    for name, (content, _) in bad.items():
        arrives(project, name, content)
    good = arrives(project, "good.jsonl", pairs(40))
    outcome = run(project, align=("false",))
    assert outcome.outcome == "refused"
    for name, (_, reason) in bad.items():
        assert re.search(f"{name}: .*({reason})", outcome.reason), outcome.reason
    assert str(good) not in outcome.reason
    assert look(project) == ["good.jsonl"]
    assert tree_of(project) == before
    expected = ["idle", "refused", "idle", "accepted", "refused"]
    assert history(project)[-5:] == expected


def test_commits_and_imports_are_new(second: Path, tmp_path: Path) -> None:
    """Of the project: a text, which changes nothing; and code, data and an import at once.

    The data that a person added are joined with those that a release added.
    """
    project = copy(second, tmp_path / "copy")
    (project / "README.md").write_text("A better text.\n")
    commit(project, "Docs")
    assert run(project).reason == SAME
    assert run(project).reason == "nothing is new"

    (project / "data/raw/pairs/by_hand.jsonl").write_text(pairs(30))
    dvc(project, "add", "--quiet", "data/raw/pairs")
    source = project.parent / "elsewhere"
    source.mkdir()
    (source / "import.jsonl").write_text(pairs(40))
    dvc(project, "import-url", "--quiet", str(source), "data/raw/more")
    graph = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(
        graph.replace("data/raw/pairs]", "data/raw/pairs, data/raw/more]")
    )
    code_before = (project / "train.py").read_text()
    both = code_before.replace('"data/raw/pairs").iterdir()', '"data/raw").glob("*/*.jsonl")')
    (project / "train.py").write_text(both)
    commit(project, "Code, data, and an import")
    outcome = run(project)
    assert (outcome.outcome, outcome.version) == ("accepted", "v1.1.0")
    assert champion(project) == {"rows": 20, "share": 1.0}
    assert git(project, "show", "released:train.py") == both.strip()
    assert git(project, "merge-base", "released", "main") == git(project, "rev-parse", "main")

    (source / "import.jsonl").write_text(pairs(40, 6))
    outcome = run(project)
    assert (outcome.outcome, outcome.version) == ("accepted", "v1.1.1")
    assert outcome.inputs[0].startswith("a new version of data/raw/more.dvc")
    assert champion(project)["rows"] == 21

    (source / "import.jsonl").write_text(pairs(40, chosen="bad"))
    assert run(project).outcome == "refused"
    assert run(project).outcome == "idle", "the refused version is not tried twice"
    assert champion(project)["rows"] == 21


def test_a_missing_folder_fails_in_one_sentence(released: Path, tmp_path: Path) -> None:
    project = copy(released, tmp_path / "copy")
    (project.parent / "inbox").rmdir()
    with pytest.raises(
        inputs.InputError, match=r"retrain\.watch\.pairs is \.\./inbox, but .* not a"
    ):
        run(project)
    assert history(project) == ["accepted", "failed"]


def test_a_short_params_yaml_is_refused_before_any_work(released: Path, tmp_path: Path) -> None:
    """DVC could not even check out the data. The history has the sentence, not its first line."""
    project = copy(released, tmp_path / "copy")
    graph = (
        (project / "dvc.yaml").read_text().replace("    outs: [models", "    params: [sft]\n&", 1)
    )
    (project / "dvc.yaml").write_text(graph.replace("&", "    outs: [models"))
    commit(project, "A stage reads what params.yaml lacks")
    with pytest.raises(
        workspace.WorkspaceError, match=r"has no sft, which dvc\.yaml .* `concord use params\.yaml`"
    ):
        run(project, align=("false",))
    last = json.loads((project / retrain_state.HISTORY).read_text().splitlines()[-1])
    assert last["outcome"] == "failed"
    assert last["reason"].endswith("and commit the result.")


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
    (workspace_stages, "align", "after"),
    (release, "publish", "before"),
    (release, "publish", "after"),
]


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    released: Path, second: Path, tmp_path: Path
) -> None:
    """Each run is killed one step later than the one before. Nothing is published until the end."""
    project = copy(released, tmp_path / "copy")
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
    for path in ("dvc.lock", "data/raw/pairs.dvc", "models/champion/results.json"):
        assert git(project, "show", f"released:{path}") == git(second, "show", f"released:{path}")
    assert git(project, "tag").split() == git(second, "tag").split()


def test_stages_end_with_a_run_that_is_killed_and_the_lock_is_free_then(
    released: Path, tmp_path: Path
) -> None:
    project = copy(released, tmp_path / "copy")
    arrives(project, "second.jsonl", pairs(5))
    script = "import os, time; open('stage.pid', 'w').write(str(os.getpid())); time.sleep(99)"
    child = os.fork()
    if child == 0:
        try:
            run(project, align=(sys.executable, "-c", script))
        finally:
            os._exit(1)
    pid = project / "runs/retrain/stage.pid"
    wait_until(lambda: pid.is_file() and pid.read_text() != "", 100)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with retrain_state.lock(project) as held:
        assert held is not None
        assert not alive(int(pid.read_text()))


def test_a_second_run_is_skipped_and_recorded(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copy(released, tmp_path / "copy")
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
        monkeypatch.setattr(retraining, "lock", lambda root: retrain_state.lock(root, wait=0.3))
        outcome = run(project)
        assert (outcome.outcome, outcome.reason) == ("skipped", retraining.BUSY)
        assert history(project) == ["accepted", "skipped"]
        holder.kill()
    with retrain_state.lock(project, wait=1) as held:
        assert held is not None, "the kernel frees the lock of a holder that was killed"


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the history cannot be written any more."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/retrain-state.json")

    monkeypatch.setattr(retraining, "_retrain", full)
    with pytest.raises(DiskError, match=r"No space left .*retrain-state.*Free some space"):
        run(tmp_path)
    assert history(tmp_path) == ["failed"]
    monkeypatch.setattr(retraining, "add_to_history", full)
    with pytest.raises(DiskError, match="No space left"):
        run(tmp_path)
    other = OSError(errno.ENOEXEC, "Exec format error", "git")
    monkeypatch.setattr(retraining, "add_to_history", lambda *_: None)
    monkeypatch.setattr(retraining, "_retrain", lambda *_: (_ for _ in ()).throw(other))
    with pytest.raises(OSError, match="Exec format"):
        run(tmp_path)


def test_a_file_that_is_still_written_waits(released: Path, tmp_path: Path) -> None:
    project = copy(released, tmp_path / "copy")
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("settle_seconds: 0", "settle_seconds: 60"))
    commit(project, "Wait a minute")
    file = arrives(project, "second.jsonl", pairs(5)[:-20])
    assert look(project) == ["project"]
    os.utime(file, (time.time() - 61, time.time() - 61))
    assert look(project) == ["second.jsonl", "project"]


def test_the_flow_emits_an_event_and_writes_an_artifact(
    second: Path, tmp_path: Path, server: dict[str, str]
) -> None:
    """On a real server, with the stages as Prefect tasks. The automation is that of the docs."""
    project, api = copy(second, tmp_path / "copy"), server["TOY_API"]
    env = server | {"PYTHONPATH": str(ROOT), "PREFECT_API_URL": api}
    page = (ROOT / "docs/how-to/deploy.md").read_text()
    example = re.search(r"```yaml\n# refused\.yaml\n(.*?)```", page, re.DOTALL)
    assert example
    (tmp_path / "refused.yaml").write_text(example[1])

    def python_m(*arguments: str) -> str:
        command = [python(), "-m", *arguments]
        done = subprocess.run(
            command, cwd=project, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stored(what: str, query: dict[str, Any]) -> Any:
        return httpx.post(f"{api}/{what}/filter", json=query).raise_for_status().json()

    automation = ("--from-file", str(tmp_path / "refused.yaml"))
    python_m("prefect", "--no-prompt", "automation", "create", *automation)
    arrives(project, "third.jsonl", pairs(10, chosen="bad"))
    assert python_m("flows.retrain").splitlines()[-1] == "refused: 0.67 after 1.00"
    assert python_m("flows.retrain").strip() == "idle: nothing is new"
    wanted = {"filter": {"event": {"name": ["concord.candidate.refused"]}}}
    wait_until(lambda: stored("events", wanted)["events"], 60)
    (event,) = stored("events", wanted)["events"]
    assert event["resource"]["prefect.resource.id"] == "concord.project.the project"
    assert event["payload"]["reason"] == "refused: 0.67 after 1.00"
    assert "third.jsonl" in event["payload"]["inputs"][0]
    (artifact,) = stored("artifacts", {"artifacts": {"key": {"any_": ["retrain"]}}})
    assert artifact["data"].startswith("# Refused\n\nrefused: 0.67 after 1.00\n")


def test_no_model_code_is_imported_to_find_that_nothing_is_new() -> None:
    script = (
        "import sys, flows.retrain; heavy = {'torch', 'transformers', 'trl', 'datasets', 'sklearn'}"
        "; sys.exit(', '.join(heavy & sys.modules.keys()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
