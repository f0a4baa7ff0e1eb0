"""Runs a command, and terminates its process tree when it exits or when standard input is closed.

    python flows/guard.py <command> [<argument> ...]

The flow holds the other end of the pipe. It closes the pipe after a timeout or when the run is
cancelled. The kernel closes it when the flow dies, even from SIGKILL. No stage outlives its flow.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SECONDS_TO_STOP = 5.0
"""A cancelled run has to be gone within ten seconds."""
ENDED = 128 + signal.SIGTERM
"""Exit status if standard input was closed."""


def main() -> None:
    """Runs the command and exits with its status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ENDED))
    adopt_orphans()
    child = subprocess.Popen(
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=end_with_parent,  # there are no other threads yet
    )
    closed = threading.Event()
    threading.Thread(target=_watch, args=(closed,), daemon=True).start()
    try:
        code = child.wait()
    finally:
        end()
    if closed.is_set():
        sys.exit(ENDED)
    sys.exit(code if code >= 0 else 128 - code)


def _watch(closed: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):  # until end of file
        pass
    closed.set()
    end()


def end() -> None:
    """Terminates all descendants of this process; kills those left after `SECONDS_TO_STOP`."""
    _signal(tree(), signal.SIGTERM)
    deadline = time.monotonic() + SECONDS_TO_STOP
    while left := tree():
        if time.monotonic() > deadline:
            _signal(left, signal.SIGKILL)
        time.sleep(0.05)


def tree() -> list[psutil.Process]:
    """The running descendants of this process."""
    return [
        process for process in psutil.Process().children(recursive=True) if _is_running(process)
    ]


def adopt_orphans() -> None:
    """Makes this process the parent of orphaned descendants, including those in other sessions."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent() -> None:
    """Lets the kernel terminate this process when its parent is gone, even by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


if __name__ == "__main__":
    main()
