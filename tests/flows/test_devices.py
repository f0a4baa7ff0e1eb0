"""GPU slots, with fake devices in CUDA_VISIBLE_DEVICES."""

import itertools
import os
import signal
from pathlib import Path

import pytest

from flows.devices import Device, visible_devices
from tests.flows.toy import PARAMS, make_toy, start_align, wait_until


def test_devices_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-abc")
    assert visible_devices() == [Device("2"), Device("GPU-abc")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_devices() == []


def test_devices_from_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    driver.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert visible_devices() == [Device("0"), Device("1")]
    driver.write_text("#!/bin/sh\necho no devices were found\nexit 6\n")
    assert visible_devices() == []


def test_two_runs_share_one_device_after_a_third_was_killed(
    tmp_path: Path, server: dict[str, str]
) -> None:
    """The slot of the killed run is released, and two stages never share the device."""
    env = server | {"CUDA_VISIBLE_DEVICES": "5"}
    params = PARAMS.replace("device: cpu", "device: auto")
    killed, *others = (make_toy(tmp_path / name) for name in ("killed", "first", "second"))
    (killed / "params.yaml").write_text(params.replace("seconds: 1.0", "seconds: 100"))
    process = start_align(killed, env)
    try:
        wait_until(lambda: any(killed.glob("*.pids")), 120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    assert len(list(killed.glob("*.pids"))) == 1, "the second part waits for the only slot"
    for project in others:
        (project / "params.yaml").write_text(params)
    running = [start_align(project, env) for project in others]
    outputs = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(outputs)
    assert all(
        "part@a                       started with slot gpu-" in output for output in outputs
    )
    assert all("slot 5" in output for output in outputs)
    times = [
        line.split()[1:]
        for project in others
        for line in (project / "times").read_text().splitlines()
    ]
    spans = sorted((float(began), float(ended)) for began, ended in times)
    assert len(spans) == 4
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
