"""The workspace of scheduled runs: a clone in `runs/retrain` that shares the DVC cache.

A run starts from the last release with the project's HEAD merged in. Code, params.yaml and dvc.yaml
are those of HEAD. dvc.lock, the reports and the champion are those of the release. A pointer to
data (`.dvc`) that only one side changed since they were last merged is that of this side; if both
added files to a folder, it gets the files of both. Nothing in the project's own working tree is
read or changed.
"""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from concord.release.release_tree import README, champion_folder
from concord.release.repository import Repository
from concord.release.store import cache, dvc
from concord.stage.errors import ConcordError
from concord.stage.params import read
from concord.stage.paths import CANDIDATE, REPORTS
from concord.stage.stage_graph import GRAPH, absent_keys

FOLDER = Path("runs/retrain")
RECORD = ("dvc.lock", REPORTS.as_posix())
"""What belongs to the last release, apart from the champion and the pointers."""
NONE = "0" * 40


class WorkspaceError(ConcordError):
    """The workspace cannot be brought up to date."""


@dataclass(frozen=True)
class Origin:
    """What a run starts from."""

    head: str
    """The project's commit."""
    released: str | None
    """The newest commit of the branch `released`; None before the first release."""


def origin_of(root: Path) -> Origin:
    """What a run of the project at `root` would start from. Raises ReleaseError."""
    project = Repository(root)
    return Origin(project.git("rev-parse", "HEAD"), project.tip())


def create(root: Path) -> Repository:
    """The workspace, which is cloned if it is missing. To be called with the lock of runs held.

    Commits of the project need not be fetched, because the clone reads the project's objects.
    """
    folder = root / FOLDER
    if not (folder / ".git").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".retrain-") as temporary:
            new = Path(temporary) / "clone"
            Repository(root).git(
                *("clone", "--quiet", "--shared", "--no-checkout"), str(root.resolve()), str(new)
            )
            new.rename(folder)
    for left in (folder / ".git").glob("*.lock"):  # by a git that was killed: one run at a time
        left.unlink()
    return Repository(folder, "origin")


def reset(root: Path, origin: Origin) -> str:
    """Brings the workspace to where a run starts, and returns its commit.

    What an earlier run left is removed, apart from what git ignores: outputs of stages, which DVC
    compares with what they should be, and unfinished checkpoints.
    """
    workspace = create(root)
    workspace.fetch()
    _share_cache(root, workspace.folder)
    commit = _merge_commit(workspace, origin)
    workspace.git("checkout", "--quiet", "--force", "--detach", commit)
    workspace.git("clean", "--quiet", "-d", "--force")
    _require_complete(workspace.folder)
    if pointers := _pointers(workspace, commit):
        dvc(workspace.folder, "checkout", "--quiet", "--force", *pointers)
    return commit


def _require_complete(folder: Path) -> None:
    """DVC can do nothing if dvc.yaml reads a key that params.yaml lacks."""
    if absent := absent_keys(read(folder / "params.yaml"), folder / GRAPH):
        raise WorkspaceError(
            f"params.yaml of the project's commit has no {', '.join(absent[:3])}, which {GRAPH} "
            "reads, so DVC cannot work on it. Run `concord use params.yaml`, which writes every "
            "value, and commit the result."
        )


def is_champion(folder: Path, released: str) -> bool:
    """Whether the candidate in the workspace is the champion of a release: its results say so."""
    workspace = Repository(folder)
    champion = champion_folder(workspace, released)
    entries = _entries(workspace, released, champion.as_posix()).items()
    former = {Path(path).name: entry.split()[1] for path, entry in entries}
    former.pop(README, None)
    files = (folder / CANDIDATE).iterdir()
    return former == {file.name: workspace.git("hash-object", str(file)) for file in files}


def _merge_commit(workspace: Repository, origin: Origin) -> str:
    """The commit that a run starts from: that of HEAD, of the release, or of both merged."""
    head, released = origin.head, origin.released
    if released is None:
        return head
    tree = _merged_tree(workspace, head, released)
    if tree == workspace.git("rev-parse", f"{released}^{{tree}}"):
        return released
    ahead = not workspace.contains(released, head)
    parents = ["-p", released, *(["-p", head] if ahead else [])]
    message = f"Retrain from {released[:12]} with {head[:12]}"
    identity = ["-c", "user.name=concord", "-c", "user.email=concord@localhost"]
    return workspace.git(*identity, "commit-tree", tree, *parents, "-m", message)


def _merged_tree(workspace: Repository, head: str, released: str) -> str:
    """The tree of HEAD with the record and the pointers of the release."""
    paths = [*RECORD, champion_folder(workspace, head).as_posix()]
    of_head, of_release = (_entries(workspace, commit, *paths) for commit in (head, released))
    changes = {path: f"0 {NONE}\t{path}" for path in of_head} | of_release
    base = workspace.git("merge-base", head, released)
    pointers = [_entries(workspace, commit, ":(glob)**/*.dvc") for commit in (head, released, base)]
    for path in {*pointers[0], *pointers[1]}:
        in_head, in_release, before = (entries.get(path) for entries in pointers)
        if in_head == in_release or in_release == before:
            continue
        if in_head == before and in_release is not None:
            changes[path] = in_release
        elif in_head is not None and in_release is not None:
            changes[path] = _union(workspace, path, (in_head, in_release, before))
    with tempfile.TemporaryDirectory() as temporary:
        env = {"GIT_INDEX_FILE": str(Path(temporary) / "index")}
        workspace.git("read-tree", head, env=env)
        workspace.update_index(changes.values(), env)
        return workspace.git("write-tree", env=env)


def _entries(workspace: Repository, commit: str, *paths: str) -> dict[str, str]:
    """Path -> its entry in the tree of a commit, as git lists it."""
    index = {"GIT_LITERAL_PATHSPECS": "0"}
    with tempfile.TemporaryDirectory() as temporary:
        env = index | {"GIT_INDEX_FILE": str(Path(temporary) / "index")}
        workspace.git("read-tree", commit, env=env)
        listed = workspace.git("ls-files", "--stage", "-z", "--", *paths, env=env)
    return {line.partition("\t")[2]: line for line in listed.split("\0") if line}


def _union(workspace: Repository, path: str, versions: tuple[str, str, str | None]) -> str:
    """The entry of a pointer to the files that both sides added, by DVC's merge driver.

    `versions` are the entries in HEAD, in the release, and where both come from.
    """
    with tempfile.TemporaryDirectory(dir=workspace.folder, prefix=".merge-") as temporary:
        files = [Path(temporary) / name for name in ("head", "release", "base")]
        for file, entry in zip(files, versions, strict=True):
            blob = entry.split()[1] if entry else None
            file.write_text(workspace.git("cat-file", "blob", blob) if blob else "outs: []\n")
        head, release, base = map(str, files)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "dvc", "git-hook", "merge-driver"),
                *("--our", head, "--their", release, "--ancestor", base),
            ],
            cwd=workspace.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise WorkspaceError(
                f"{path} was changed in the project and by a release, and DVC cannot merge the two "
                f"({' '.join(done.stderr.split())[-200:]}). Take the released one into the project "
                f"(`git checkout released -- {path}`), add your files again, and commit."
            )
        blob = workspace.git("hash-object", "-w", head)
    return f"100644 {blob} 0\t{path}"


def _pointers(workspace: Repository, commit: str) -> list[str]:
    return [*_entries(workspace, commit, ":(glob)**/*.dvc")]


def _share_cache(root: Path, folder: Path) -> None:
    """Gives the workspace the project's DVC cache, its remotes and its local settings."""
    files = [root / ".dvc" / name for name in ("config", "config.local")]
    texts = [file.read_text(encoding="utf-8") if file.is_file() else "" for file in files]
    local, done = folder / ".dvc/config.local", folder / ".dvc/tmp/shared"
    if done.is_file() and done.read_text(encoding="utf-8") == "".join(texts):
        return
    settings = _dvc_config(texts[1])
    for name, section in _dvc_config("\n".join(texts)).items():
        # DVC takes a relative path from the folder of the file that has it.
        if "://" not in (url := section.get("url", "://")):
            settings.setdefault(name, {})["url"] = str((root / ".dvc" / url).resolve())
    settings.setdefault("cache", {})["dir"] = str(cache(root))
    writer = configparser.RawConfigParser()
    writer.read_dict(settings)
    done.parent.mkdir(parents=True, exist_ok=True)
    with local.open("w", encoding="utf-8") as stream:
        writer.write(stream)
    done.write_text("".join(texts), encoding="utf-8")


def _dvc_config(text: str) -> dict[str, dict[str, str]]:
    """The sections of a configuration of DVC; those that stand twice are joined."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}
