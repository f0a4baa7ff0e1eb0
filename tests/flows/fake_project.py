"""A project of two stages whose verdict depends on the data: `train` counts, `gate` compares.

The model is the share of pairs whose chosen answer is good. The candidate is accepted if its share
is not below the champion's.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from concord.release.repository import Repository
from flows.retrain_state import HISTORY, Outcome
from flows.retraining import Request, retrain
from tests.chain.tree import python
from tests.flows.toy import ROOT, dvc

FILES = {
    "params.yaml": """\
sources:
  pairs: {format: trl, path: data/raw/pairs, options: {objective: helpful}}
objectives: {helpful: {domain: values}}
ingest: {max_quarantine_share: 0.2}
gate: {champion: models/champion}
runtime: {threads: 1, device: cpu}
retrain: {watch: {pairs: ../inbox}, settle_seconds: 0}
""",
    "dvc.yaml": """\
stages:
  train:
    cmd: python train.py
    deps: [train.py, data/raw/pairs]
    outs: [models/aligned]
    meta: {phase: policies}
  gate:
    cmd: python gate.py
    deps: [gate.py, models/aligned, models/champion]
    outs:
      - reports/gate.json: {cache: false}
      - reports/candidate/results.json: {cache: false}
    meta: {phase: evaluation}
""",
    "train.py": """\
import json, pathlib
files = sorted(pathlib.Path("data/raw/pairs").iterdir())
rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
good = sum(row["chosen"].startswith("good") for row in rows)
model = {"rows": len(rows), "share": good / len(rows)}
pathlib.Path("models/aligned").write_text(json.dumps(model))
""",
    "gate.py": """\
import json, pathlib
def read(path):
    return json.loads(path.read_text()) if path.is_file() else {"share": 0}
new = read(pathlib.Path("models/aligned"))
old = read(pathlib.Path("models/champion/results.json"))
accepted = new["share"] >= old["share"]
word = "accepted" if accepted else "refused"
gate = {"accepted": accepted, "verdict": f"{word}: {new['share']:.2f} after {old['share']:.2f}"}
pathlib.Path("reports/candidate").mkdir(parents=True, exist_ok=True)
pathlib.Path("reports/gate.json").write_text(json.dumps(gate))
pathlib.Path("reports/candidate/results.json").write_text(json.dumps(new))
""",
    "models/champion/README.md": "The champion.\n",
    "models/.gitignore": "/aligned\n",
    ".gitignore": "/runs/\n/.store/\n__pycache__\n",
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
    "README.md": "A project.\n",
}
ALIGN = (python(), "-m", "dvc", "--wait-for-lock", "repro", "--quiet")


def pairs(start: int, count: int = 5, chosen: str = "good") -> str:
    rows = (
        {"prompt": f"Why {n}?", "chosen": f"{chosen} {n}", "rejected": f"worse {n}"}
        for n in range(start, start + count)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


def make(root: Path) -> Path:
    """A project that was never run, with five pairs, beside an empty folder `inbox`."""
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / ".dvc/config").write_text((ROOT / ".dvc/config").read_text())
    (root / ".dvcignore").write_text((ROOT / ".dvcignore").read_text())
    (root.parent / "inbox").mkdir()
    (root / "data/raw/pairs").mkdir(parents=True)
    (root / "data/raw/pairs/first.jsonl").write_text(pairs(0))
    git(root, "init", "--quiet", "--initial-branch=main")
    dvc(root, "add", "--quiet", "data/raw/pairs")
    commit(root, "the project")
    return root


def git(folder: Path, *arguments: str) -> str:
    return Repository(folder).git(*arguments)


def commit(root: Path, message: str) -> None:
    git(root, "add", "--all")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    git(root, *identity, "commit", "--quiet", "--message", message)


def run(root: Path, align: Sequence[str] = ALIGN, **options: Any) -> Outcome:
    """A scheduled run in this process."""
    return retrain(root, Request(align=align, **options), lambda _: None)


def arrives(root: Path, name: str, content: str) -> Path:
    """A new file in the watched folder."""
    file = root.parent / "inbox" / name
    file.write_text(content)
    return file


def history(root: Path) -> list[str]:
    return [json.loads(line)["outcome"] for line in (root / HISTORY).read_text().splitlines()]


def tree_of(root: Path) -> dict[str, bytes]:
    """What a person sees of the project: the files outside of runs/ and the stores, and git."""
    files = {
        str(file.relative_to(root)): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
        and file.relative_to(root).parts[0] not in (".git", "runs", ".store", ".dvc")
    }
    for what in (("status", "--porcelain"), ("rev-parse", "HEAD"), ("diff", "--cached")):
        files[" ".join(what)] = git(root, *what).encode()
    return files


def champion(root: Path) -> Any:
    """What the branch of releases says about the champion."""
    return json.loads(git(root, "show", "released:models/champion/results.json"))
