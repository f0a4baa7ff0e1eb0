"""The stage `gate`: margins, missing champions, and verdicts that do not fail the stage."""

import json
from pathlib import Path
from typing import Any

import pytest

from concord.stage import outputs
from concord.stage.errors import DataError, ParamsError
from tasks import gate

CHAMPION = "models/champion.json"


def figures(mean: float) -> dict[str, float]:
    return {"gold_mean": mean, "ci_low": mean - 0.05, "ci_high": mean + 0.05, "n": 400}


@pytest.fixture(autouse=True)
def candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The selected point `x` has helpful .50 and harmless .60; the other point is worse."""
    monkeypatch.chdir(tmp_path)
    points = [
        {
            "domain": "values",
            "point": "x",
            "objectives": {"helpful": figures(0.5), "harmless": figures(0.6)},
        },
        {
            "domain": "values",
            "point": "equal",
            "objectives": {"helpful": figures(0.1), "harmless": figures(0.1)},
        },
    ]
    choice = {
        "policy": "mah_dpo",
        "points": {"values": "x"},
        "weights": {"helpful": 0.5, "harmless": 0.5},
    }
    outputs.write_json("reports/select.json", choice)
    outputs.write_json("reports/policies/mah_dpo.json", {"points": points, "seeds": {"locked": 1}})


def verdict(champion: Any = None, **margins: float) -> dict[str, Any]:
    if champion is not None:
        outputs.write_json(CHAMPION, champion)
    gate.run(gate.GateParams(champion=CHAMPION, margins=margins))
    return outputs.read_json("reports/gate.json")


def against(helpful: float, harmless: float) -> dict[str, Any]:
    return {
        "objectives": {"helpful": figures(helpful), "harmless": figures(harmless)},
        "seeds": {"locked": 1},
    }


@pytest.mark.parametrize("champion", [None, {}])
def test_without_a_champion_everything_is_accepted(champion: Any) -> None:
    result = verdict(champion)
    assert result["verdict"] == "accepted: no champion"
    assert result["accepted"]
    assert result["candidate"]["objectives"]["helpful"]["gold_mean"] == 0.5


def test_margins() -> None:
    """`helpful` falls by .03, which is beyond a margin of .02 and within .04; `harmless` rises."""
    refused = verdict(against(0.53, 0.55), helpful=0.02)
    assert refused["verdict"] == "refused: helpful beyond the margin"
    assert not refused["accepted"]
    assert refused["objectives"]["helpful"]["difference"] == pytest.approx(-0.03)
    assert refused["objectives"]["harmless"]["holds"]
    assert verdict(against(0.53, 0.55), helpful=0.04)["accepted"]


def test_the_default_margin_is_zero() -> None:
    assert verdict(against(0.5, 0.6))["accepted"]
    assert verdict(against(0.5, 0.601))["verdict"] == "refused: harmless beyond the margin"


def test_every_objective_of_the_champion_is_required() -> None:
    champion = against(0.4, 0.4)
    champion["objectives"]["honest"] = figures(0.2)
    assert verdict(champion)["verdict"] == "refused: honest beyond the margin"


def test_a_published_candidate_can_be_the_next_champion() -> None:
    champion = verdict()["candidate"]
    result = verdict(champion)
    assert result["accepted"]
    assert result["comparable"]


def test_other_prompts_are_marked_as_not_comparable() -> None:
    assert verdict({**against(0.4, 0.4), "seeds": {"locked": 2}})["comparable"] is False


def test_margins_of_unknown_objectives_and_broken_champions_are_errors() -> None:
    with pytest.raises(ParamsError, match=r"gate\.margins\.helpfull: unknown objective"):
        verdict(helpfull=0.1)
    Path(CHAMPION).parent.mkdir(exist_ok=True)
    Path(CHAMPION).write_text('{"objectives":', encoding="utf-8")
    with pytest.raises(DataError, match="is not valid JSON"):
        verdict()
    Path(CHAMPION).write_text(json.dumps({"policy": "x"}), encoding="utf-8")
    with pytest.raises(DataError, match="has no `objectives`"):
        verdict()
