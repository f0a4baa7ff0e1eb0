"""Clones: the working tree with other params, separate results and a shared cache."""

import subprocess
from pathlib import Path

import pytest

from flows.clone import CloneError, clone
from tests.flows.toy import PARAMS, dvc

QUICK = PARAMS.replace("seconds: 1.0", "seconds: 0.0")


def git(project: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=project, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def project(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy project, committed, with the source words.txt tracked by DVC."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@example.org")
    (toy / ".gitignore").write_text(".dvc/cache\n.dvc/tmp\n.dvc/config.local\n/runs/\n/parts/\n")
    (toy / "params.yaml").write_text(QUICK)
    (toy / "recipes").mkdir()
    (toy / "recipes/other.yaml").write_text(QUICK.replace("word: hello", "word: goodbye"))
    for name in ("words.txt", "more words.txt"):
        (toy / name).write_text("words")
        dvc(toy, "add", "--quiet", name)
    git(toy, "add", "--all")
    git(toy, "commit", "--quiet", "--message", "toy")
    monkeypatch.chdir(toy)
    return toy


def test_the_clone_has_its_params_and_the_working_tree(project: Path) -> None:
    (project / "part.py").write_text(
        (project / "part.py").read_text() + "# edited, not committed\n"
    )
    (project / "new.py").write_text("# not even added\n")
    head, before = git(project, "rev-parse", "HEAD"), git(project, "status", "--porcelain")
    folder = clone(Path("recipes/other.yaml"), project)
    assert folder == project / "runs/other"
    assert "goodbye" in (folder / "params.yaml").read_text()
    assert "edited, not committed" in (folder / "part.py").read_text()
    assert (folder / "new.py").exists()
    assert (folder / "words.txt").read_text() == "words"
    assert (folder / "more words.txt").read_text() == "words"
    assert (git(project, "rev-parse", "HEAD"), git(project, "status", "--porcelain")) == (
        head,
        before,
    )


def test_the_cache_is_shared_and_results_are_not(project: Path) -> None:
    dvc(project, "repro", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "a run")
    (project / "recipes/same.yaml").write_text(QUICK)
    folder = clone(Path("recipes/same.yaml"), project)
    assert not (folder / "dvc.lock").exists()
    assert "is cached - skipping run" in dvc(folder, "repro")
    assert "Running stage" not in dvc(folder, "repro")
    assert (folder / "join.txt").read_text() == (project / "join.txt").read_text()
    assert git(project, "status", "--porcelain").split() == ["??", "recipes/same.yaml"]


def test_an_update_keeps_results_and_follows_the_tree(project: Path) -> None:
    folder = clone(Path("recipes/other.yaml"), project)
    dvc(folder, "repro", "--quiet")
    (project / "recipes/other.yaml").write_text(
        QUICK.replace("word: hello", "word: goodbye") + "extra: 1\n"
    )
    (project / "recipes/gone.yaml").write_text("")
    assert clone(Path("recipes/other.yaml"), project) == folder
    assert "extra: 1" in (folder / "params.yaml").read_text()
    assert (folder / "reports/index.html").read_text().startswith("goodbye")
    assert "Running stage" not in dvc(folder, "repro")
    (project / "recipes/gone.yaml").unlink()
    clone(Path("recipes/other.yaml"), project)
    assert not (folder / "recipes/gone.yaml").exists()


def test_single_values_can_be_changed(project: Path) -> None:
    """Only the given values change. Each set of values has its own clone."""
    (project / "params.yaml").write_text("# about the recipe\n" + QUICK)
    folder = clone(Path("params.yaml"), project, ["word=farewell"])
    assert folder == project / "runs/params-word-farewell"
    before, after = ((path / "params.yaml").read_text().splitlines() for path in (project, folder))
    assert [line for line in after if line not in before] == ["word: farewell"]
    assert after[0] == "# about the recipe"
    for wrong in ("wrod=x", "word", "nothing.word=x"):
        with pytest.raises(CloneError, match=r"changes nothing, because params\.yaml has no key"):
            clone(Path("params.yaml"), project, [wrong])


def test_a_changed_value_never_moves_the_clone_out_of_runs(project: Path) -> None:
    folder = clone(Path("params.yaml"), project, ["word=../../../x"])
    assert folder.parent == project / "runs"
    assert "../../../x" in (folder / "params.yaml").read_text()


def test_a_missing_recipe(project: Path) -> None:
    with pytest.raises(
        CloneError, match=r"recipes/othre.yaml does not exist; recipes here: recipes/other.yaml"
    ):
        clone(Path("recipes/othre.yaml"), project)
