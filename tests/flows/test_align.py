"""The flow on the toy project: a complete run, a second run, failures and interruptions."""

import json
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flows.toy import PARAMS, align, alive, dvc, make_toy, pids, start_align, wait_until

STAGES = {"start", "part@a", "part@b", "apart", "join", "report"}


@dataclass
class Finished:
    """The toy project after one run, and what the run printed."""

    project: Path
    status: int
    output: str
    api: str

    def ask(self, what: str) -> list[dict[str, Any]]:
        return list(httpx.post(f"{self.api}/{what}/filter", json={}).raise_for_status().json())


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, server: dict[str, str]) -> Finished:
    project = make_toy(tmp_path_factory.mktemp("finished") / "toy")
    # Long enough for both parts to run at the same time on a busy machine.
    longer = PARAMS.replace("seconds: 1.0", "seconds: 8.0")
    (project / "params.yaml").write_text(longer)
    status, output = align(project, server)
    return Finished(project, status, output, server["TOY_API"])


def test_every_stage_ran_and_dvc_finds_nothing_to_do(ran: Finished) -> None:
    assert ran.status == 0, ran.output
    assert "6 stages in" in ran.output
    assert "6 ran, 0 restored, 0 unchanged" in ran.output
    assert (ran.project / "join.txt").read_text() == "hello\na\nhello\nb\n"
    assert "up to date" in dvc(ran.project, "status")
    assert "Running stage" not in dvc(ran.project, "repro")


def test_the_terminal_shows_stages_budgets_and_results(ran: Finished) -> None:
    assert re.search(r"part@b +started\n", ran.output)
    assert re.search(r"part@a +warning: took \d+\.\d s, over its budget of 0.01 s", ran.output)
    assert re.search(r"part@a +ran +\d+\.\d s of 0.01 s", ran.output)
    assert f"report page    {ran.project}/reports/index.html" in ran.output
    assert "Finished in state" not in ran.output
    assert "Traceback" not in ran.output


def test_independent_stages_ran_at_the_same_time(ran: Finished) -> None:
    lines = [line.split() for line in (ran.project / "times").read_text().splitlines()]
    (_, first_began, first_ended), (_, second_began, second_ended) = lines
    assert max(float(first_began), float(second_began)) < min(
        float(first_ended), float(second_ended)
    )


def test_the_server_shows_tasks_lines_and_artifacts(ran: Finished) -> None:
    tasks = {task["name"]: task for task in ran.ask("task_runs") if task["name"] in STAGES}
    assert {task["state_name"] for task in tasks.values()} == {"Ran"}
    assert set(tasks) == STAGES
    assert tasks["part@a"]["tags"] == ["gpu"]
    lines = [
        log["message"] for log in ran.ask("logs") if log["task_run_id"] == tasks["part@a"]["id"]
    ]
    assert "Running stage 'part@a':" in lines
    artifacts = {artifact["key"]: artifact for artifact in ran.ask("artifacts") if artifact["key"]}
    assert '"stage": "part@a"' in artifacts["stages-params"]["data"]
    assert json.loads(artifacts["results-params"]["data"]) == [{"policy": "a", "helpful": 0.25}]
    assert (
        artifacts["results-params"]["description"]
        == "gold mean of each policy at equal weights, by objective"
    )
    page = f"file://{ran.project}/reports/index.html"
    assert page in artifacts["report-params"]["data"]
    assert page in artifacts["summary-params"]["data"]
    (run,) = [run for run in ran.ask("flow_runs") if run["name"] == "params"]
    progress = artifacts[f"progress-params-{run['id'][:8]}-part-a"]
    assert (progress["type"], progress["data"]) == ("progress", 100.0)
    assert progress["description"].startswith("part@a: toy: 1 of 2")


def test_phases_are_flows_in_order(ran: Finished) -> None:
    names = {flow["id"]: flow["name"] for flow in ran.ask("flows")}
    runs = sorted(ran.ask("flow_runs"), key=lambda run: run["start_time"])
    phases = ["ingestion", "rewards", "process-rewards", "policies", "evaluation"]
    assert [names[run["flow_id"]] for run in runs][:6] == ["align", *phases]
    assert [run["name"] for run in runs][:6] == [
        "params", *(f"{phase} of params" for phase in phases)
    ]  # fmt: skip
    assert runs[0]["tags"] == ["concord", "params"]


def test_a_second_run_starts_no_stage(ran: Finished, server: dict[str, str]) -> None:
    began = time.monotonic()
    status, output = align(ran.project, server)
    assert status == 0, output
    assert "0 ran, 0 restored, 6 unchanged" in output
    assert "started" not in output
    assert time.monotonic() - began < 180
    assert not any(Path(server["PREFECT_HOME"], "storage").glob("*")), "Prefect stored results"


def test_a_failure_stops_what_depends_on_it_and_nothing_else(
    toy: Path, server: dict[str, str]
) -> None:
    failing = PARAMS.replace("b: {seconds: 1.0, status: 0", "b: {seconds: 0.0, status: 3")
    (toy / "params.yaml").write_text(failing)
    status, output = align(toy, server)
    assert status == 1
    assert re.search(r"part@b +error: part@b failed", output)
    assert "what went wrong" in output
    assert "Traceback" not in output
    assert (toy / "parts/a").exists()
    assert (toy / "apart.txt").exists()
    assert not (toy / "join.txt").exists()


def interrupted(
    toy: Path, server: dict[str, str], number: signal.Signals, group: bool = False
) -> tuple[int, str]:
    """Exit status and output of a run that gets a signal while both parts are running.

    With `group` the signal goes to the whole process group.
    """
    (toy / "params.yaml").write_text(PARAMS.replace("seconds: 1.0", "seconds: 100"))
    process = start_align(toy, server)
    try:
        wait_until(lambda: all((toy / f"{part}.pids").exists() for part in "ab"), 120)
    finally:
        (os.killpg if group else os.kill)(process.pid, number)
        output, _ = process.communicate(timeout=60)
    wait_until(lambda: not any(alive(pid) for part in "ab" for pid in pids(toy, part)), 30)
    return process.returncode, output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process(
    toy: Path, server: dict[str, str], number: signal.Signals
) -> None:
    status, output = interrupted(toy, server, number)
    assert status == 130
    assert "interrupted; finished stages are kept" in output
    assert "Traceback" not in output


def test_ctrl_c_ends_a_run_with_its_temporary_server(
    toy: Path, environment: dict[str, str]
) -> None:
    """The signal goes to the whole group, as in a terminal.

    The output ends only when no process holds the pipe any more.
    """
    status, output = interrupted(toy, environment, signal.SIGINT, group=True)
    assert status == 130
    assert "interrupted; finished stages are kept" in output
    assert not re.search(r"(?i)connect|traceback", output)


def test_a_killed_run_leaves_no_process_and_the_next_resumes(
    toy: Path, server: dict[str, str]
) -> None:
    status, _ = interrupted(toy, server, signal.SIGKILL)
    assert status == -signal.SIGKILL
    (toy / "params.yaml").write_text(PARAMS)
    status, output = align(toy, server)
    assert status == 0, output
    assert "Running stage 'start'" not in output
    assert "up to date" in dvc(toy, "status")


def test_a_second_run_waits_for_the_first(toy: Path, server: dict[str, str]) -> None:
    both = [start_align(toy, server) for _ in range(2)]
    outputs = "\n".join(process.communicate(timeout=300)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0], outputs
    assert "another run is active in this folder" in outputs
    assert "6 ran, 0 restored, 0 unchanged" in outputs
    assert "0 ran, 0 restored, 6 unchanged" in outputs
    assert (toy / "join.txt").read_text() == "hello\na\nhello\nb\n"
    assert "up to date" in dvc(toy, "status")
