"""Runs a command and ends its whole process tree when the command is over or standard input is closed.

    python flows/guard.py <command> [<argument> ...]

Whoever starts it holds the other end of the pipe. A timeout or a cancelled run closes it, and so does the kernel when
the holder dies, be it by SIGKILL: no stage outlives its flow.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import psutil

PR_SET_CHILD_SUBREAPER = 36
SECONDS_TO_STOP = 10.0
ENDED = 128 + signal.SIGTERM
"""Exit status after the end of standard input."""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ENDED))
    adopt_orphans()
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    closed = threading.Event()
    threading.Thread(target=_watch, args=(closed,), daemon=True).start()
    try:
        code = child.wait()
    finally:
        end()
    sys.exit(ENDED if closed.is_set() else code if code >= 0 else 128 - code)


def _watch(closed: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):  # until end of file
        pass
    closed.set()
    end()


def end() -> None:
    """Terminates every process below this one; kills what is left after a while."""
    _signal(tree(), signal.SIGTERM)
    deadline = time.monotonic() + SECONDS_TO_STOP
    while left := tree():
        if time.monotonic() > deadline:
            _signal(left, signal.SIGKILL)
        time.sleep(0.05)


def tree() -> list[psutil.Process]:
    """What runs below this process."""
    return [process for process in psutil.Process().children(recursive=True) if _runs(process)]


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose own parent ends, also of those in sessions of their own."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _runs(process: psutil.Process) -> bool:
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
