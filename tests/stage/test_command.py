"""What a stage prints when it fails: one sentence for what a user can fix, else a traceback."""

import errno
import sys

import pytest

from concord.stage.command import command
from concord.stage.errors import ParamsError


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["stage"])


def failing(error: Exception) -> None:
    def main() -> None:
        raise error

    command(main)


def test_an_error_of_the_user_has_no_traceback() -> None:
    with pytest.raises(SystemExit, match=r"^ParamsError: sft is missing; add it$"):
        failing(ParamsError("sft is missing; add it"))


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())
    with pytest.raises(FileNotFoundError):
        failing(FileNotFoundError(errno.ENOENT, "No such file or directory", "x"))


def test_a_full_disk_is_one_sentence() -> None:
    with pytest.raises(SystemExit, match=r"DiskError: the disk of .* is full .*free some space"):
        failing(OSError(errno.ENOSPC, "No space left on device", "models/sft"))


def test_a_full_disk_behind_the_error_of_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch raises RuntimeError, and safetensors an error of its own."""
    error = RuntimeError("PytorchStreamWriter failed writing file data/0")
    with pytest.raises(RuntimeError):
        failing(error)
    monkeypatch.setattr("concord.stage.command.LITTLE", 2**80)
    with pytest.raises(SystemExit, match="DiskError"):
        failing(error)


def test_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(SystemExit, match=r"DiskError: .*models/sft.*make it writable"):
        failing(OSError(errno.EROFS, "Read-only file system", "models/sft"))
