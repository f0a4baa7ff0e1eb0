"""The stage `select`: chooses by proxies only, independent of order, and keeps its history."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.policies.protocol import EQUAL
from concord.stage import outputs
from concord.stage.errors import DataError, ParamsError
from tasks import select
from tests.reports_fixture import params

SAMPLES = Path("reports/samples/mah_dpo.parquet")
VALUES, MATH = ("helpful", "honest", "harmless"), ("math_accuracy", "math_engagement")
Rows = list[dict[str, Any]]


def point(
    name: str,
    names: tuple[str, ...],
    proxies: list[float],
    weights: list[float],
    kl: float = 1.0,
    noise: float = 0.0,
) -> Rows:
    """Forty answers to validation prompts at one point; their proxies have the given means."""
    domain = "values" if names == VALUES else "math"
    spread = np.random.default_rng(len(name)).normal(0, noise, 40)
    common = {
        "split": "validation",
        "point": name,
        "domain": domain,
        "length": 5.0,
        "log_ratio": kl,
    }
    common["weights"] = json.dumps(dict(zip(names, weights, strict=True)))
    means = dict(zip(names, proxies, strict=True))
    return [
        {
            **common,
            "prompt_id": f"{index}",
            "group_id": f"{domain}{index}",
            **{
                f"proxy.{name}": mean + spread[index] - spread.mean()
                for name, mean in means.items()
            },
            **{f"gold.{name}": float("nan") for name in names},
        }
        for index in range(40)
    ]


POINTS = [
    *point("one", VALUES, [2.0, 0.0, 0.0], [1.0, 0.0, 0.0]),
    *point("two", VALUES, [0.6, 0.6, 0.6], [0.4, 0.3, 0.3], kl=3.0),
    *point("three", MATH, [1.0, 0.0], [0.9, 0.1]),
    *point("four", MATH, [0.0, 1.1], [0.1, 0.9]),
]


def write(rows: Rows) -> None:
    outputs.write_table(SAMPLES, pd.DataFrame(rows))


@pytest.fixture(autouse=True)
def project_with_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(POINTS)


def choose(
    rule: str = "weighted_sum", all_params: dict | None = None, **options: Any
) -> dict[str, Any]:
    return select.run(
        select.SelectParams(policy="mah_dpo", rule=rule, **options), all_params or params(), 200, 0
    )


def test_rules_give_different_points() -> None:
    """Sums: .667 and .6. Worst shortfalls from an ideal of 3: 3 / 3 and 2.4 / 3."""
    assert choose("weighted_sum")["points"] == {"values": "one", "math": "four"}
    assert choose("chebyshev")["points"]["values"] == "two"


def test_weights_change_the_choice() -> None:
    """math_accuracy three times the weight: .75 against .275."""
    weights = {"math_accuracy": 3.0, "math_engagement": 1.0, "helpful": 1.0}
    assert choose(weights=weights)["points"] == {"values": "one", "math": "three"}


def test_full_vector_gives_domains_equal_shares() -> None:
    weights = choose()["weights"]
    assert sum(weights.values()) == pytest.approx(1.0)
    assert sum(weights[name] for name in ("helpful", "honest", "harmless")) == pytest.approx(0.5)


def test_order_of_objectives_and_points_changes_nothing() -> None:
    one = choose("geometric")
    reversed_rows = pd.DataFrame(POINTS[::-1])
    outputs.write_table(SAMPLES, reversed_rows[reversed_rows.columns[::-1]])
    all_params = params()
    all_params["objectives"] = dict(reversed(all_params["objectives"].items()))
    assert choose("geometric", all_params) == one


def test_gold_and_held_out_answers_are_not_read() -> None:
    one = choose()
    write(
        [{**row, "gold.helpful": 0.9} for row in POINTS]
        + [{**row, "split": "locked"} for row in POINTS[:40]]
    )
    assert choose() == one


@pytest.mark.parametrize(
    ("noise", "tolerance", "taken"), [(3.0, 1.0, EQUAL), (3.0, 0.0, "ahead"), (0.0, 1.0, "ahead")]
)
def test_a_lead_within_the_noise_is_ignored(noise: float, tolerance: float, taken: str) -> None:
    """A lead of 0.1 on 40 prompts is within noise of 3, and significant without noise."""
    ahead = point("ahead", MATH, [0.1, 0.1], [0.0, 1.0], noise=noise)
    write([*ahead, *point(f"{EQUAL}", MATH, [0.0, 0.0], [0.5, 0.5], noise=2 * noise)])
    assert choose(tolerance=tolerance)["points"] == {"math": taken}


def test_no_validation_answers_is_an_error() -> None:
    write([{**row, "split": "locked"} for row in POINTS])
    with pytest.raises(
        DataError, match=r"no answers to validation prompts; rerun evaluate@mah_dpo"
    ):
        choose()


def test_a_limit_on_kl_excludes_points() -> None:
    assert choose("chebyshev", max_kl=2.0)["points"]["values"] == "one"
    with pytest.raises(
        DataError, match=r"select.max_kl is 0.5, but the smallest KL in the domain math is 1"
    ):
        choose(max_kl=0.5)


def test_without_validation_data_the_weights_decide() -> None:
    """As in a domain without pairs. A limit on KL still applies."""
    unknown = [
        {**row, **{name: float("nan") for name in row if name.startswith("proxy.")}}
        for row in POINTS
    ]
    write(unknown)
    weights = {"math_accuracy": 1.0, "helpful": 1.0, "honest": 1.0}
    choice = choose(weights=weights)
    assert choice["equal_points"]["math"] == len(
        {row["point"] for row in POINTS if row["domain"] == "math"}
    )
    assert choice["points"]["math"] == "three"
    assert choose("chebyshev", max_kl=2.0)["points"]["values"] == "one"


def test_history_keeps_each_choice_once() -> None:
    for rule in ("weighted_sum", "weighted_sum", "chebyshev", "weighted_sum"):
        choose(rule)
    history = outputs.read_json("reports/select.json")["history"]
    assert [entry["rule"] for entry in history] == ["weighted_sum", "chebyshev", "weighted_sum"]


def test_preferences_for_unknown_objectives_are_refused() -> None:
    with pytest.raises(ParamsError, match=r"select\.weights\.helpfull .*did you mean helpful"):
        choose(weights={"helpfull": 1.0})
