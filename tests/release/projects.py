"""Tiny projects for the tests of releases."""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from concord.release import Version, current, publish
from concord.release.repository import Repository

PARAMS = """\
objectives: {helpful: {domain: values}}
gate: {champion: models/champion}
sft: {steps: 1}
"""


@dataclass
class Project:
    root: Path
    calls: list[str] = field(default_factory=list)

    @property
    def workspace(self) -> Path:
        return self.root / "runs/retrain"

    def run(self, score: int, params: str = PARAMS) -> None:
        """A finished run in the workspace, on top of the branch `released`."""
        git(self.workspace, "fetch", "--quiet", "origin")
        if git(self.workspace, "branch", "--remotes", "--list", "origin/released"):
            git(self.workspace, "checkout", "--quiet", "--force", "--detach", "origin/released")
        finish_run(self.workspace, score, params)

    def publish(self, score: int, params: str = PARAMS) -> Version:
        self.run(score, params)
        return publish(self.workspace, f"Score {score}")

    def champion(self) -> str:
        version = current(self.root)
        return version.name if version else "none"

    def state(self) -> dict[str, str]:
        """What others see: reference of the project -> tree, and the commits' messages."""
        repository = Repository(self.root)
        state = {}
        listed = git(self.root, "for-each-ref", "--format=%(refname)").split()
        for name in listed:
            state[name] = repository.git("rev-parse", f"{name}^{{tree}}")
            state[f"{name} says"] = git(self.root, "log", "-1", "--format=%s %b", name)
        return state

    def file(self, revision: str, path: str) -> str:
        return git(self.root, "show", f"{revision}:{path}")


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout.strip()


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def make_project(root: Path) -> Path:
    """A project that was never run, and its workspace, which has a run."""
    files = {
        "params.yaml": PARAMS,
        "dvc.yaml": "stages: {}\n",
        "concord/code.py": "x = 1\n",
        "data/rows.txt.dvc": "outs: [{md5: 0a, path: rows.txt}]\n",
        "models/champion/README.md": "The champion.\n",
        ".gitignore": "/runs/\n/reports/curves/\n",
    }
    write(root, files)
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "the project")
    git(root, "clone", "--quiet", "--no-hardlinks", str(root), "runs/retrain")
    git(root / "runs/retrain", "remote", "set-url", "origin", "../..")
    finish_run(root / "runs/retrain", 1)
    return root


def finish_run(workspace: Path, score: int, params: str = PARAMS) -> None:
    write(
        workspace,
        {
            "params.yaml": params,
            "dvc.lock": f"schema: '2.0'\nstages: {{}}\n# {score}\n",
            "data/rows.txt.dvc": f"outs: [{{md5: 0{score}, path: rows.txt}}]\n",
            "reports/gate.json": json.dumps({"accepted": True, "verdict": "accepted"}),
            "reports/candidate/results.json": json.dumps({"score": score}),
            "reports/candidate/samples.parquet": f"answers {score}",
            "reports/curves/sft.csv": "ignored",
        },
    )
