"""A `python` whose processes are forks of one that has already imported the libraries.

Importing torch, Transformers and DVC takes most of the time of a small stage. `serve` imports them
once. `python` in its folder sends its arguments, environment, working directory and streams to the
server, which forks a process that runs them. Each fork imports the project's own modules itself,
from its working directory.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

LIBRARIES = (
    "torch",
    "transformers",
    "transformers.models.llama.modeling_llama",
    "transformers.trainer",
    "datasets",
    "pandera.pandas",
    "pandas",
    "pyarrow.parquet",
    "pydantic",
    "scipy.stats",
    "sympy",
    "ruamel.yaml",
    "dvc.cli",
    "dvc.repo",
    "dvc.commands.repro",
    "dvc.commands.status",
    "dvc.output",
    "dvc_data.index",
)
KINDS = ("-m", "-c")
SERVE = "--serve"
EXECUTABLE = "FORKED_EXECUTABLE"
"""Environment variable: the `sys.executable` of a fork. With the path of the `python` that forks,
processes that it starts are forks, too."""
SOCKET = "socket"
"""Name of the file in the folder of `python` that exists when the server accepts requests."""
ENDED = "the owner has ended"


class Forks:
    """The server, and the folder with its `python` and `concord`. It ends with the process `owner`.

    Args:
        folder: a new folder. All processes that name the same folder share the server.
        owner: id of a process that outlives all that use it.
    """

    def __init__(self, folder: Path, owner: int) -> None:
        self.python = folder / "python"
        self._owner = owner
        self._server: subprocess.Popen[bytes] | None = None
        self._socket = folder / SOCKET

    def start(self) -> None:
        """Starts the server and returns when it accepts requests."""
        self._socket.parent.mkdir(parents=True)
        client = f'"{sys.executable}" -I -S "{__file__}" "{sys.executable}" "{self._socket}"'
        scripts = {self.python: "", self.python.with_name("concord"): "-m flows.cli "}
        for script, module in scripts.items():
            script.write_text(f'#!/bin/sh\nexec {client} {module}"$@"\n')
            script.chmod(script.stat().st_mode | stat.S_IXUSR)
        command = [sys.executable, __file__, SERVE, str(self._socket), str(self._owner)]
        self._server = subprocess.Popen(command)
        while not self._socket.exists():
            assert self._server.poll() is None, "the server ended"
            time.sleep(0.05)


def request(python: str, address: str, arguments: list[str]) -> int:
    """Has the server run the arguments of `python`; returns the exit status."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in KINDS):
        os.execv(python, [python, *arguments])
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        message = {"arguments": arguments, "cwd": os.getcwd(), "env": dict(os.environ)}
        data = json.dumps(message).encode()
        socket.send_fds(server, [len(data).to_bytes(4, "big")], [0, 1, 2])
        server.sendall(data)
        return int(server.makefile().read() or 1)


def serve(address: str, owner: int) -> dict[str, Any]:
    """Forks a process per request. Returns only in the forks: the request.

    A fork is killed when the process that requested it has ended.
    """
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()
    listener, events = socket.socket(socket.AF_UNIX), selectors.DefaultSelector()
    listener.bind(f"{address}.new")
    listener.listen(64)
    os.rename(f"{address}.new", address)
    events.register(listener, selectors.EVENT_READ)
    events.register(os.pidfd_open(owner), selectors.EVENT_READ, ENDED)
    while True:
        for key, _ in events.select():
            if key.data == ENDED:
                sys.exit()
            if key.fileobj is listener:
                client, _ = listener.accept()
                size, streams, *_ = socket.recv_fds(client, 4, 3)
                data = json.loads(_read(client, int.from_bytes(size, "big")))
                if not (pid := os.fork()):
                    events.close()
                    listener.close()
                    client.close()
                    for number, stream in enumerate(streams):
                        os.dup2(stream, number)
                        os.close(stream)
                    return dict(data)
                for stream in streams:
                    os.close(stream)
                done = os.pidfd_open(pid)
                events.register(client, selectors.EVENT_READ, (client, pid, done))
                events.register(done, selectors.EVENT_READ, (client, pid, done))
                continue
            client, pid, done = key.data
            if key.fileobj is client:  # it never writes: it has ended
                events.unregister(client)
                os.kill(pid, signal.SIGKILL)
                continue
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            events.unregister(done)
            os.close(done)
            if client in events.get_map():
                events.unregister(client)
                with contextlib.suppress(BrokenPipeError):  # it was killed meanwhile
                    client.sendall(str(code if code >= 0 else 128 - code).encode())
            client.close()


def execute(cwd: str, env: dict[str, str], arguments: list[str]) -> int:
    """Runs the arguments as `python` would; returns the exit status."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.executable = env.get(EXECUTABLE, sys.executable)
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    try:
        if arguments[0] == "-m":
            sys.argv, sys.path[0] = arguments[1:], cwd
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        elif arguments[0] == "-c":
            sys.argv, sys.path[0] = ["-c", *arguments[2:]], ""
            exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).resolve().parent)
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001 - reported as the interpreter does
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _read(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += stream.recv(size - len(data))
    return data


if __name__ == "__main__":
    if sys.argv[1] != SERVE:
        sys.exit(request(sys.argv[1], sys.argv[2], sys.argv[3:]))
    code = execute(**serve(sys.argv[2], int(sys.argv[3])))
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
