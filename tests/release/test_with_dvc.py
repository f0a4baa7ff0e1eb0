"""Releases of a tiny project with git and DVC: lineage, what is left of a version, a rebuild."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from concord.release import ReleaseError, how_to_get, publish, roll_back
from concord.release.lineage import in_words, lineage
from concord.release.reproduce import (
    check,
    differences,
    kept_in_words,
    rebuilt_in_words,
    reproduce,
)
from concord.release.store import dvc
from flows import cli
from tests.release.projects import git, write

PARAMS = """\
seeds: {data: 0, sampling: 0}
model: {name: models/base, revision: null}
sources: {mine: {format: concord, path: data/raw/rows.txt, licence: CC-BY-4.0}}
objectives:
  helpful: {domain: values, reward: values}
  right: {domain: values, verifier: math_answer}
policies: {steered: {method: mah_dpo}}
gate: {champion: models/champion}
"""
GRAPH = """\
stages:
  ingest:
    foreach: ${sources}
    do:
      cmd: mkdir -p data/ingested && cp ${item.path} data/ingested/${key}
      deps: ["${item.path}"]
      outs: ["data/ingested/${key}"]
  export:
    cmd: sh export.sh
    deps: [export.sh, data/ingested, models/champion]
    outs:
      - data/prepared
      - models/rewards/values
      - models/anchors.json
      - models/aligned
      - reports/timing/values.json: {cache: false}
      - reports/data.json: {cache: false}
      - reports/select.json: {cache: false, persist: true}
      - reports/candidate/results.json: {cache: false}
      - reports/gate.json: {cache: false}
  unneeded:
    cmd: echo other > other
    deps: [models/aligned]
    outs: [other]
"""
CHOICE = {"policy": "steered", "rule": "given", "strength": 1}
EXPORT = f"""\
mkdir -p data models/rewards models/aligned reports/candidate reports/timing
cp data/ingested/mine data/prepared
echo values > models/rewards/values
echo anchors > models/anchors.json
cp data/ingested/mine models/aligned/weights
echo "$NOISE" > models/aligned/noise
date +%N > reports/timing/values.json
echo '{json.dumps({"sources": {"mine": {"read": 5, "kept": 4}}})}' > reports/data.json
echo '{json.dumps({**CHOICE, "weights": {"helpful": 0.75, "right": 0.25}})}' >> reports/select.json
echo '{json.dumps({"checkpoint": "abc"})}' > reports/candidate/results.json
echo '{json.dumps({"accepted": True, "verdict": "accepted: better"})}' > reports/gate.json
ls models/champion >> models/aligned/noise
"""
IGNORED = """\
/runs/
/.store/
/data/ingested/
/data/prepared
/models/rewards/
/models/anchors.json
/models/aligned/
/other
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose first run is published as v1.0.0."""
    root = tmp_path_factory.mktemp("with dvc") / "project"
    files = {
        "params.yaml": PARAMS,
        "dvc.yaml": GRAPH,
        "export.sh": EXPORT,
        ".gitignore": IGNORED,
        "data/raw/rows.txt": "five rows\n",
        "models/champion/README.md": "The champion.\n",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{name}_NAME", "test")
            patch.setenv(f"GIT_{name}_EMAIL", "test@example.org")
        write(root, files)
        git(root, "init", "--quiet", "--initial-branch=main")
        dvc(root, "init", "--quiet")
        dvc(root, "remote", "add", "--default", "local", ".store")
        dvc(root, "add", "--quiet", "data/raw/rows.txt")
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "--message", "the project")
        workspace = root / "runs/retrain"
        git(root, "clone", "--quiet", "--no-hardlinks", str(root), str(workspace))
        dvc(workspace, "config", "--local", "cache.dir", str(root / ".dvc/cache"))
        dvc(workspace, "remote", "modify", "--local", "local", "url", str(root / ".store"))
        dvc(workspace, "checkout", "--quiet", "data/raw/rows.txt.dvc")
        run(workspace)
        assert publish(workspace, "The first").name == "v1.0.0"
        yield root


def run(workspace: Path) -> None:
    dvc(workspace, "repro", "--quiet")


def stored(store: Path, text: str) -> Path:
    """The object with a content."""
    return next(path for path in store.rglob("*") if path.is_file() and path.read_text() == text)


def test_lineage_says_what_a_version_was_made_of(root: Path) -> None:
    record = lineage(root)
    assert record["version"] == "v1.0.0"
    assert record["champion"]
    source = record["sources"]["mine"]
    assert source["md5"] == hashlib.md5(b"five rows\n").hexdigest()
    assert (source["licence"], source["read"], source["kept"]) == ("CC-BY-4.0", 5, 4)
    assert record["code"]["commit"] == git(root, "rev-parse", "released")
    assert record["code"]["project"] == git(root, "rev-parse", "main")
    assert list(record["reward_models"]) == ["models/rewards/values"]
    assert record["anchors"]
    assert record["weights"]["weights"] == {"helpful": 0.75, "right": 0.25}
    assert record["environment"]["python"].startswith(f"{sys.version_info[0]}.")
    text = in_words(record)
    for words in (
        "v1.0.0, the champion",
        "accepted: better",
        "licence CC-BY-4.0",
        "0.2500  right, scored by verifier math_answer",
        "0.7500  helpful, scored by reward model values",
        f"{record['anchors']}  models/anchors.json",
        f"torch {record['environment']['packages']['torch']}",
        "steered (method mah_dpo)",
    ):
        assert words in text


def test_the_commands_print_and_exit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    runner = CliRunner()
    printed = runner.invoke(cli.app, ["lineage", "--json"])
    assert json.loads(printed.stdout) == lineage(root)
    assert "v1.0.0, the champion" in runner.invoke(cli.app, ["lineage", "v1.0.0"]).stdout
    refused = runner.invoke(cli.app, ["rollback"])
    assert refused.exit_code == 1
    assert "ReleaseError: v1.0.0 has no former version" in refused.stderr
    (root / ".dvc/tmp/rwlock").write_text("")  # as a DVC process leaves it that was killed
    kept = runner.invoke(cli.app, ["reproduce", "v1.0.0", "--check"])
    assert kept.exit_code == 0
    assert "All are in the cache" in kept.stdout


def test_damage_is_noticed_and_what_is_lost_is_listed(root: Path) -> None:
    """A cache file has other content of the same size, and the remote lacks another file. Then the
    cache lacks that file, too.
    """
    damaged = stored(root / ".dvc/cache", "five rows\n")
    damaged.chmod(0o644)
    damaged.write_text("four rows\n")
    inside, saved = (stored(root / folder, "values\n") for folder in (".dvc/cache", ".store"))
    saved.unlink()
    kept = check(root, "v1.0.0")
    assert (kept.lost, kept.unsaved) == ((), ("models/rewards/values",))
    assert damaged.read_text() == "five rows\n"
    inside.unlink()
    kept = check(root, "v1.0.0")
    assert kept.lost == ("models/rewards/values",)
    assert "neither in the cache nor in the remote:\n  models/rewards/values" in kept_in_words(kept)
    for file in (inside, saved):
        file.write_text("values\n")


def test_a_rebuild_compares_hashes(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same bytes; then a checkpoint that depends on what no dependency names."""
    result = reproduce(root, "v1.0.0")
    ran = capfd.readouterr().out
    assert "Running stage 'export'" in ran
    assert "Running stage 'ingest@mine'" in ran
    assert "unneeded" not in ran
    assert not result.different
    assert result.timed == ("reports/timing/values.json",)
    assert {"models/aligned", "reports/select.json", "data/ingested/mine"} <= set(result.same)
    monkeypatch.setenv("NOISE", "another")
    other = reproduce(root, "v1.0.0")
    assert other.different == {"models/aligned": "export"}
    text = rebuilt_in_words(other)
    assert "models/aligned (stage export)" in text
    assert "The checkpoint does not have the same hash." in text


def test_environments_are_compared() -> None:
    before = {
        "python": "3.11.1",
        "system": "a",
        "machine": "x",
        "packages": {"torch": "1", "b": "2"},
    }
    now = {"python": "3.12.0", "system": "a", "machine": "x", "packages": {"torch": "1", "c": "3"}}
    assert list(differences(before, now)) == [
        "python 3.11.1, now 3.12.0",
        "b 2, now absent",
        "c absent, now 3",
    ]


def test_a_hole_in_the_remote_is_filled_by_the_next_publication(root: Path) -> None:
    """DVC believes that a folder is complete if its listing is there. Then rollback and the
    checkpoint of the version; then a remote that is gone.
    """
    workspace = root / "runs/retrain"
    git(workspace, "fetch", "--quiet", "origin")
    git(workspace, "checkout", "--quiet", "--force", "--detach", "origin/released")
    (workspace / "data/raw/rows.txt").unlink()
    write(workspace, {"data/raw/rows.txt": "six rows\n"})
    dvc(workspace, "add", "--quiet", "data/raw/rows.txt")
    run(workspace)
    dvc(workspace, "push", "--quiet")
    stored(root / ".store", "six rows\n").unlink()
    assert publish(workspace, "The second").name == "v1.0.1"
    assert stored(root / ".store", "six rows\n").is_file()
    first = roll_back(root)
    assert first.name == "v1.0.0"
    command = how_to_get(first).split()
    assert command[0] == "dvc"
    dvc(root, *command[1:])
    assert (root / "aligned-v1.0.0/weights").read_text() == "five rows\n"


def test_a_remote_that_is_gone_is_one_sentence(root: Path) -> None:
    workspace, store = root / "runs/retrain", root / ".store"
    git(workspace, "fetch", "--quiet", "origin")
    git(workspace, "checkout", "--quiet", "--force", "--detach", "origin/released")
    dvc(workspace, "checkout", "--quiet", "--force", "data/raw/rows.txt.dvc")
    (workspace / "data/raw/rows.txt").unlink()
    write(workspace, {"data/raw/rows.txt": "seven rows\n"})
    dvc(workspace, "add", "--quiet", "data/raw/rows.txt")
    run(workspace)
    before = git(root, "for-each-ref")
    os.rename(store, root / "elsewhere")
    store.write_text("no folder")
    try:
        with pytest.raises(ReleaseError) as error:
            publish(workspace, "The third")
    finally:
        store.unlink()
        os.rename(root / "elsewhere", store)
    assert "\n" not in str(error.value)
    assert "`dvc push` failed" in str(error.value)
    assert "Nothing was published" in str(error.value)
    assert git(root, "for-each-ref") == before
    assert publish(workspace, "The third").name == "v1.0.2"


def test_the_commit_of_another_tool_is_no_release(root: Path) -> None:
    git(root, "tag", "--annotate", "--message", "by hand", "aligned@v9.0.0", "main")
    try:
        with pytest.raises(ReleaseError, match=r"v9\.0\.0 has no dvc\.lock in its commit"):
            lineage(root, "v9.0.0")
    finally:
        git(root, "tag", "--delete", "aligned@v9.0.0")


def test_dvc_is_named_where_it_fails(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    with pytest.raises(ReleaseError, match=r"`dvc status` failed in .*not inside of a DVC"):
        dvc(tmp_path, "status")
