"""Which files of a folder are data."""

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from concord.stage.errors import DataError

METADATA = (
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "package.json",
)
"""Files with which `datasets` and the Hub describe a data set."""
SYSTEM_FOLDERS = ("__MACOSX", "__pycache__")
STATE = "state.json"


class Contents(NamedTuple):
    """The files of a folder, sorted by path."""

    data: list[Path]
    """Files to read."""
    others: list[Path]
    """Files that are not read."""


def contents(folder: Path, extensions: Collection[str]) -> Contents:
    """The files in a folder and its subfolders. Raises DataError.

    Not read are hidden files and folders (.ipynb_checkpoints, .cache, ._x), metadata of `datasets`,
    and files with another extension. In a folder that `save_to_disk` wrote, only the Arrow files
    that state.json lists are read.
    """
    data: list[Path] = []
    others: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        here = Path(parent)
        hidden = {name for name in folders if name.startswith(".") or name in SYSTEM_FOLDERS}
        for name in hidden:
            others += [file for file in (here / name).rglob("*") if file.is_file()]
        folders[:] = [name for name in folders if name not in hidden and not _loops(here / name)]
        listed = _listed(here) if STATE in names else None
        for name in names:
            is_listed = listed is None or name in listed
            is_data = extension(here / name) in extensions and not name.startswith(".")
            is_data = is_data and is_listed and name not in METADATA
            (data if is_data else others).append(here / name)
    return Contents(sorted(data), sorted(others))


def extension(path: Path) -> str:
    """The lower-case extension of a file, ignoring `.gz`.

    Examples:
        >>> extension(Path("train.JSONL.gz"))
        '.jsonl'
    """
    if path.suffix.lower() == ".gz":
        path = path.with_suffix("")
    return path.suffix.lower()


def _listed(folder: Path) -> set[str] | None:
    """The names of the data files that `save_to_disk` wrote, or None if it did not."""
    try:
        state = json.loads((folder / STATE).read_bytes())
        return {entry["filename"] for entry in state["_data_files"]}
    except (ValueError, TypeError, KeyError, OSError):
        return None


def _loops(folder: Path) -> bool:
    """Whether a link leads to a folder that contains it."""
    return folder.is_symlink() and folder.resolve() in folder.absolute().parents


def _refuse(error: OSError) -> None:
    raise DataError(
        f"source {error.filename} cannot be read: {error.strerror}; see its permissions"
    )
