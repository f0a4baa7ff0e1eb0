"""The git tree of a release, made from a workspace without changing its files or its index."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from concord.release.environment import ENVIRONMENT, environment
from concord.release.repository import Repository
from concord.stage.paths import CANDIDATE, REPORTS

RECORD = ("dvc.lock", "dvc.yaml", "params.yaml", REPORTS.as_posix())
"""What a release commits from the workspace, apart from pointers to data."""
POINTERS = (":(glob)**/*.dvc", ":(glob)**/.gitignore")
"""What DVC writes beside the data that it tracks."""
README = "README.md"
"""File in the folder of the champion that is no result."""


def release_tree(repository: Repository) -> str:
    """The hash of the release's tree: that of HEAD, the record, the pointers, the new champion."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        repository.git("read-tree", "HEAD", env=env)
        repository.git("add", "--all", "--", *RECORD, env=env)
        listing = ("ls-files", "--cached", "--others", "--exclude-standard", "--")
        for pattern in POINTERS:
            if repository.git(*listing, pattern, env=env):
                repository.git("add", "--all", "--", pattern, env=env)
        tree = repository.git("write-tree", env=env)
        text = json.dumps(environment(), sort_keys=True, indent=1) + "\n"
        blob = repository.git("hash-object", "-w", "--stdin", text=text)
        record = f"100644 blob {blob}\t{ENVIRONMENT.as_posix()}"
        source = (tree, CANDIDATE)
        entries = champion_entries(repository, source, (tree, champion_folder(repository, tree)))
        repository.update_index([*entries, record], env)
        return repository.git("write-tree", env=env)


def champion_entries(
    repository: Repository, source: tuple[str, Path], target: tuple[str, Path]
) -> list[str]:
    """Changes of an index that replace a folder by another; its README.md stays.

    Both are given as a commit or tree, and the path of the folder in it.
    """
    (tree, folder), (source_tree, source_folder) = target, source
    listing = ("ls-tree", "-r", "-z")
    before = repository.git(*listing, tree, "--", f"{folder}/").split("\0")
    after = repository.git(*listing, source_tree, "--", f"{source_folder}/").split("\0")
    paths = [Path(entry.partition("\t")[2]) for entry in before if entry]
    entries = [f"0 {'0' * 40}\t{path}" for path in paths if path.name != README]
    for entry in filter(None, after):
        file, _, path = entry.partition("\t")
        if Path(path).name != README:
            entries.append(f"{file}\t{folder / Path(path).relative_to(source_folder)}")
    return entries


def champion_folder(repository: Repository, tree: str) -> Path:
    """Where the results of the champion are in a commit or tree: `gate.champion`."""
    return Path(params_of(repository, tree)["gate"]["champion"])


def params_of(repository: Repository, tree: str) -> Any:
    """params.yaml of a commit or tree."""
    return YAML(typ="safe", pure=True).load(repository.git("show", f"{tree}:params.yaml"))
