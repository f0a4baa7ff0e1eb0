"""Ends a stage whose DVC has ended, so that no stage outlives its `dvc repro`.

DVC starts a stage through a shell. If DVC is killed, the stage would run on, and a new `dvc repro`
would start it a second time. The kernel's notice of a parent's death (PR_SET_PDEATHSIG) is not
enough: some shells stay between DVC and the stage. So a thread compares the stage's parent, and the
shell's parent, with those at the start.

A stage that was started by hand is left alone: it may outlive its terminal, for instance under
`nohup`. DVC sets DVC_STAGE for the stages that it starts.
"""

import os
import signal
import sys
import threading
import time

import psutil

SECONDS = 0.5
SHELLS = {"ash", "bash", "busybox", "dash", "fish", "ksh", "mksh", "sh", "tcsh", "zsh"}


def end_with_dvc() -> None:
    """Kills this process, within a second, when the DVC process that started it has ended.

    Finished parts and checkpoints are kept. Without DVC, this does nothing.
    """
    if "DVC_STAGE" not in os.environ:
        return
    started_by = _parents()
    if not _in_our_group(started_by[-1]):  # DVC ended before this: another process has adopted us
        _end()
    threading.Thread(target=_watch, args=(started_by,), daemon=True).start()


def _parents() -> list[int]:
    """The process that started this one; if it is a shell, also the process that started it."""
    parent = os.getppid()
    try:
        shell = psutil.Process(parent)
        return [parent, shell.ppid()] if shell.name() in SHELLS else [parent]
    except psutil.NoSuchProcess:
        return [parent]


def _in_our_group(process: int) -> bool:
    """Whether a process is in the process group of this one, as DVC and its stages are."""
    try:
        return os.getpgid(process) == os.getpgrp()
    except ProcessLookupError:
        return False


def _watch(started_by: list[int]) -> None:
    while _parents() == started_by:
        time.sleep(SECONDS)
    _end()


def _end() -> None:
    message = "DVC, which started this stage, has ended, so the stage ends too; run it again\n"
    try:
        sys.stderr.write(message)
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody reads the output any more
    os.kill(os.getpid(), signal.SIGKILL)
