"""Whether two mathematical answers are equal, by math-verify, in a process that may be killed.

A hostile answer (`9^{9^{9^9}}`) can keep sympy busy for ever inside one C call, where no signal arrives, or fill the
memory. So the comparison runs in a child process with a memory limit, and past its time the child is killed and the
answer counts as not equal. Answers are read as LaTeX only: sympy's reader of plain expressions calls `eval`.

This file is also the child's program: it reads one JSON pair a line and answers `true` or `false`.
"""

from __future__ import annotations

import atexit
import json
import selectors
import subprocess
import sys
from functools import cache

MAX_CHARACTERS = 200
SECONDS = 5.0
STARTUP_SECONDS = 120.0
MEMORY_BYTES = 4 * 2**30


def equal(reference: str, answer: str, seconds: float = SECONDS) -> bool:
    """Whether both mean the same; False for what is too long, cannot be read, or takes more than `seconds`."""
    if max(len(reference), len(answer)) > MAX_CHARACTERS:
        return False
    return _child().ask([reference, answer], seconds)


class _Child:
    """The comparing process; started when first asked, and again after it was killed."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def ask(self, pair: list[str], seconds: float) -> bool:
        process = self._running()
        assert process.stdin is not None
        process.stdin.write(json.dumps(pair) + "\n")
        process.stdin.flush()
        line = self._line(seconds)
        if not line:
            self.close()
        return line == "true\n"

    def _running(self) -> subprocess.Popen[str]:
        if self.process is None:
            command = [sys.executable, "-P", __file__]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            if self._line(STARTUP_SECONDS) != "ready\n":
                self.close()
                raise RuntimeError(f"{' '.join(command)} did not start; run it by hand to see why")
        return self.process

    def _line(self, seconds: float) -> str:
        """The child's next line, or "" when it takes too long or has died."""
        assert self.process is not None
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            return self.process.stdout.readline() if selector.select(seconds) else ""

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@cache
def _child() -> _Child:
    child = _Child()
    atexit.register(child.close)
    return child


def _serve() -> None:
    import logging
    import resource

    from math_verify import LatexExtractionConfig, parse, verify

    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    config = [LatexExtractionConfig()]
    print("ready", flush=True)
    for line in sys.stdin:
        sides = [
            parse(f"${text.replace('$', '')}$", extraction_config=config, parsing_timeout=None)
            for text in json.loads(line)
        ]
        print(json.dumps(bool(verify(*sides, timeout_seconds=None))), flush=True)


if __name__ == "__main__":
    _serve()
