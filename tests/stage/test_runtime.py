"""Every stage starts from the same state."""

import random

import numpy
import pytest
import torch

from concord.stage.command import TEMPORARY, command
from concord.stage.errors import ConcordError, ParamsError, UnreachableError
from concord.stage.params import Runtime
from concord.stage.runtime import start


def test_starting_twice_gives_the_same_numbers() -> None:
    drawn = []
    for _ in range(2):
        assert start(Runtime(1, "cpu"), 7) == torch.device("cpu")
        drawn.append((random.random(), numpy.random.rand(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]
    start(Runtime(1, "cpu"), 8)
    assert torch.rand(1).item() != drawn[0][2]


def test_threads_and_determinism_are_set() -> None:
    start(Runtime(2, "cpu"), 0)
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.parametrize(
    ("device", "message"), [("gpu", "is not a device"), ("cuda", "no CUDA device")]
)
def test_a_missing_device_is_an_error(
    device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParamsError, match=message):
        start(Runtime(1, device), 0)
    assert start(Runtime(1, "auto"), 0).type == "cpu"


def test_the_torch_state_is_restored_after_each_test() -> None:
    """Fails if the tests above leak the state of torch."""
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == 1


def test_a_command_ends_with_the_message_and_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def main(name: str) -> None:
        raise ParamsError(f"{name} cannot work")

    monkeypatch.setattr("sys.argv", ["stage", "x"])
    with pytest.raises(SystemExit, match="ParamsError: x cannot work"):
        command(main)
    assert issubclass(ParamsError, ConcordError)


@pytest.mark.parametrize(
    ("error", "status", "printed"),
    [
        (UnreachableError("the judge does not answer"), TEMPORARY, "UnreachableError: the judge"),
        (torch.OutOfMemoryError("planted"), 1, "DeviceMemoryError: planted"),
    ],
)
def test_what_the_exit_status_says(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
    printed: str,
) -> None:
    def main() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["stage"])
    with pytest.raises(SystemExit) as ended:
        command(main)
    message = capsys.readouterr().err
    assert printed in (message or str(ended.value.code))
    assert ended.value.code == status or not message


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("sys.argv", ["stage"])
    with pytest.raises(RuntimeError, match="a bug"):
        command(main)


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 2), (["x", "y"], 2)])
def test_a_command_prints_its_usage(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
) -> None:
    def main(name: str) -> None:
        raise AssertionError("it started")

    monkeypatch.setattr("sys.argv", ["stage", *arguments])
    with pytest.raises(SystemExit) as ended:
        command(main)
    assert ended.value.code == code
    assert str(__doc__) in capsys.readouterr().out
