"""prefect.yaml: a worker runs the deployments; a cancelled run leaves no process and no slot."""

import fcntl
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from concord.stage.params import read
from flows.devices import Device
from tests.flows.test_clone import git
from tests.flows.toy import PARAMS, ROOT, alive, dvc, link_code, make_toy, pids, wait_until

DEVICE = Device("6")
SECONDS_TO_CANCEL = 10


@dataclass
class Deployed:
    """The toy project, deployed, with a worker that serves its pool."""

    project: Path
    env: dict[str, str]

    def prefect(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        env = self.env | {"PWD": str(self.project)}  # as a shell would set it
        done = subprocess.run(
            command, cwd=self.project, env=env, capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The reply of the API. While SQLite is locked, the server replies 503: try again."""
        url, method = f"{self.env['TOY_API']}/{path}", "GET" if body is None else "POST"
        while (reply := httpx.request(method, url, json=body, timeout=60)).status_code == 503:
            time.sleep(1)
        return reply.json()

    def start(self, **parameters: Any) -> str:
        """Starts a run as the form in the UI does; returns its id."""
        deployment = self.ask("deployments/name/align/align")["id"]
        created = self.ask(f"deployments/{deployment}/create_flow_run", {"parameters": parameters})
        assert "id" in created, created
        return str(created["id"])

    def wait(self, run: str, *states: str) -> dict[str, Any]:
        """Waits until the run is in one of the states; returns it."""
        ended = lambda: self.ask(f"flow_runs/{run}")["state_type"] in states  # noqa: E731
        wait_until(ended, 240, lambda: str(self.ask(f"flow_runs/{run}")["state"]))
        return dict(self.ask(f"flow_runs/{run}"))

    def slots(self, limit: str) -> int:
        """Slots in use of a concurrency limit."""
        return int(self.ask(f"v2/concurrency_limits/{limit}")["active_slots"])

    def limit(self) -> str:
        """The concurrency limit of the deployment."""
        limit = self.ask("deployments/name/align/align")["global_concurrency_limit"]
        return str(limit["name"])

    def lines(self, run: str) -> list[str]:
        logs = {"flow_run_id": {"any_": [run]}}
        return [log["message"] for log in self.ask("logs/filter", {"logs": logs})]


@pytest.fixture(scope="module")
def deployed(
    tmp_path_factory: pytest.TempPathFactory, server: dict[str, str]
) -> Iterator[Deployed]:
    env = {name: value for name, value in server.items() if name != "PYTHONPATH"} | {
        "PREFECT_API_URL": server["TOY_API"],
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "CUDA_VISIBLE_DEVICES": DEVICE.id,
    }
    project = make_toy(tmp_path_factory.mktemp("deployed") / "toy")
    link_code(project)
    ignored = [".dvc/cache", ".dvc/tmp", ".dvc/config.local", "/runs/", "*.pids"]
    (project / ".gitignore").write_text("\n".join(ignored))
    slow = PARAMS.replace("seconds: 1.0", "seconds: 100").replace("device: cpu", "device: auto")
    (project / "recipes").mkdir()
    (project / "recipes/slow.yaml").write_text(slow + "select: {policy: a}\n")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "toy")
    toy = Deployed(project, env)
    toy.prefect("work-pool", "create", "--type", "process", "concord")
    toy.prefect("deploy", "--all")
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "concord"]
    log = Path(env["PREFECT_HOME"], "worker.log")
    with (
        log.open("w") as file,
        subprocess.Popen(command, env=env, cwd=project, stdout=file, stderr=file) as worker,
    ):
        yield toy
        worker.terminate()
        try:
            worker.wait(3)
        except subprocess.TimeoutExpired:
            worker.kill()


def test_each_entrypoint_exists() -> None:
    for entry in read(ROOT / "prefect.yaml")["deployments"]:
        file, _, function = entry["entrypoint"].partition(":")
        assert f"def {function}(" in (ROOT / file).read_text()


def test_a_triggered_run_completes(deployed: Deployed) -> None:
    output = deployed.prefect("deployment", "run", "align/align", "--watch")
    assert "Completed" in output
    assert (deployed.project / "join.txt").read_text() == "hello\na\nhello\nb\n"
    assert "up to date" in dvc(deployed.project, "status")


def test_the_deployment_has_a_form_and_one_slot(deployed: Deployed) -> None:
    align = deployed.ask("deployments/name/align/align")
    assert set(align["parameter_openapi_schema"]["properties"]) == {
        "recipe", "weights", "stages", "force",
    }  # fmt: skip
    assert align["global_concurrency_limit"]["limit"] == 1
    assert align["concurrency_options"] == {
        "collision_strategy": "ENQUEUE",
        "grace_period_seconds": 600,
    }
    retrain = deployed.ask("deployments/name/retrain/retrain")
    assert set(retrain["parameter_openapi_schema"]["properties"]) == {"force", "retry_refused"}
    refused = deployed.ask(
        f"deployments/{align['id']}/create_flow_run", {"parameters": {"weights": {"a": "much"}}}
    )
    assert "'much' is not of type 'number'" in json.dumps(refused)


def test_an_invalid_parameter_is_one_sentence_in_the_log(deployed: Deployed) -> None:
    run = deployed.start(stages=["polisy"])
    ended = deployed.wait(run, "FAILED")
    assert "stages: 'polisy' is not in dvc.yaml" in ended["state"]["message"]
    lines = "\n".join(deployed.lines(run))
    assert "stages: 'polisy' is not in dvc.yaml" in lines
    assert "Traceback" not in lines


def test_cancelling_ends_the_process_tree_and_frees_the_slots(deployed: Deployed) -> None:
    """A recipe in its clone; one of its two stages holds the only GPU."""
    run = deployed.start(recipe="recipes/slow.yaml", stages=["part"])
    clone = deployed.project / "runs/slow"
    wait_until(lambda: any(clone.glob("*.pids")), 240, lambda: "\n".join(deployed.lines(run)))
    (started,) = clone.glob("*.pids")
    wait_until(lambda: len(started.read_text().split()) == 2, 10)
    described = deployed.ask(f"flow_runs/{run}")
    assert described["name"] == "slow"
    assert {"a", "concord", "slow"} <= set(described["tags"])
    deployed.ask(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    began = time.monotonic()
    wait_until(lambda: not any(map(alive, pids(clone, started.stem))), SECONDS_TO_CANCEL)
    wait_until(lambda: is_free(DEVICE), SECONDS_TO_CANCEL - (time.monotonic() - began))
    deployed.wait(run, "CANCELLED")
    limits = [f"gpu-{platform.node()}-6", deployed.limit()]
    wait_until(lambda: not any(map(deployed.slots, limits)), 30)


def is_free(device: Device) -> bool:
    with device.lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
