"""`git checkout` and `dvc checkout` of an older revision restore its data, weights and logits."""

import json
from pathlib import Path

from tests.chain.tree import GIT, commit, dvc, lock, python, run

LOGITS = """
import hashlib, torch
from concord.policies.steerable import load
torch.set_num_threads(1)
with torch.no_grad():
    logits = load("models/policies/mah_dpo").eval()(input_ids=torch.arange(5, 45).reshape(2,
    20)).logits
print(hashlib.sha256(logits.numpy().tobytes()).hexdigest())
"""


LINE = {
    "kind": "comparison",
    "group_id": "1",
    "messages": [{"role": "user", "content": "How are you?"}],
} | {
    "objective": "helpful",
    "a": "Well, and you?",
    "b": "Fine.",
    "preferred": "a",
    "annotator": "me",
}


def state(project: Path) -> tuple[str, str, str]:
    """Hashes of the policy's logits, of the custom source and of the ingested data."""
    logits = run(project, python(), "-c", LOGITS).split()[-1]
    data = [
        out["md5"]
        for name in ("ingest@sandbox", "ingest@mine")
        for out in lock(project)[name]["outs"]
    ]
    return logits, (project / "data/raw/mine.jsonl").read_text(encoding="utf-8"), " ".join(data)


def deliver(project: Path, annotator: str) -> None:
    """A custom source, versioned by DVC and ingested."""
    (project / "data/raw/mine.jsonl").write_text(
        json.dumps({**LINE, "annotator": annotator}) + "\n", encoding="utf-8"
    )
    run(project, *dvc("add", "--quiet", "data/raw/mine.jsonl"))
    run(project, *dvc("repro", "--single-item", "check"))
    run(project, *dvc("repro", "--single-item", "ingest@mine"))


def test_an_older_revision_comes_back(copy: Path) -> None:
    params = (copy / "params.yaml").read_text(encoding="utf-8")
    mine = "sources:\n  mine: {format: concord, path: data/raw/mine.jsonl}\n"
    (copy / "params.yaml").write_text(params.replace("sources:\n", mine), encoding="utf-8")
    deliver(copy, "me")
    older = commit(copy, "the first run")
    first = state(copy)
    for file, before, after in (
        (
            "params.yaml",
            "method: mah_dpo, pairs: rollouts, min_gap: 0.0, beta: 0.1",
            "method: mah_dpo, pairs: rollouts, min_gap: 0.0, beta: 0.3",
        ),
        ("recipes/worlds/tiny.yaml", "seed: 0", "seed: 1"),
    ):
        text = (copy / file).read_text(encoding="utf-8")
        assert before in text
        (copy / file).write_text(text.replace(before, after), encoding="utf-8")
    run(copy, *dvc("repro", "--single-item", "check"))
    run(copy, *dvc("repro", "--single-item", "policy@mah_dpo"))
    run(copy, *dvc("repro", "--single-item", "ingest@sandbox"))
    deliver(copy, "another")
    newer = commit(copy, "another run")
    second = state(copy)
    assert all(one != other for one, other in zip(first, second, strict=True))
    for revision, expected in ((older, first), (newer, second), (older, first)):
        run(copy, *GIT, "checkout", "--quiet", revision)
        run(copy, *dvc("checkout"))
        assert state(copy) == expected
        assert (
            json.loads(run(copy, *dvc("status", "--json", "ingest@sandbox", "ingest@mine"))) == {}
        )
