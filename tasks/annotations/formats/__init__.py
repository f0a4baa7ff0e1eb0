"""Source formats by name. To add one: a module with `read(path, options)` here, and its lines below.

What `read` yields is told in `tasks.annotations.records`; the rows' keys in `tasks.annotations.interchange`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.annotations.formats import concord, gsm8k, mrbench, sandbox, truthfulqa
from tasks.annotations.records import NoOptions, Options, Record

READERS: dict[str, Callable[[Path, Options], Iterator[Record]]] = {
    "concord": concord.read,
    "sandbox": sandbox.read,
    "gsm8k": gsm8k.read,
    "mrbench": mrbench.read,
    "truthfulqa": truthfulqa.read,
}

OPTIONS: dict[str, type] = {
    "concord": NoOptions,
    "sandbox": NoOptions,
    "gsm8k": gsm8k.Caps,
    "mrbench": mrbench.Choice,
    "truthfulqa": truthfulqa.Caps,
}
"""What `options` of a source may hold, by format."""
