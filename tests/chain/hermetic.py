"""Replaces `python` while DVC runs the pipeline: a stage sees only what it declares.

Its folder has links to its deps and to the code files in its listing, and a params.yaml with only
its declared keys. It must write exactly its outs. Reads from the environment: HERMETIC_LOCK, the
dvc.lock of a finished tree, where deps, params and outs are resolved, and FORKED_PYTHON, the Python
that runs the stage.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from concord.code import read_listing

EMPTY_PACKAGES = [
    str(path) for room in ("tasks", "concord") for path in Path(room).rglob("__init__.py")
]
STAGES = {"select_weights": "select"}
"""Module -> its stage, where the names differ."""
UNCHECKED = ("check",)  # reads sources and models, which are deps of other stages


def main(arguments: list[str]) -> int:
    if arguments[:1] != ["-m"] or not arguments[1].startswith("tasks."):
        return call(arguments)
    module = arguments[1].removeprefix("tasks.")
    stage = "@".join([STAGES.get(module, module), *arguments[2:]])
    if stage in UNCHECKED:
        return call(arguments)
    entry = YAML(typ="safe", pure=True).load(Path(os.environ["HERMETIC_LOCK"]))["stages"][stage]
    with tempfile.TemporaryDirectory() as folder:
        return run(Path.cwd(), Path(folder), entry, arguments)


def call(arguments: list[str], folder: Path | None = None) -> int:
    return subprocess.call([os.environ["FORKED_PYTHON"], *arguments], cwd=folder)


def run(project: Path, folder: Path, entry: dict[str, Any], arguments: list[str]) -> int:
    declared = [dep["path"] for dep in entry["deps"]]
    for listing in [path for path in declared if path.startswith("data/code/")]:
        declared += read_listing((project / listing).read_text())
    for path in dict.fromkeys([*declared, *filter(os.path.isfile, EMPTY_PACKAGES)]):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(project / path)
    (folder / "params.yaml").write_text(
        json.dumps(nested(entry.get("params", {}).get("params.yaml", {})))
    )
    given = files(folder)
    if code := call(arguments, folder):
        return code
    outs = [out["path"] for out in entry["outs"]]
    undeclared = [
        file
        for file in files(folder) - given
        if not any(f"{file}/".startswith(f"{out}/") for out in outs)
    ]
    if undeclared:
        print(f"wrote what dvc.yaml does not declare: {sorted(undeclared)}", file=sys.stderr)
        return 1
    for out in outs:
        (project / out).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / out, project / out)
    return 0


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    found: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        mapping = found
        for parent in parents:
            mapping = mapping.setdefault(parent, {})
        mapping[last] = value
    return found


def files(folder: Path) -> set[str]:
    """Files and links under `folder`, except bytecode and checkpoints."""
    found = {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }
    return {name for name in found if "__pycache__" not in name and not name.startswith("work/")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
