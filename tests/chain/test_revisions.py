"""`git checkout` and `dvc checkout` of an older revision bring back data, weights and, bitwise, the same logits."""

import json
import sys
from pathlib import Path

from tests.chain.tree import GIT, commit, dvc, lock, run

LOGITS = """
import hashlib, torch
from tasks.policies.model import load
torch.set_num_threads(1)
with torch.no_grad():
    logits = load("models/policies/mah_dpo").eval()(input_ids=torch.arange(5, 45).reshape(2, 20)).logits
print(hashlib.sha256(logits.numpy().tobytes()).hexdigest())
"""


def state(project: Path) -> tuple[str, str]:
    """Hash of the logits of the policy in the working tree, and DVC's hash of the ingested data there."""
    logits = run(project, sys.executable, "-W", "ignore", "-c", LOGITS).split()[-1]
    data = next(out["md5"] for out in lock(project)["ingest@sandbox"]["outs"])
    return logits, data


def test_an_older_revision_comes_back(copy: Path) -> None:
    older = commit(copy, "the first run")
    first = state(copy)
    for file, before, after in (
        (
            "params.yaml",
            "method: mah_dpo, pairs: rollouts, min_gap: 0.0, beta: 0.1",
            "method: mah_dpo, pairs: rollouts, min_gap: 0.0, beta: 0.3",
        ),
        ("tests/chain/world.yaml", "seed: 0", "seed: 1"),
    ):
        text = (copy / file).read_text(encoding="utf-8")
        assert before in text
        (copy / file).write_text(text.replace(before, after), encoding="utf-8")
    run(copy, *dvc("repro", "--single-item", "check"))
    run(copy, *dvc("repro", "--single-item", "policy@mah_dpo"))
    run(copy, *dvc("repro", "--single-item", "ingest@sandbox"))
    newer = commit(copy, "another run")
    second = state(copy)
    assert first[0] != second[0]
    assert first[1] != second[1]
    for revision, expected in ((older, first), (newer, second), (older, first)):
        run(copy, *GIT, "checkout", "--quiet", revision)
        run(copy, *dvc("checkout"))
        assert state(copy) == expected
        status = json.loads(run(copy, *dvc("status", "--json", "ingest@sandbox")))
        assert "ingest@sandbox" not in status
