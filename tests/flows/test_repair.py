"""Damaged files of the cache are found by their hash before they are used, and made again."""

import os
import shutil
from pathlib import Path

import pytest

from flows.graph import GraphError, read_graph
from flows.repair import KEPT, LOCK, RepairError, repair
from tests.flows.toy import dvc, make_toy


@pytest.fixture(scope="module")
def finished_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy project after its first stage, with a source that DVC tracks."""
    toy = make_toy(tmp_path_factory.mktemp("repair") / "toy")
    (toy / "words").mkdir()
    for name in ("one", "two"):
        (toy / "words" / name).write_text(name)
    dvc(toy, "add", "--quiet", "words")
    dvc(toy, "repro", "--quiet", "start")
    return toy


@pytest.fixture
def ran(finished_start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the working directory."""
    shutil.copytree(finished_start, tmp_path / "toy")
    monkeypatch.chdir(tmp_path / "toy")
    return tmp_path / "toy"


def cached(project: Path) -> dict[str, Path]:
    """Content -> file in the cache."""
    files = (project / ".dvc/cache/files/md5").glob("*/*")
    return {file.read_text(): file for file in files}


def damage(file: Path, content: str) -> None:
    """Replaces the content; the mode stays that by which DVC knows the files it has hashed."""
    file.chmod(0o644)
    file.write_text(content)
    file.chmod(0o444)


def test_damage_is_found_and_the_output_made_again(ran: Path) -> None:
    log: list[str] = []
    assert repair(log.append) == []
    files = cached(ran)
    damage(files["hello\n"], "hellp\n")
    damage(files["two"], "tw")
    (ran / "start.txt").unlink()
    restored = dvc(ran, "checkout", "start.txt")  # DVC itself does not see it
    assert (ran / "start.txt").read_text() == "hellp\n", restored
    assert sorted(repair(log.append)) == ["start.txt", "words/two"]
    assert "its file in the cache is damaged" in log[0]
    assert not files["hello\n"].exists()
    assert not (ran / "start.txt").exists()
    assert (ran / "words/two").read_text() == "two"  # what is right in the project stays
    dvc(ran, "repro", "start")
    assert (ran / "start.txt").read_text() == "hello\n"
    assert repair(log.append) == []


def test_damage_is_fetched_again_from_a_remote(ran: Path, tmp_path: Path) -> None:
    dvc(ran, "remote", "add", "--local", "--default", "other", str(tmp_path / "remote"))
    dvc(ran, "push", "--quiet")
    file = cached(ran)["hello\n"]
    damage(file, "hel")
    assert repair(print, ["start"]) == ["start.txt"]
    assert file.read_text() == "hello\n"


def test_damage_that_cannot_be_removed_is_an_error(
    ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(cached(ran)["hello\n"], "hel")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)  # root may write in every folder
    with pytest.raises(RepairError, match=r"cannot be removed .*make the cache writable"):
        repair(print)


def test_an_incomplete_lock_file_is_restored(ran: Path) -> None:
    repair(print)
    whole = LOCK.read_text()
    assert KEPT.read_text() == whole
    LOCK.write_text(whole[: len(whole) // 2])
    with pytest.raises(GraphError, match=r"python -m flows\.repair"):
        read_graph()
    repair(print)
    assert LOCK.read_text() == whole


def test_incomplete_entry_of_the_run_cache_is_removed(ran: Path) -> None:
    log: list[str] = []
    dvc(ran, "repro", "apart")
    repair(log.append)
    (entry,) = (ran / ".dvc/cache/runs").glob("??/*/*")
    whole = entry.read_text()
    assert log == []
    entry.write_text(whole[: whole.index("outs:")])  # still YAML, and DVC ends with KeyError
    (ran / "dvc.lock").unlink()
    (ran / "apart.txt").unlink()
    repair(log.append)
    assert not entry.exists()
    assert [line for line in log if "run cache" in line]
    dvc(ran, "repro", "apart")
    assert entry.read_text() == whole


def test_older_entries_of_the_run_cache_are_not_read_again(ran: Path) -> None:
    dvc(ran, "repro", "apart")
    repair(print)
    (entry,) = (ran / ".dvc/cache/runs").glob("??/*/*")
    when = entry.stat().st_mtime - 3600
    entry.write_text("unreadable")
    os.utime(entry, (when, when))
    repair(print)
    assert entry.exists()
