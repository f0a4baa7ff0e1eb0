"""Runs the tiny recipe in the background on one core, while other tests use the other core."""

import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.chain import hermetic
from tests.chain.tree import copy_project, dvc, environment, make
from tests.chain.tutorial import follow


@dataclass
class Finished:
    """A project in which all stages have run, and the output of the run."""

    folder: Path
    cache: Path
    output: str


class Runs:
    """Futures of finished projects. Tests that edit a project must copy it.

    `flow` was made by `make run`. `cold` was made by `dvc repro` without flow, server or cache;
    there, each stage sees only its declared deps and params. `tutorial` is a project in which every
    block of the tutorial has run, and the output of each command.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        self.prefect_home = str(folder / "prefect")
        self._pool = ThreadPoolExecutor(1)
        self.flow = self._pool.submit(self._flow)
        self.cold = self._pool.submit(self._cold)
        self.tutorial = self._pool.submit(self._tutorial)

    def _flow(self) -> Finished:
        folder = self.folder / "flow"
        project = copy_project(folder / "project", folder / "cache")
        env = environment(PREFECT_HOME=self.prefect_home, CI="true")
        return Finished(project, folder / "cache", self._run(project, [*make(), "run"], env))

    def _cold(self) -> Finished:
        folder = self.folder / "cold"
        project = copy_project(folder / "project", folder / "cache")
        wrapper = folder / "bin/python"
        wrapper.parent.mkdir()
        wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{hermetic.__file__}" "$@"\n')
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
        env = environment(HERMETIC_LOCK=str(self.flow.result().folder / "dvc.lock"))
        env["PATH"] = f"{wrapper.parent}{os.pathsep}{env['PATH']}"
        return Finished(project, folder / "cache", self._run(project, dvc("repro"), env))

    def _tutorial(self) -> tuple[Path, dict[str, str]]:
        folder = self.folder / "tutorial"
        project = copy_project(folder / "project", folder / "cache", recorded=True)
        env = environment()
        return project, follow(
            project, lambda text: self._run(project, ["bash", "-euc", text], env)
        )

    def _run(self, project: Path, command: list[str], env: dict[str, str]) -> str:
        core = str(min(os.sched_getaffinity(0)))
        self.process = subprocess.Popen(
            ["taskset", "--cpu-list", core, *command],
            cwd=project,
            env=env,
            stdin=subprocess.DEVNULL,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        output, _ = self.process.communicate()
        assert self.process.returncode == 0, f"{' '.join(command)}\n{output}"
        return output

    def end(self) -> None:
        """Interrupts the running process, like Ctrl-C."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
