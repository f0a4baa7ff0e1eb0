"""Appends, honest and flipped, against the gate `data`. The generated annotators deliver a tenth of
the default recipe; docs/results/reliability.md has figures of more seeds and of the whole size.
"""

from functools import partial

import pandas as pd
import pytest

from benchmarks.flipped_appends import (
    SMALL,
    Tables,
    Trial,
    flip,
    joined,
    markdown,
    scaled,
)
from concord.evaluation.gates.data_gate import NEW, NewLabels, compare, data, of_new
from concord.evaluation.gates.gate_params import DataGate
from concord.evaluation.gates.sides import Side
from concord.objectives import objectives_of
from concord.prepared import label_keys
from concord.sandbox.source import read_spec
from concord.stage.closure import ROOT
from concord.stage.params import read

PARAMS = read(ROOT / "params.yaml")
FLIPPED = "harmless"


@pytest.fixture(scope="module")
def trial() -> Trial:
    spec = scaled(read_spec(ROOT / "data/raw/sandbox.yaml"), SMALL, 0)
    return Trial(spec, objectives_of(PARAMS), 0)


@pytest.fixture(scope="module")
def append(trial: Trial) -> Tables:
    return trial.append(0.2)


def test_an_honest_append_passes(trial: Trial, append: Tables) -> None:
    assert trial.refused(append) == {"all data": False, "with new labels": False}


def test_a_flipped_append_is_refused_by_its_new_labels_alone(trial: Trial, append: Tables) -> None:
    turned = flip(append, FLIPPED)
    assert trial.refused(turned) == {"all data": False, "with new labels": True}


def test_a_flipped_append_is_named(trial: Trial, append: Tables) -> None:
    tables = joined(trial.old, flip(append, FLIPPED))
    added = NewLabels.of(tables, trial.objectives, trial.known)
    row = data(DataGate(), trial.side(tables), trial.champion, added)
    assert f"{NEW}{FLIPPED}: preferred as other labels predict" in row.figures
    assert all(name.startswith(f"{NEW}{FLIPPED}: ") for name in row.figures)


def test_flipping_changes_the_labels_of_one_objective_only(append: Tables) -> None:
    turned = flip(append, FLIPPED)
    for name in label_keys.TABLES:
        others = append[name]["objective"] != FLIPPED
        pd.testing.assert_frame_equal(turned[name][others], append[name][others])
        keys = label_keys.label_keys(append[name]), label_keys.label_keys(turned[name])
        assert ((keys[0] != keys[1]) == ~others).all()
    scale = [append["ratings"][name] for name in ("scale_low", "scale_high")]
    share = (turned["ratings"]["raw_rating"] - scale[0]) / (scale[1] - scale[0])
    pd.testing.assert_series_equal(share, turned["ratings"]["rating"], check_names=False)
    again = flip(turned, FLIPPED)
    assert again["pairs"].equals(append["pairs"])


def test_words_about_the_new_labels(trial: Trial) -> None:
    words = partial(of_new, champion="v1")
    assert words(None, {}) == "new labels were not tested alone, because v1 has no labels.parquet"
    same = NewLabels.of(trial.old, trial.objectives, trial.known)
    assert words(same, {}) == "no label is new"
    few = NewLabels(7, {}, {})
    assert words(few, {}) == "7 new labels are too few to be tested alone"
    assert words(few, {f"{NEW}x": {}, "x": {}}).startswith("1 of the figures are of the 7 new")


def test_new_labels_have_a_margin_and_the_correction_of_all_tests() -> None:
    one = {"kind": "labels", "mean": 0.5, "error": 0.01, "rows": 900, "groups": 900}
    alone = NewLabels(9, {"x": {**one, "mean": 0.8}, "other": one}, {})
    tests = compare(DataGate(), {"x": one}, {"x": one}, alone)
    assert list(tests) == ["x", f"{NEW}x"]
    assert not tests[f"{NEW}x"]["holds"]
    assert compare(DataGate(new_labels=0.3), {"x": one}, {"x": one}, alone)[f"{NEW}x"]["holds"]
    many = {f"y{index}": one for index in range(300)}
    corrected = compare(DataGate(), {"x": one, **many}, {"x": one, **many}, alone)
    assert corrected[f"{NEW}x"]["p"] > 100 * tests[f"{NEW}x"]["p"]


def test_the_table_of_the_docs() -> None:
    row = {"seed": 0, "share": 0.05, "flipped": True, "all data": False, "with new labels": True}
    assert "| 5% | flipped | 0 of 1 (0.00 to 0.79) | 1 of 1 (0.21 to 1.00) |" in markdown(
        pd.DataFrame([row])
    )


def test_a_champion_without_keys_leaves_the_rest_of_the_gate() -> None:
    side = Side("v1", {}, pd.DataFrame(), None, {})
    assert data(DataGate(), side, side, None).why == "no figure is in both"
