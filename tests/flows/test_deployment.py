"""prefect.yaml: a worker runs the deployment, and a cancelled run leaves no process."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.toy import PARAMS, alive, dvc, link_code, make_toy, pids, wait_until


@pytest.fixture(scope="module")
def env(server: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in server.items() if name != "PYTHONPATH"} | {
        "PREFECT_API_URL": server["TOY_API"],
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str]) -> Iterator[Path]:
    """The toy project, deployed, with a worker that serves its pool."""
    project = make_toy(tmp_path_factory.mktemp("deployed") / "toy")
    link_code(project)
    prefect(project, env, "work-pool", "create", "--type", "process", "concord")
    prefect(project, env, "deploy", "--all")
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "concord"]
    log = Path(env["PREFECT_HOME"], "worker.log")
    with (
        log.open("w") as file,
        subprocess.Popen(command, env=env, cwd=project, stdout=file, stderr=file) as worker,
    ):
        yield project
        worker.terminate()
        try:
            worker.wait(3)
        except subprocess.TimeoutExpired:
            worker.kill()


def prefect(project: Path, env: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    env = env | {"PWD": str(project)}  # as a shell would set it
    done = subprocess.run(
        command, cwd=project, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_triggered_run_completes(deployed: Path, env: dict[str, str]) -> None:
    output = prefect(deployed, env, "deployment", "run", "align/align", "--watch")
    assert "Completed" in output
    assert (deployed / "join.txt").read_text() == "hello\na\nhello\nb\n"
    assert "up to date" in dvc(deployed, "status")


def test_cancelling_ends_the_process_tree(deployed: Path, env: dict[str, str]) -> None:
    for part in "ab":
        (deployed / f"{part}.pids").unlink(missing_ok=True)
    (deployed / "params.yaml").write_text(PARAMS.replace("seconds: 1.0", "seconds: 100"))
    output = prefect(deployed, env, "deployment", "run", "align/align")
    run = next(word for word in output.split() if len(word) == 36 and word.count("-") == 4)
    wait_until(lambda: all((deployed / f"{part}.pids").exists() for part in "ab"), 120)
    prefect(deployed, env, "flow-run", "cancel", run)
    wait_until(lambda: not any(alive(pid) for part in "ab" for pid in pids(deployed, part)), 60)
    wait_until(lambda: "Cancelled" in prefect(deployed, env, "flow-run", "inspect", run), 60)
