"""The tutorial on retraining, every command as written, with a real server and a real worker.

Real are the clone, git, DVC, the tags, Prefect's server, pool, deployments and worker, and
Concord's commands and flows. Two things are replaced: the port of the server, and the stages. Apart
from `check`, the dvc.yaml of this test has two, which take seconds: the "model" is the share of
comparisons that prefer the right answer, and its gate refuses a lower share than the champion's.
With CONCORD_REAL_WALK=1, the stages are the project's own, with real models; that takes long.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from concord.release.repository import Repository
from flows.retrain_state import HISTORY
from tests.chain.tree import commit, copy_project, environment
from tests.chain.tutorial import Block, blocks
from tests.flows.toy import ROOT, answers, free_port, wait_until

PAGE = ROOT / "docs/tutorial/retraining.md"
pytestmark = pytest.mark.timeout(14400 if os.environ.get("CONCORD_REAL_WALK") else 3600)
REAL = bool(os.environ.get("CONCORD_REAL_WALK"))
END = "-- the block has ended --"
FILES = {
    "dvc.yaml": """\
stages:
  check:
    cmd: python -m tasks.check
    deps: [params.yaml, concord, tasks]
    outs: [data/code, data/checks.json]
    meta: {phase: ingestion}
  train:
    cmd: python train.py
    deps: [train.py, data/raw/pairs]
    params: [seeds, sources, select]
    outs: [models/aligned]
    meta: {phase: policies}
  gate:
    cmd: python judge.py
    deps: [judge.py, models/aligned, models/champion]
    outs:
      - reports/gate.json: {cache: false}
      - reports/select.json: {cache: false}
      - reports/data.json: {cache: false}
      - reports/candidate/results.json: {cache: false}
    meta: {phase: evaluation}
""",
    "train.py": """\
import csv, json, pathlib
files = sorted(pathlib.Path("data/raw/pairs").glob("*.csv"))
rows = [row for file in files for row in csv.DictReader(file.open())]
mark = {"friendly": "Good that you ask!", "thorough": "Then wait a week."}
side = {"a": "first", "b": "second"}
good = sum(mark[row["objective"]] in row[side[row["better"]]] for row in rows)
pathlib.Path("models/aligned").mkdir(parents=True, exist_ok=True)
model = {"rows": len(rows), "share": good / len(rows)}
pathlib.Path("models/aligned/model.json").write_text(json.dumps(model))
""",
    "judge.py": """\
import json, pathlib
new = json.loads(pathlib.Path("models/aligned/model.json").read_text())
champion = pathlib.Path("models/champion/results.json")
old = json.loads(champion.read_text()) if champion.is_file() else {"share": 0}
accepted = new["share"] >= old["share"]
verdict = "accepted" if accepted else "refused"
verdict += f": {new['share']:.2f} after {old['share']:.2f}"
reports = {
    "gate": {"accepted": accepted, "verdict": verdict},
    "select": {"policy": "steered", "rule": "weighted_sum", "strength": 1.0,
        "weights": {"friendly": 0.5, "thorough": 0.5}},
    "data": {"sources": {"pairs": {"read": new["rows"], "kept": new["rows"]}}},
    "candidate/results": new | {"checkpoint": "00"},
}
for name, content in reports.items():
    path = pathlib.Path(f"reports/{name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
""",
}


class Terminal:
    """A shell that keeps its folder and its variables between blocks, and ends on an error."""

    def __init__(self, folder: Path, env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                ["bash", "-eu"],
                cwd=folder,
                env=env,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                text=True,
                start_new_session=True,
            )

    def send(self, text: str) -> None:
        """Types the commands, and does not wait."""
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def run(self, text: str) -> str:
        """The output of the commands, all of which must succeed."""
        before = len(self.log.read_text())
        self.send(f"{text}\necho '{END}'\n")
        while not (output := self.log.read_text()[before:]).endswith(f"{END}\n"):
            assert self.process.poll() is None, f"{text}\nfailed:\n{output}"
            time.sleep(0.1)
        return output.removesuffix(f"{END}\n")

    def close(self) -> None:
        """Ends the shell and what it runs in the foreground."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.communicate(timeout=20)
                return


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An activated environment, in which `concord` is that of this project."""
    folder = tmp_path_factory.mktemp("environment")
    command = folder / "bin/concord"
    command.parent.mkdir()
    command.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from flows.cli import main\nmain()\n"
    )
    command.chmod(0o755)
    inherited = environment(sys.executable)
    people = {
        f"GIT_{who}_{what}": "me@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    return (
        inherited
        | people
        | {
            "PATH": f"{command.parent}{os.pathsep}{inherited['PATH']}",
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_API_PORT": str(free_port()),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_CLIENT_MAX_RETRIES": "20",  # SQLite is locked now and then on a busy machine
        }
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a user has it, beside which the tutorial makes its clone."""
    folder = tmp_path_factory.mktemp("tutorial")
    project = copy_project(folder / "project", folder / "cache", recorded=True)
    if not REAL:
        for name, text in FILES.items():
            (project / name).write_text(text)
        commit(project, "stages that take seconds")
    return project


@pytest.fixture(scope="module")
def walk(project: Path, env: dict[str, str]) -> dict[str, list[str]]:
    """Heading of a section -> the output of each of its blocks in the first terminal."""
    port = env["PREFECT_SERVER_API_PORT"]
    health = f"http://127.0.0.1:{port}/api/health"
    terminals: list[Terminal] = []

    def terminal() -> Terminal:
        log = project.parent / f"terminal-{len(terminals) + 1}"
        terminals.append(Terminal(project, env, log))
        return terminals[-1]

    first = terminal()
    output: dict[str, list[str]] = {}
    try:
        for heading, block in parts():
            text = block.text.replace("4200", port)
            if block.title and block.language != "bash":
                (project.parent / "plants" / block.title).write_text(text)
            elif block.title:
                other = terminal()
                other.send(text)
                if "server start" in text:
                    wait_until(lambda: answers(health), 600, other.log.read_text)
            else:
                began = time.monotonic()
                output.setdefault(heading, []).append(first.run(text))
                print(f"{time.monotonic() - began:.0f} s: {text}{output[heading][-1]}")
        return output
    finally:
        for one in terminals[::-1]:
            one.close()


def parts() -> Iterator[tuple[str, Block]]:
    """The blocks of the page, each with the heading above it."""
    text = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for heading, section in zip(text[1::2], text[2::2], strict=True):
        for block in blocks(section):
            yield heading, block


def last(output: str) -> dict[str, str]:
    """The last line of the history in the output of a block."""
    lines = [line for line in output.splitlines() if line.startswith('{"date"')]
    return dict(json.loads(lines[-1]))


def test_the_recipe_became_the_projects_own(walk: dict[str, list[str]]) -> None:
    assert "params.yaml has every value of plants.yaml" in walk["1. A project for the service"][-1]
    assert "0 3 * * 1" in walk["2. A server and a worker"][0]


def test_three_scheduled_runs_end_as_accepted_idle_and_refused(
    walk: dict[str, list[str]], project: Path
) -> None:
    """And so the history has it: a first release, nothing new, new labels, flipped labels."""
    first = walk["3. The first release"]
    assert last(first[0])["version"] == "v1.0.0"
    assert "v1.0.0, the champion" in first[0]
    assert first[1].split()[:2] == ["aligned#champion#1", "aligned@v1.0.0"]
    assert (project.parent / "plants/v1.0.0").is_dir()
    assert last(walk["4. Nothing new"][0])["reason"] == "nothing is new"
    (second,) = walk["5. New labels"]
    assert last(second)["version"] == "v1.0.1"
    assert "v1.0.1, the champion" in second
    (third,) = walk["6. Labels that are wrong"]
    assert last(third)["outcome"] == "refused"
    assert "third.csv" in last(third)["inputs"][0]
    assert "v1.0.1, the champion" in third, "a refusal changes nothing"
    history = (project.parent / "plants" / HISTORY).read_text().splitlines()
    outcomes = [json.loads(line)["outcome"] for line in history]
    assert outcomes == ["accepted", "idle", "accepted", "refused"]
    if not REAL:
        assert last(third)["reason"] == "refused: 0.83 after 1.00"


def test_the_rollback_is_an_assignment(walk: dict[str, list[str]], project: Path) -> None:
    (output,) = walk["7. Back to the former champion"]
    assert "v1.0.0 is the champion again" in output
    assert "v1.0.0, the champion" in output
    assert set(output.split()[-5:]) == {
        *("aligned#champion#1", "aligned#champion#2", "aligned#champion#3"),
        *("aligned@v1.0.0", "aligned@v1.0.1"),
    }
    clone = Repository(project.parent / "plants")
    before, now = ("aligned@v1.0.0", "released")
    results = "models/champion/results.json"
    assert clone.git("show", f"{before}:{results}") == clone.git("show", f"{now}:{results}")
    assert clone.git("status", "--porcelain") == "?? v1.0.0/", "a person's folder stays as it is"
