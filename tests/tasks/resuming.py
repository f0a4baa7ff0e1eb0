"""Stops a stage after some of its parts, and runs it again."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from torch.nn import Module
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import PreTrainedModel

from concord.stage import finished_parts


class Counts(NamedTuple):
    """What one run did."""

    parts: int
    """Parts that were computed."""
    calls: int
    """Calls of models."""


def check_resume(
    run: Callable[[], Any], written: Sequence[str], share: float = 0.9, checks: int = 0
) -> None:
    """Checks that `run`, stopped after a share of its parts, computes only the others, and writes
    the same bytes.

    `written` are the files that it writes, relative to the working directory. Each run also makes
    `checks` calls to check a model that it has loaded.
    """
    shutil.rmtree("work", ignore_errors=True)
    complete = _counted(run)
    expected = [Path(name).read_bytes() for name in written]
    for name in written:
        Path(name).unlink()
    stop_after = int(share * complete.parts)
    assert 0 < stop_after < complete.parts
    stopped = _counted(run, stop_after)
    assert stopped.parts == stop_after
    assert not all(Path(name).exists() for name in written)
    resumed = _counted(run)
    assert resumed == (complete.parts - stop_after, complete.calls - stopped.calls + checks)
    assert resumed.calls < complete.calls
    assert [Path(name).read_bytes() for name in written] == expected
    assert not [path for path in Path("work").rglob("*") if path.is_file()]


def _counted(run: Callable[[], Any], stop_after: int | None = None) -> Counts:
    """Runs the stage, up to the end of a part if that is given."""
    parts, calls, write = 0, 0, finished_parts._write

    def counting(*content: Any) -> None:
        nonlocal parts
        write(*content)
        parts += 1
        if parts == stop_after:
            raise KeyboardInterrupt

    def called(module: Module, _: Any) -> None:
        nonlocal calls
        calls += isinstance(module, PreTrainedModel)

    hook = register_module_forward_pre_hook(called)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(finished_parts, "_write", counting)
            if stop_after is None:
                run()
            else:
                with pytest.raises(KeyboardInterrupt):
                    run()
    finally:
        hook.remove()
    return Counts(parts, calls)
