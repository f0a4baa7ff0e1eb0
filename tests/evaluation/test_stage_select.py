"""The stage `select`: by proxies alone, whatever the order of objectives, with its history."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tasks import select
from tasks.stage import outputs
from tasks.stage.errors import DataError, ParamsError

from .conftest import params


def point(domain: str, name: str, proxies: dict[str, float], kl: float = 1.0) -> dict[str, Any]:
    weights = dict.fromkeys(proxies, 1 / len(proxies)) | {"at": 0.0}
    return {"domain": domain, "point": name, "proxies": proxies, "kl": kl, "weights": {k: weights[k] for k in proxies}}


REPORT = {
    "objectives": {"helpful": {"gold_mean": 0.9}},
    "validation": {
        "points": [
            point("values", "one", {"helpful": 2.0, "honest": 0.0, "harmless": 0.0}),
            point("values", "two", {"helpful": 0.6, "honest": 0.6, "harmless": 0.6}, kl=3.0),
            point("math", "three", {"math_accuracy": 1.0, "math_engagement": 0.0}),
            point("math", "four", {"math_accuracy": 0.0, "math_engagement": 1.1}),
        ]
    },
}


@pytest.fixture(autouse=True)
def project_with_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outputs.write_json("reports/policies/mah_dpo.json", REPORT)


def chosen(rule: str = "weighted_sum", everything: dict | None = None, **options: Any) -> dict[str, Any]:
    return select.run(select.Params(policy="mah_dpo", rule=rule, **options), everything or params())


def test_rules_differ_where_they_should() -> None:
    """Sums of thirds: .667 against .6. Worst shortfall from an ideal of 3: 3 / 3 against 2.4 / 3."""
    assert chosen("weighted_sum")["points"] == {"values": "one", "math": "four"}
    assert chosen("chebyshev")["points"]["values"] == "two"


def test_preferences_of_the_owner_count() -> None:
    """math_accuracy three times the weight: .75 against .275."""
    weights = {"math_accuracy": 3.0, "math_engagement": 1.0, "helpful": 1.0}
    assert chosen(weights=weights)["points"] == {"values": "one", "math": "three"}


def test_full_vector_gives_domains_equal_shares() -> None:
    weights = chosen()["weights"]
    assert sum(weights.values()) == pytest.approx(1.0)
    assert sum(weights[name] for name in ("helpful", "honest", "harmless")) == pytest.approx(0.5)


def test_order_of_objectives_and_points_changes_nothing() -> None:
    one = chosen("geometric")
    turned = copy.deepcopy(REPORT)
    turned["validation"]["points"] = [
        {**entry, "proxies": dict(reversed(entry["proxies"].items()))} for entry in REPORT["validation"]["points"][::-1]
    ]
    outputs.write_json("reports/policies/mah_dpo.json", turned)
    everything = params()
    everything["objectives"] = dict(reversed(everything["objectives"].items()))
    assert chosen("geometric", everything) == one


def test_gold_is_not_read() -> None:
    one = chosen()
    changed = json.loads(json.dumps(REPORT).replace("0.9", "0.1"))
    outputs.write_json("reports/policies/mah_dpo.json", {**changed, "points": [], "sweep": {}})
    assert chosen() == one


def test_a_limit_on_kl_excludes_points() -> None:
    assert chosen("chebyshev", max_kl=2.0)["points"]["values"] == "one"
    with pytest.raises(DataError, match=r"no point of math is within select.max_kl 0.5; the nearest has 1.0"):
        chosen(max_kl=0.5)


def test_history_keeps_each_choice_once() -> None:
    for rule in ("weighted_sum", "weighted_sum", "chebyshev", "weighted_sum"):
        chosen(rule)
    history = outputs.read_json("reports/select.json")["history"]
    assert [entry["rule"] for entry in history] == ["weighted_sum", "chebyshev", "weighted_sum"]


def test_preferences_for_unknown_objectives_are_refused() -> None:
    with pytest.raises(ParamsError, match=r"select\.weights\.helpfull .*did you mean helpful"):
        chosen(weights={"helpfull": 1.0})
