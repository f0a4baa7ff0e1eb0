"""The flow and `dvc repro` are equivalent: after one of them, the other has nothing to do.

The cold run is hermetic: each stage sees its declared deps and params alone, writes its declared
outs alone, and must come to the same bytes.
"""

import re
import sys
import time
from pathlib import Path

import pytest

from concord.stage import outputs
from tests.chain.finished import Finished, Runs
from tests.chain.tree import dvc, environment, hashes, lock, run


@pytest.fixture(scope="module")
def cold(runs: Runs) -> Path:
    return runs.wait_for("cold").folder


def test_the_flow_ran_everything_and_says_what_it_made(finished: Finished) -> None:
    assert f"{len(lock(finished.folder))} stages in" in finished.output
    assert "0 restored, 0 unchanged" in finished.output
    for path in ("reports/index.html", "reports/front.svg", "models/aligned"):
        assert str(finished.folder / path) in finished.output
        assert (finished.folder / path).exists()


def test_after_the_flow_dvc_finds_nothing_to_do(finished: Finished) -> None:
    assert "up to date" in run(finished.folder, *dvc("status"))
    assert "Running stage" not in run(finished.folder, *dvc("repro"))


def test_a_cold_repro_of_stages_that_see_what_they_declare_makes_the_same_bytes(
    finished: Finished, cold: Path
) -> None:
    assert hashes(cold) == hashes(finished.folder)
    assert len(hashes(cold)) > 20


def test_after_repro_the_flow_finds_nothing_to_do(cold: Path, runs: Runs) -> None:
    began = time.monotonic()
    output = run(
        cold, sys.executable, "-m", "flows.align", env=environment(PREFECT_HOME=runs.prefect_home)
    )
    assert f"0 ran, 0 restored, {len(lock(cold))} unchanged" in output
    assert time.monotonic() - began < 180


def test_one_value_may_differ_in_a_clone_that_shares_the_work(copy: Path) -> None:
    clone = run(
        copy, sys.executable, "-m", "flows.clone", "params.yaml", "select.weights.harmless=0.6"
    ).strip()
    output = run(Path(clone), *dvc("repro", "select"))
    ran = set(re.findall(r"Running stage '(\S+)'", output))
    assert "select" in ran
    # evaluations have outputs that the run cache does not keep (docs/explanation/caching.md)
    assert ran <= {"check", "evaluate@mah_dpo", "evaluate@sft", "select"}
    one, other = (outputs.read_json(f"{folder}/reports/select.json") for folder in (copy, clone))
    assert one["domains"]["values"]["weights"]["harmless"] == pytest.approx(0.45 / 0.8)
    assert other["domains"]["values"]["weights"]["harmless"] == pytest.approx(0.6 / 0.95)


def test_git_sees_nothing_but_the_record(finished: Finished) -> None:
    changed = {
        line.split()[-1]
        for line in run(finished.folder, "git", "status", "--porcelain").splitlines()
    }
    assert changed <= {"dvc.lock", "reports/"}
