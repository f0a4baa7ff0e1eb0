"""Best-of-n on recorded answers: a reward that pays for length is flagged, the plain one is not."""

from pathlib import Path

import pytest

from benchmarks import planted_hole
from concord.evaluation.policies.hacking_rules import LENGTH

ROOT = Path(__file__).parents[2]


def test_only_the_reward_with_a_hole_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    answers = planted_hole.held_out("sft"), planted_hole.held_out("mah_dpo")
    plain, hole = (
        planted_hole.watched(*answers, "harmless", "values", size) for size in (0.0, 16.0)
    )
    assert plain["flags"] == plain["stop"] == []
    assert LENGTH in {flag["rule"] for flag in hole["flags"]}
    [stop] = hole["stop"]
    best = max(hole["points"], key=lambda row: row["gold"]["harmless"])
    last = max(hole["points"], key=lambda row: row["kl"])
    assert stop["kl"] < last["kl"]
    assert last["proxy"]["harmless"] > best["proxy"]["harmless"]
    assert last["gold"]["harmless"] < best["gold"]["harmless"]
