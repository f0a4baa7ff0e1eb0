"""Runs the tiny recipe and the tutorial in the background, while other tests run."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.chain import hermetic
from tests.chain.forks import EXECUTABLE, Forks
from tests.chain.tree import FORKED, copy_project, dvc, environment, make
from tests.chain.tutorial import follow


@dataclass
class Finished:
    """A project in which all stages have run, and the output of the run."""

    folder: Path
    cache: Path
    output: str


class Runs:
    """The projects, which one process makes in the background and all test processes share.

    `flow` was made by `make run`. `cold` was made by `dvc repro` without flow, server or cache;
    there, each stage sees only its declared deps and params. `tutorial` is a project in which every
    block of the tutorial has run; its output is a JSON object: command -> output. Tests that edit a
    project must copy it. The flow's stages are processes as users run them; those of the other
    two are forks (`tests.chain.forks`), and so are the stages that tests run.

    Args:
        folder: the same folder in all test processes.
        owner: id of the process that starts all test processes.
    """

    def __init__(self, folder: Path, owner: int) -> None:
        self.folder = folder
        self.prefect_home = str(folder / "prefect")
        self.process: subprocess.Popen[str] | None = None
        self.forks = Forks(folder / "forks", owner)
        os.environ[FORKED] = str(self.forks.python)
        self._pool: ThreadPoolExecutor | None = None

    def start(self) -> None:
        """Starts to make the projects, one after the other."""
        self.forks.start()
        self._pool = ThreadPoolExecutor(1)
        for name, make_project in {
            "flow": self._flow,
            "cold": self._cold,
            "tutorial": self._tutorial,
        }.items():
            self._pool.submit(self._record, name, make_project)

    def wait_for(self, name: str) -> Finished:
        """Waits until the project is finished. Raises AssertionError if a command failed."""
        record = self.folder / f"{name}.json"
        while not record.is_file():
            time.sleep(0.1)
        result = json.loads(record.read_text())
        assert "error" not in result, result["error"]
        return Finished(Path(result["folder"]), Path(result["cache"]), result["output"])

    def end(self, wait: bool) -> None:
        """Waits for the projects, or interrupts the running command like Ctrl-C."""
        os.environ.pop(FORKED)
        if self._pool is None:
            return
        self._pool.shutdown(wait=wait, cancel_futures=not wait)
        if self.process is not None and self.process.poll() is None:
            parent = psutil.Process(self.process.pid)
            for process in [parent, *parent.children(recursive=True)]:
                process.send_signal(signal.SIGINT)

    def _record(self, name: str, make_project: Callable[[Path, Path], str]) -> None:
        folder = self.folder / name
        project, cache = folder / "project", folder / "cache"
        try:
            output = make_project(project, cache)
            result = {"folder": str(project), "cache": str(cache), "output": output}
        except Exception as error:  # noqa: BLE001 - raised where a test waits for the project
            result = {"error": str(error) or repr(error)}
        (folder / "record").write_text(json.dumps(result))
        (folder / "record").rename(self.folder / f"{name}.json")

    def _flow(self, project: Path, cache: Path) -> str:
        copy_project(project, cache)
        env = environment(sys.executable, PREFECT_HOME=self.prefect_home, CI="true")
        return self._run(project, [*make(), "run"], env)

    def _cold(self, project: Path, cache: Path) -> str:
        copy_project(project, cache)
        wrapper = project.parent / "bin/python"
        wrapper.parent.mkdir()
        wrapper.write_text(f'#!/bin/sh\nexec "{self.forks.python}" "{hermetic.__file__}" "$@"\n')
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
        record = self.wait_for("flow").folder / "dvc.lock"
        env = environment(str(wrapper), HERMETIC_LOCK=str(record))
        return self._run(project, dvc("repro"), env)

    def _tutorial(self, project: Path, cache: Path) -> str:
        copy_project(project, cache, recorded=True)
        forks = {EXECUTABLE: str(self.forks.python)}
        env = environment(PREFECT_HOME=self.prefect_home, CI="true", **forks)
        return json.dumps(
            follow(project, lambda text: self._run(project, ["bash", "-euc", text], env))
        )

    def _run(self, project: Path, command: list[str], env: dict[str, str]) -> str:
        self.process = subprocess.Popen(
            command,
            cwd=project,
            env=env,
            stdin=subprocess.DEVNULL,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = self.process.communicate()
        assert self.process.returncode == 0, f"{' '.join(command)}\n{output}"
        return output
