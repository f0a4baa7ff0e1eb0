"""The pairs of checks, and what they keep out of the tables that others read."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from concord.evaluation.metrics import wilson
from concord.objectives import Objective
from concord.prepared import check_pairs
from concord.prepared.check_params import Check
from concord.stage import outputs
from concord.stage.errors import DataError
from concord.stage.params import Model
from tasks import ingest, prepare
from tasks.prepare import Plan, PrepareParams

OBJECTIVES = {"kind": Objective("talk", "", reward="r"), "brief": Objective("talk", "", reward="r")}
CHECK = Check("contrast", "kind", 0.7)
STORY = "The old miller walked along the river, and asked everybody whom he met a question, {}!"


def _line(number: int, question: str, **row: Any) -> dict[str, Any]:
    turn = {"role": "user", "content": question}
    return {"group_id": f"g{number}", "messages": [turn], "annotator": "x", **row}


def _pair(number: int, question: str, objective: str = "kind") -> dict[str, Any]:
    sides = {"a": f"Gladly, {number}.", "b": f"No {number}.", "preferred": "a"}
    return _line(number, question, kind="comparison", objective=objective, **sides)


def _training(question: str = "Question {}?") -> list[dict[str, Any]]:
    """Every kind of row, for 60 prompts."""
    rows = []
    for number in range(60):
        text = question.format(number)
        answer = {"domain": "talk", "response": f"Yes {number}.", "author": "x"}
        rated = {"objective": "brief", "scale": [0, 1], "response": f"Yes {number}."}
        rows += [
            _line(number, text, kind="prompt", domain="talk"),
            _line(number, text, kind="demonstration", **answer),
            _pair(number, text),
            _line(number, text, kind="rating", rating=float(number % 2), **rated),
        ]
    return rows


CONTRAST = [_pair(number, f"Contrast {number}?") for number in range(30)]


@pytest.fixture
def model(tiny_model: Path) -> Model:
    template = str(tiny_model / "chat_template.jinja")
    return Model(str(tiny_model), None, str(tiny_model), template, 160)


def _prepare(
    root: Path,
    model: Model,
    contrast: list[dict[str, Any]],
    training: list[dict[str, Any]] | None = None,
    check: Check | None = CHECK,
    near: float | None = None,
) -> Any:
    sources = {"mine": _training() if training is None else training, "contrast": contrast}
    for name, rows in sources.items():
        (root / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        source = ingest.Source("concord", str(root / f"{name}.jsonl"))
        ingest.run(name, source, ingest.IngestParams(0.5), root / "data/ingested" / name)
    checks = {} if check is None else {"polite": check}
    used = ["contrast", "mine"] if check is not None else ["mine"]
    plan = Plan(used, OBJECTIVES, {"r": ["kind", "brief"]}, checks=checks)
    params = PrepareParams(0.25, 0.25, near_duplicates=near)
    return prepare.run(params, plan, model, 0, root)


def _tables(root: Path) -> dict[str, bytes]:
    """Every table that another stage reads, but for the checks and the quarantine."""
    folder = root / "data/prepared"
    files = {str(file.relative_to(folder)): file for file in folder.rglob("*.parquet")}
    return {
        name: file.read_bytes()
        for name, file in files.items()
        if name not in ("checks.parquet", "quarantine.parquet")
    }


def test_a_check_changes_no_table_that_another_stage_reads(tmp_path: Path, model: Model) -> None:
    """Byte by byte; and none of the tables has a row of the source."""
    _prepare(tmp_path, model, CONTRAST, check=None)
    without = _tables(tmp_path)
    report = _prepare(tmp_path, model, CONTRAST)
    assert _tables(tmp_path) == without
    assert len(without) > 15
    for name in without:
        frame = pd.read_parquet(tmp_path / "data/prepared" / name)
        assert "contrast" not in set(frame["source"])
    checks = outputs.read_table(tmp_path / "data/prepared/checks.parquet")
    assert set(checks["source"]) == {"contrast"}
    assert set(checks["check"]) == {"polite"}
    assert len(checks) == 30
    assert report["checks"]["polite"] == {
        "source": "contrast", "objective": "kind", "at_least": 0.7, "pairs": 30, "prompts": 30,
        "prompts_needed": 9, "longer_chosen": 1.0, "unused": {},
    }  # fmt: skip
    assert report["left_out_by_checks"] == {}
    assert report["sources"]["contrast"]["kept"] == 30


def test_rows_that_a_check_cannot_compare_are_held_out_as_well(
    tmp_path: Path, model: Model
) -> None:
    """Its prompts are not sampled, and its demonstrations not imitated; both are counted."""
    more = [
        _line(90, "Contrast 90?", kind="prompt", domain="talk"),
        _line(91, "Contrast 91?", kind="demonstration", domain="talk", response="Y", author="x"),
    ]
    report = _prepare(tmp_path, model, [*CONTRAST, *more])
    assert report["checks"]["polite"]["unused"] == {"demonstrations": 1, "prompts": 1}
    assert sum(report["splits"]["prompts"].values()) == 60
    assert sum(report["splits"]["demonstrations"].values()) == 60


def test_ratings_and_rankings_are_compared_too(tmp_path: Path, model: Model) -> None:
    rated = [
        _line(number, f"Contrast {number}?", kind="rating", objective="kind", scale=[1, 5],
              response=f"{answer} {number}.", rating=rating)
        for number in range(10)
        for answer, rating in (("Gladly", 4), ("No", 1))
    ]  # fmt: skip
    _prepare(tmp_path, model, rated)
    checks = outputs.read_table(tmp_path / "data/prepared/checks.parquet")
    assert {answer.split()[0] for answer in checks["chosen"]} == {"Gladly"}
    assert len(checks) == 10


def test_training_rows_with_a_prompt_of_a_check_are_left_out(tmp_path: Path, model: Model) -> None:
    """Ten prompts of 60 are those of the check but for case: all four rows of each."""
    contrast = [_pair(number, f"QUESTION  {number}?") for number in range(10)] + CONTRAST
    report = _prepare(tmp_path, model, contrast)
    assert report["left_out_by_checks"] == {"mine": 40}
    assert sum(report["splits"]["prompts"].values()) == 50
    quarantined = outputs.read_table(tmp_path / "data/prepared/quarantine.parquet")
    assert set(quarantined["reason"]) == {"prompt_of_check"}
    assert len(quarantined) == 40
    lines = check_pairs.lines(report["checks"], report["left_out_by_checks"])
    assert lines[-1] == "warning: 40 rows of mine have a prompt of a check, and are left out"


def test_near_duplicates_of_a_prompt_are_left_out(tmp_path: Path, model: Model) -> None:
    """Only with `near_duplicates`, which says what near is."""
    words = [f"{a}{b}" for a in "bcdfghklmn" for b in ("ala", "ono", "iri", "uku", "ete", "yry")]
    training = _training()
    for number, word in enumerate(words[:6]):
        training.append(_pair(100 + number, STORY.format(word)))
    contrast = [_pair(0, STORY.format(words[0]).replace(",", ";") + " Tell."), *CONTRAST]
    assert _prepare(tmp_path, model, contrast, training)["left_out_by_checks"] == {}
    report = _prepare(tmp_path, model, contrast, training, near=0.8)
    assert report["left_out_by_checks"] == {"mine": 6}  # the six stories are one family


def test_a_check_that_takes_most_of_a_source_is_an_error(tmp_path: Path, model: Model) -> None:
    contrast = [_pair(number, f"Question {number}?") for number in range(40)]
    message = (
        "160 of the 240 rows of the source mine have a prompt of the source contrast, and nothing "
        "may be trained on the prompts of a check"
    )
    with pytest.raises(DataError, match=message):
        _prepare(tmp_path, model, contrast)


def test_a_check_without_pairs_of_its_objective_is_an_error(tmp_path: Path, model: Model) -> None:
    with pytest.raises(
        DataError, match=r"checks\.polite: .* has no comparison for brief, only for kind; change"
    ):
        _prepare(tmp_path, model, CONTRAST, check=Check("contrast", "brief", 0.7))
    prompts = [_line(1, "Contrast?", kind="prompt", domain="talk")]
    with pytest.raises(DataError, match=r"contrast has no comparison of two answers; give rows"):
        _prepare(tmp_path, model, prompts)


def test_a_check_that_is_too_small_to_hold_is_said() -> None:
    entry = {"objective": "kind", "source": "contrast", "pairs": 8, "at_least": 0.7}
    lines = check_pairs.lines({"polite": {**entry, "prompts": 8, "prompts_needed": 9}}, {})
    assert lines[0] == "check polite: 8 pairs of 8 prompts for kind, from contrast"
    assert lines[1].startswith("warning: check polite cannot hold: with 8 prompts")


@pytest.mark.parametrize("mark", [0.05, 0.5, 0.7, 0.95])
def test_the_prompts_needed_are_those_of_the_interval(mark: float) -> None:
    needed = Check("contrast", "kind", mark).prompts_needed
    assert wilson(1.0, needed).low >= mark
    assert needed == 1 or wilson(1.0, needed - 1).low < mark
