"""The stage `select`: by proxies alone, whatever the order of objectives, with its history."""

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
    """Forty answers to validation prompts at one point, whose proxies have these means."""
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
            "prompt_id": f"{place}",
            "group_id": f"{domain}{place}",
            **{
                f"proxy.{name}": mean + spread[place] - spread.mean()
                for name, mean in means.items()
            },
            **{f"gold.{name}": float("nan") for name in names},
        }
        for place in range(40)
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


def chosen(
    rule: str = "weighted_sum", everything: dict | None = None, **options: Any
) -> dict[str, Any]:
    return select.run(
        select.SelectParams(policy="mah_dpo", rule=rule, **options), everything or params(), 200, 0
    )


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
    turned = pd.DataFrame(POINTS[::-1])
    outputs.write_table(SAMPLES, turned[turned.columns[::-1]])
    everything = params()
    everything["objectives"] = dict(reversed(everything["objectives"].items()))
    assert chosen("geometric", everything) == one


def test_gold_and_held_out_answers_are_not_read() -> None:
    one = chosen()
    write(
        [{**row, "gold.helpful": 0.9} for row in POINTS]
        + [{**row, "split": "locked"} for row in POINTS[:40]]
    )
    assert chosen() == one


@pytest.mark.parametrize(
    ("noise", "tolerance", "taken"), [(3.0, 1.0, EQUAL), (3.0, 0.0, "ahead"), (0.0, 1.0, "ahead")]
)
def test_a_lead_within_the_noise_gives_way_to_the_preferences(
    noise: float, tolerance: float, taken: str
) -> None:
    """A lead of 0.1 on 40 prompts: nothing where answers differ by 3, everything where they do not differ."""
    ahead = point("ahead", MATH, [0.1, 0.1], [0.0, 1.0], noise=noise)
    write([*ahead, *point(f"{EQUAL}", MATH, [0.0, 0.0], [0.5, 0.5], noise=2 * noise)])
    assert chosen(tolerance=tolerance)["points"] == {"math": taken}


def test_no_validation_answers_is_an_error() -> None:
    write([{**row, "split": "locked"} for row in POINTS])
    with pytest.raises(
        DataError, match=r"no answers to validation prompts; rerun evaluate@mah_dpo"
    ):
        chosen()


def test_a_limit_on_kl_excludes_points() -> None:
    assert chosen("chebyshev", max_kl=2.0)["points"]["values"] == "one"
    with pytest.raises(
        DataError, match=r"no point of math is within select.max_kl 0.5; the nearest has 1"
    ):
        chosen(max_kl=0.5)


def test_where_validation_tells_nothing_the_preferences_decide() -> None:
    """As in a domain of which every graded answer stands alone; a limit on KL holds all the same."""
    unknown = [
        {**row, **{name: float("nan") for name in row if name.startswith("proxy.")}}
        for row in POINTS
    ]
    write(unknown)
    weights = {"math_accuracy": 1.0, "helpful": 1.0, "honest": 1.0}
    told = chosen(weights=weights)
    assert told["equal_points"]["math"] == len(
        {row["point"] for row in POINTS if row["domain"] == "math"}
    )
    assert told["points"]["math"] == "three"
    assert chosen("chebyshev", max_kl=2.0)["points"]["values"] == "one"


def test_history_keeps_each_choice_once() -> None:
    for rule in ("weighted_sum", "weighted_sum", "chebyshev", "weighted_sum"):
        chosen(rule)
    history = outputs.read_json("reports/select.json")["history"]
    assert [entry["rule"] for entry in history] == ["weighted_sum", "chebyshev", "weighted_sum"]


def test_preferences_for_unknown_objectives_are_refused() -> None:
    with pytest.raises(ParamsError, match=r"select\.weights\.helpfull .*did you mean helpful"):
        chosen(weights={"helpfull": 1.0})
