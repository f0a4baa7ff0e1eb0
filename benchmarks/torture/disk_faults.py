"""A full disk, a read-only cache, damaged files of the cache, and a model without a shard."""

import contextlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.torture.fault_tries import Fault, clear_error, require
from benchmarks.torture.small_project import SmallProject, outputs_of
from benchmarks.torture.stage_kills import kinds
from tests.chain import tree

MEBIBYTE = 2**20
SHARDS = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def faults(project: SmallProject, tries: int) -> list[Fault]:
    """The faults of this module."""
    places = list(kinds(project).values())[1 : tries + 1]
    return [
        Fault("a model folder without a shard", 2, lambda *_: missing_shard(project)),
        Fault("a file of the cache truncated", tries, lambda _, draw: damaged(project, draw, cut)),
        Fault(
            "a file of the cache with a flipped bit",
            tries,
            lambda _, draw: damaged(project, draw, flip),
        ),
        Fault("a read-only cache", 2, lambda *_: read_only_cache(project)),
        Fault(
            "disk full (tmpfs)",
            tries,
            lambda number, draw: full_disk(project, places[number], draw),
        ),
    ]


def full_disk(project: SmallProject, stage: str, draw: random.Random) -> str:
    """Runs a stage on a disk that fills up; then with more space. A try is a place in the graph."""
    expected = outputs_of(project.folder, stage)
    disk = project.base / "disk"
    disk.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", "size=4g", "tmpfs", str(disk))
    try:
        shutil.copytree(project.folder, disk / "project", symlinks=True)
        shutil.copytree(project.cache, disk / "cache", symlinks=True)
        copy = SmallProject(disk, project.forks)
        copy.run("config", "--local", "cache.dir", str(disk / "cache"))
        copy.forget(stage)
        used = shutil.disk_usage(disk).used
        mount("-o", f"remount,size={used + draw.randrange(4096, 256 * 1024)}", str(disk))
        code, output = copy.run("repro", "--single-item", stage)
        mount("-o", "remount,size=4g", str(disk))
        if code == 0:
            require(outputs_of(copy.folder, stage) == expected, "other hashes")
            return "enough space"
        clear_error(code, output)
        require("space left" in output or "is full" in output, f"says not why: {output[-300:]}")
        _, _ = copy.python("-m", "flows.repair")
        code, output = copy.run("repro", "--single-item", stage)
        require(code == 0, f"{stage} with space again: {output[-300:]}")
        require(outputs_of(copy.folder, stage) == expected, f"{stage}: other hashes")
        return "clear error, then the same hashes with space"
    finally:
        copy.kill()
        subprocess.run(["umount", str(disk)], check=False)


def mount(*arguments: str) -> None:
    """Mounts a file system. Raises UnsurvivedError where that is not allowed."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"not run, mount is not allowed: {done.stderr.strip()}")


def cut(file: Path, draw: random.Random) -> None:
    """Cuts a file at a random place."""
    os.truncate(file, draw.randrange(file.stat().st_size))


def flip(file: Path, draw: random.Random) -> None:
    """Changes one bit of a file."""
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


Damage = Callable[[Path, random.Random], None]


def damaged(project: SmallProject, draw: random.Random, damage: Damage) -> str:
    """Damages a file of an output that only the cache has, repairs, and brings all up to date."""
    before = tree.hashes(project.folder)
    stage = draw.choice([name for name in tree.lock(project.folder) if cached(project, name)])
    out, files = draw.choice(cached(project, stage))
    file = draw.choice(files)
    mode, when = file.stat().st_mode, file.stat().st_mtime_ns
    saved = file.read_bytes()
    file.chmod(0o644)
    damage(file, draw)
    file.chmod(mode)
    os.utime(file, ns=(when, when))  # a disk that loses a bit leaves the time as it was
    tree.forget(project.folder / out)
    project.run("checkout", "--quiet", out)  # DVC trusts its cache
    try:
        code, output = project.python("-m", "flows.repair")
        require(code == 0 and "is damaged" in output, f"not found: {output[-200:]}")
        code, output = project.run("repro")
        require(code == 0, f"repro of {stage}: {output[-300:]}")
        after = tree.hashes(project.folder)
        other = sorted(path for path in before if after.get(path) != before[path])
        require(not other, f"{stage}: other hashes: {other}")
    except BaseException:
        file.parent.mkdir(exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(saved)
        file.chmod(mode)
        project.run("checkout", "--force")
        raise
    return "found by its hash, made again, same hashes"


def cached(project: SmallProject, stage: str) -> list[tuple[str, list[Path]]]:
    """(output, its files in the cache that are not empty) of a stage."""
    pairs = []
    for out in tree.lock(project.folder)[stage]["outs"]:
        whole = project.cache / "files/md5" / out["md5"][:2] / out["md5"][2:]
        names = [out["md5"]]
        if whole.is_file() and out["md5"].endswith(".dir"):
            names = [one["md5"] for one in json.loads(whole.read_bytes())]
        files = [project.cache / "files/md5" / name[:2] / name[2:] for name in names]
        if files := [file for file in files if file.is_file() and file.stat().st_size]:
            pairs.append((out["path"], files))
    return pairs


def missing_shard(project: SmallProject) -> str:
    """Runs a stage that loads the SFT model, of which a shard is missing."""
    from safetensors.torch import load_file, save_file

    before = (project.folder / "dvc.lock").read_bytes()
    stage = "anchors"
    project.forget(stage)
    model = project.folder / "models/sft"
    weights = load_file(model / "model.safetensors")
    names = sorted(weights)
    parts: dict[str, Any] = dict(zip(SHARDS, (names[::2], names[1::2]), strict=True))
    save_file({n: weights[n] for n in parts[SHARDS[0]]}, model / SHARDS[0], {"format": "pt"})
    files = {name: file for file, part in parts.items() for name in part}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    (model / "model.safetensors").unlink()
    try:
        code, output = project.python("-m", "tasks.anchors")
        said = clear_error(code, output)
        require("shard" in output, f"says not what is missing: {said}")
    finally:
        (project.folder / "dvc.lock").write_bytes(before)
        project.run("checkout", "--force")
    code, output = project.run("repro", "--single-item", stage)
    require(code == 0, output[-300:])
    return "clear error that names it; `dvc checkout` restores the model"


def read_only_cache(project: SmallProject) -> str:
    """Runs a stage while nothing can be written to the cache."""
    stage = "rollouts"
    expected = outputs_of(project.folder, stage)
    project.forget(stage)
    mount("--bind", str(project.cache), str(project.cache))
    try:
        mount("-o", "remount,ro,bind", str(project.cache))
        code, output = project.run("repro", "--single-item", stage)
        said = clear_error(code, output)
        require("Read-only" in output or "Permission" in output, f"says not why: {said}")
    finally:
        with contextlib.suppress(Exception):
            subprocess.run(["umount", str(project.cache)], check=False)
    code, output = project.run("repro", "--single-item", stage)
    require(code == 0, output[-300:])
    require(outputs_of(project.folder, stage) == expected, "other hashes")
    return "clear error, then the same hashes"
