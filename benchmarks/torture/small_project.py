"""A project of this code that runs in a few minutes, and its undisturbed run."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from concord.stage.params import read
from tests.chain import tree
from tests.chain.forks import Forks

SYNCED = "TORTURE_SYNCED"
"""Environment variable: file that lists the inodes of files that were synchronised."""
PATCH = f"""
import os
_fsync = os.fsync
def fsync(descriptor):
    _fsync(descriptor)
    if log := os.environ.get("{SYNCED}"):
        with open(log, "a") as file:
            file.write(f"{{os.fstat(descriptor).st_ino}}\\n")
os.fsync = fsync
"""
"""`sitecustomize` of the processes that are killed."""
CANARY = "canary-5f2c1e9a7b3d4860"
SECRETS = {
    name: f"{CANARY}-{name.lower()}"
    for name in ("HF_TOKEN", "WANDB_API_KEY", "JUDGE_API_KEY", "AWS_SECRET_ACCESS_KEY")
}
"""Environment variables whose values must not be in any file or output of a run."""


def small(params: dict[str, Any]) -> dict[str, Any]:
    """The tiny recipe with two policies and fewer prompts."""
    policies = {name: params["policies"][name] for name in ("sft", "mah_dpo")}
    policies["mah_dpo"]["training"] |= {"steps": 6, "checkpoint_every": 1}
    params["sft"]["training"] |= {"steps": 6, "checkpoint_every": 1}
    params["policies"] = policies
    params["anchors"] |= {"prompts": 6}
    params["rollouts"] |= {"prompts": 8, "samples": 4}
    params["process_labels"] |= {"prompts": 3}
    params["evaluate"] |= {"prompts": 6, "validation_prompts": 3, "bootstrap": 20}
    params["evaluate_rewards"] |= {"pairs": 20, "prompts": 3}
    return params


def start_forks(base: Path) -> Forks:
    """Starts the process from which those of Python are forked (`tests.chain.forks`).

    A stage then takes seconds. Forks are killed by the same signals.
    """
    forks, patch = Forks(base / f"forks-{os.getpid()}", os.getpid()), base / "patch"
    patch.mkdir(exist_ok=True)
    (patch / "sitecustomize.py").write_text(PATCH)
    os.environ["PYTHONPATH"] = str(patch)
    forks.start()
    del os.environ["PYTHONPATH"]
    return forks


class SmallProject:
    """The project in `folder`, made by `make` or by an earlier call."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.forks, self.env = forks, tree.environment(str(forks.python), **SECRETS)
        self.base, self.folder, self.cache = folder, folder / "project", folder / "cache"
        self._durations, self._record = folder / "durations.json", folder / "undisturbed.lock"

    def make(self) -> float:
        """Creates the project and runs all stages undisturbed; returns seconds."""
        tree.copy_project(self.folder, self.cache)
        recipe = small(read(self.folder / "params.yaml"))
        with (self.folder / "params.yaml").open("w") as file:
            YAML(typ="safe", pure=True).dump(recipe, file)
        tree.commit(self.folder, "the small recipe")
        began = time.monotonic()
        code, output = self.run("repro", limit=1800)
        assert code == 0, output[-3000:]
        shutil.copyfile(self.folder / "dvc.lock", self._record)
        (self.base / "output").write_text(output)
        return time.monotonic() - began

    def restore(self) -> None:
        """Brings the project back to its undisturbed run, after a try that was interrupted."""
        if (self.folder / "dvc.lock").read_bytes() == self._record.read_bytes():
            return
        self.kill()
        shutil.copyfile(self._record, self.folder / "dvc.lock")
        before = tree.hashes(self.folder)
        self.run("checkout", "--force")
        for command in (("-m", "flows.repair"), ("-m", "dvc", "repro")):
            code, output = self.python(*command)
            assert code == 0, output[-3000:]
        assert tree.hashes(self.folder) == before
        shutil.copyfile(self.folder / "dvc.lock", self._record)  # its run times are others

    def command(self, *arguments: str) -> list[str]:
        """The command line of a DVC command."""
        return [str(self.forks.python), "-m", "dvc", *arguments]

    def begin(self, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Starts a DVC command."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=cwd or self.folder,
            env=self.env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *arguments: str, cwd: Path | None = None, limit: float = 600) -> tuple[int, str]:
        """Exit status and output of a DVC command. Raises TimeoutExpired if it hangs."""
        process = self.begin(*arguments, cwd=cwd)
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.kill(cwd)
            process.kill()
            raise
        return process.returncode, output

    def python(self, *arguments: str, cwd: Path | None = None) -> tuple[int, str]:
        """Exit status and output of `python ...`."""
        done = subprocess.run(
            [str(self.forks.python), *arguments],
            cwd=cwd or self.folder,
            env=self.env,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return done.returncode, done.stdout

    def kill(self, cwd: Path | None = None) -> int:
        """SIGKILL to every process that works in the project; returns their number."""
        victims = [one for one in psutil.process_iter() if _works_in(one, cwd or self.folder)]
        for victim in victims:
            with contextlib.suppress(psutil.Error):
                victim.kill()
        psutil.wait_procs(victims, timeout=10)
        return len(victims)

    def duration(self, stage: str) -> float:
        """Seconds that a run of a stage takes, as far as is known."""
        return float(self._known_durations().get(stage, 6.0))

    def took(self, stage: str, seconds: float) -> None:
        """Keeps the longest time of a stage, up to a minute, for later tries."""
        known = self._known_durations()
        known[stage] = max(known.get(stage, 0.0), min(seconds, 60.0))
        self._durations.write_text(json.dumps(known))

    def _known_durations(self) -> dict[str, float]:
        file = self._durations
        return dict(json.loads(file.read_text())) if file.is_file() else {}

    def forget(self, stage: str) -> None:
        """Lets DVC run a stage again: without its record, its outputs and the run cache."""
        lock = self.folder / "dvc.lock"
        content = read(lock)
        entry = content["stages"].pop(stage)
        with lock.open("w") as file:
            YAML(typ="safe", pure=True).dump(content, file)
        for out in entry["outs"]:
            tree.forget(self.folder / out["path"])
        shutil.rmtree(self.cache / "runs", ignore_errors=True)

    def complete_lock(self, before: bytes) -> None:
        """Adds the stages that dvc.lock lost in a cut, as they were in `before`.

        A user gets them from the run cache, which `forget` empties.
        """
        lock, whole = self.folder / "dvc.lock", YAML(typ="safe", pure=True).load(before)
        content = read(lock)
        if content["stages"].keys() == whole["stages"].keys():
            return
        stages = {
            name: content["stages"].get(name, entry) for name, entry in whole["stages"].items()
        }
        with lock.open("w") as file:
            YAML(typ="safe", pure=True).dump({**content, "stages": stages}, file)
        self.run("checkout", "--force")


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(folder) and process.pid != os.getpid()
    except (psutil.Error, OSError):
        return False


def outputs_of(project: Path, stage: str) -> dict[str, str]:
    """Output of a stage -> its hash, without outputs that contain run times."""
    outs = {out["path"]: out["md5"] for out in tree.lock(project)[stage]["outs"]}
    return {path: md5 for path, md5 in outs.items() if not tree.TIMED.match(path)}
