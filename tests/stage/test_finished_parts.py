"""Finished parts: kept until the stage ends, read back bit for bit, computed again if damaged."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from concord.stage import finished_parts
from concord.stage.closure import ROOT
from concord.stage.finished_parts import kept, part


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("table").write_text("rows")
    return tmp_path


class Stage:
    """Computes three parts, the second of which has two parts of its own."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.made: list[str] = []
        self.stop_after = stop_after

    def leaf(self, name: str) -> Callable[[], list[Any]]:
        def make() -> list[Any]:
            if len(self.made) == self.stop_after:
                raise KeyboardInterrupt
            self.made.append(name)
            return [name, np.float32(len(name)) / np.arange(1, 4, dtype=np.float32)]

        return make

    def run(self, params: Any = None, request: str = "") -> list[Any]:
        with kept("stage", params, [Path("table"), Path("not made")], __file__):
            first = part("leaf", request, self.leaf("one"))
            pair = part(
                "pair",
                request,
                lambda: [part("leaf", name, self.leaf(name)) for name in ("two", "three")],
            )
            return [first, *pair, part("leaf", request, self.leaf("four"))]


def equal(one: list[Any], other: list[Any]) -> bool:
    return all(
        name == again and values.tobytes() == same.tobytes()
        for (name, values), (again, same) in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("stop_after", [0, 1, 2, 3])
def test_a_stopped_stage_computes_only_what_is_missing(stop_after: int) -> None:
    complete = Stage()
    expected = complete.run()
    assert complete.made == ["one", "two", "three", "four"]
    assert list(Path("work/stage").iterdir()) == []  # deleted when the stage had ended
    stopped = Stage(stop_after)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = Stage()
    assert equal(resumed.run(), expected)
    assert [*stopped.made, *resumed.made] == complete.made


def test_other_params_inputs_and_requests_share_nothing() -> None:
    with pytest.raises(KeyboardInterrupt):
        Stage(3).run({"a": 1, "b": 2})
    for edited in ({"a": 1, "b": 3}, {"b": 2, "a": 1}):  # numbers follow the order of names
        stage = Stage()
        stage.run(edited)
        assert len(stage.made) == 4
    stage = Stage()
    stage.run({"a": 1, "b": 2}, request="other")
    assert stage.made == ["one", "two", "three", "four"]
    with pytest.raises(KeyboardInterrupt):
        Stage(3).run()
    Path("table").write_text("other rows")
    stage = Stage()
    stage.run()
    assert len(stage.made) == 4


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_part_is_computed_again(damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = Stage().run()
    with pytest.raises(KeyboardInterrupt):
        Stage(3).run()
    file = next(Path("work/stage").glob("*/000000-leaf.part"))
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[-9] ^= 1
    file.write_bytes({"truncated": content[:-7], "flipped": content, "empty": b""}[damage])
    resumed = Stage()
    assert equal(resumed.run(), expected)
    assert resumed.made == ["one", "four"]
    assert f"{file} is damaged" in capsys.readouterr().out


def test_values_are_read_back_with_their_bits() -> None:
    values = {
        "text": "é\u2028\ud800",
        "numbers": [0.1 + 0.2, float("nan"), float("-inf"), 2**70, None, True],
        "arrays": [
            np.array([np.nan, -0.0, 1e-45], dtype=np.float32),
            np.arange(6).reshape(2, 3).T,
            np.zeros((0, 4)),
            np.array([True, False]),
        ],
    }
    with kept("stage", None, [], __file__):
        back = part("values", None, lambda: values)
    assert back["text"] == values["text"]
    assert str(back["numbers"]) == str(values["numbers"])
    for one, other in zip(back["arrays"], values["arrays"], strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
        assert one.flags.writeable


def test_what_cannot_be_read_back_is_refused() -> None:
    with kept("stage", None, [], __file__), pytest.raises(TypeError, match="set cannot be kept"):
        part("values", None, lambda: {1, 2})


def test_outside_of_a_stage_nothing_is_kept() -> None:
    assert part("values", None, lambda: {1, 2}) == {1, 2}
    assert not Path("work").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from concord.stage.finished_parts import kept, part

def make(number):
    if number == 7 and "kill" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    print("made", number)
    return number / 3

with kept("stage", None, [], {file!r}):
    total = sum(part("number", number, lambda: make(number)) for number in range(10))
print("total", total)
"""


def test_a_stage_killed_with_sigkill_resumes() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED.format(file=__file__), *arguments]
        environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    assert run("kill").returncode == -signal.SIGKILL
    printed = run().stdout.splitlines()
    assert printed[0].startswith("resuming with 7 finished parts in work/stage/")
    assert printed[1:] == [
        *(f"made {number}" for number in (7, 8, 9)),
        f"total {sum(n / 3 for n in range(10))}",
    ]


def test_a_full_disk_leaves_no_half_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(finished_parts.Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            Stage().run()
    assert not list(Path("work").rglob("*.part*"))
    Stage().run()
