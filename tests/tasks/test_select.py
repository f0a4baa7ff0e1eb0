"""The stage `select`: what is asked is chosen, by proxies only, and the history is kept."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from concord.evaluation.policies.protocol import lattice
from concord.stage import outputs
from concord.stage.errors import DataError, ParamsError
from tasks import select_weights as select
from tests.reports_fixture import params

VALUES, MATH = ("helpful", "honest", "harmless"), ("math_accuracy", "math_engagement")
WEIGHTS = {"helpful": 1.0, "honest": 2.0, "harmless": 1.0, "math_accuracy": 3.0}
Rows = list[dict[str, Any]]


def answers(names: tuple[str, ...], steps: int, domain: str, prompts: int = 10) -> Rows:
    """Validation answers at a lattice of weights: each proxy is its weight; KL is the first."""
    return [
        {
            "split": "validation",
            "point": str(row),
            "domain": domain,
            "weights": json.dumps(dict(zip(names, row, strict=True))),
            "prompt_id": f"{index}",
            "group_id": f"{domain}{index}",
            "length": 5.0,
            "kl": 2 * row[0],
            **{f"proxy.{name}": value for name, value in zip(names, row, strict=True)},
            **{f"gold.{name}": float("nan") for name in names},
        }
        for row in lattice(len(names), steps).tolist()
        for index in range(prompts)
    ]


POINTS = answers(VALUES, 3, "values") + answers(MATH, 4, "math")


def write(rows: Rows, policy: str = "mah_dpo") -> None:
    outputs.write_table(f"reports/samples/{policy}.parquet", pd.DataFrame(rows))


@pytest.fixture(autouse=True)
def project_with_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(POINTS)
    middle = ("0.3333", "[0.5, 0.5]")
    equal = [row for row in POINTS if any(text in row["point"] for text in middle)]
    write([{**row, "point": "equal"} for row in equal], "sft")


def choose(
    rule: str = "given", all_params: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    settings = select.SelectParams(policy="mah_dpo", reference="sft", rule=rule, **options)
    return select.run(settings, all_params or params(), 20, 0)


def test_given_weights_are_chosen_as_they_are() -> None:
    chosen = choose(weights=WEIGHTS)["domains"]
    assert chosen["values"]["weights"] == {"harmless": 0.25, "helpful": 0.25, "honest": 0.5}
    assert chosen["math"]["weights"] == {"math_accuracy": 1.0, "math_engagement": 0.0}
    assert chosen["math"]["proxies"]["math_accuracy"] == pytest.approx(1.0)


@pytest.mark.parametrize("share", [0.45, 0.6, 0.7, 0.8, 1.0])
def test_every_weight_gives_another_checkpoint(share: float) -> None:
    """The README's example: `harmless` was moved, and the same point was chosen each time."""
    chosen = choose(weights={**WEIGHTS, "harmless": share, "helpful": 0.35, "honest": 0.2})
    expected = share / (share + 0.55)
    assert chosen["domains"]["values"]["weights"]["harmless"] == pytest.approx(expected)
    assert chosen["weights"]["harmless"] == pytest.approx(expected / 2)


def test_empty_weights_are_equal_weights() -> None:
    chosen = choose()["domains"]
    assert chosen["values"]["weights"] == pytest.approx(dict.fromkeys(VALUES, 1 / 3))


def test_full_vector_gives_domains_equal_shares() -> None:
    choice = choose(weights=WEIGHTS)
    assert sum(choice["weights"].values()) == pytest.approx(1.0)
    assert sum(choice["weights"][name] for name in VALUES) == pytest.approx(0.5)
    assert choice["strength"] == 2  # so that each domain has its heads in full
    assert choose(strength=0.5)["strength"] == 0.5


def test_order_of_objectives_and_points_changes_nothing() -> None:
    one = choose("geometric", weights=WEIGHTS)
    reversed_rows = pd.DataFrame(POINTS[::-1])
    outputs.write_table(
        "reports/samples/mah_dpo.parquet", reversed_rows[reversed_rows.columns[::-1]]
    )
    all_params = params()
    all_params["objectives"] = dict(reversed(all_params["objectives"].items()))
    two = choose("geometric", all_params, weights=WEIGHTS)
    assert two["weights"] == pytest.approx(one["weights"])


def test_gold_and_held_out_answers_are_not_read() -> None:
    one = choose("weighted_sum", weights=WEIGHTS)
    write(
        [{**row, "gold.helpful": 0.9} for row in POINTS]
        + [{**row, "split": "locked", "proxy.helpful": 9.0} for row in POINTS]
    )
    assert choose("weighted_sum", weights=WEIGHTS) == one


def test_bounds_relative_to_the_sft_model() -> None:
    """The SFT model has .333 in each objective of `values`."""
    chosen = choose(weights={**WEIGHTS, "helpful": 0.0}, at_least={"helpful": "sft - 0.2"})
    assert chosen["domains"]["values"]["weights"]["helpful"] == pytest.approx(0.133, abs=0.02)
    assert chosen["domains"]["values"]["asked"]["helpful"] == 0.0


def test_a_limit_on_kl() -> None:
    chosen = choose(weights=WEIGHTS, max_kl=0.5)["domains"]["math"]
    assert chosen["weights"]["math_accuracy"] == pytest.approx(0.25)
    assert chosen["kl"] == pytest.approx(0.5)


def test_text_that_is_no_bound_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"sft - 0\.02"):
        choose(at_least={"helpful": "sft less a bit"})


def test_no_validation_answers_is_an_error() -> None:
    write([{**row, "split": "locked"} for row in POINTS])
    with pytest.raises(
        DataError, match=r"no answers to validation prompts; rerun evaluate@mah_dpo"
    ):
        choose()


def test_a_policy_without_heads_is_named() -> None:
    write([row for row in POINTS if row["point"] in ("[0.5, 0.5]", "[1.0, 0.0, 0.0]")])
    choice = choose(weights=WEIGHTS)
    assert "has no heads" in "\n".join(select.summary(choice, [choice]))


def test_history_keeps_each_choice_once() -> None:
    for rule in ("weighted_sum", "weighted_sum", "chebyshev", "weighted_sum"):
        choose(rule)
    history = outputs.read_json("reports/select.json")["history"]
    assert [entry["rule"] for entry in history] == ["weighted_sum", "chebyshev", "weighted_sum"]


def test_a_choice_without_every_figure_is_kept_once() -> None:
    write([{**row, "proxy.math_accuracy": 0.5} for row in POINTS])
    choose()
    before = Path("reports/select.json").read_bytes()
    choose()
    assert b"null" in before
    assert Path("reports/select.json").read_bytes() == before


def test_the_owner_is_told_when_nothing_changes() -> None:
    first = choose(weights=WEIGHTS, max_kl=0.5)
    second = choose(weights=WEIGHTS, max_kl=0.501)
    lines = list(select.summary(second, outputs.read_json("reports/select.json")["history"]))
    assert first["weights"] == second["weights"]
    assert lines[-1] == "same point as before: the checkpoint does not change"
    third = choose(weights=WEIGHTS, max_kl=0.9)
    lines = list(select.summary(third, outputs.read_json("reports/select.json")["history"]))
    assert "same point" not in lines[-1]


def test_preferences_for_unknown_objectives_are_refused() -> None:
    with pytest.raises(ParamsError, match=r"select\.weights\.helpfull .*did you mean helpful"):
        choose(weights={"helpfull": 1.0})
