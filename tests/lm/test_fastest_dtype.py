"""The data type of a frozen model: given, or chosen by a measurement and then kept."""

import json
from pathlib import Path

import pytest
import torch

from concord.lm import fastest_dtype
from concord.lm.fastest_dtype import choose, fastest, tokens_per_second


def test_a_given_type_is_used(tiny_model: Path, tmp_path: Path) -> None:
    assert choose("bfloat16", tiny_model, "cpu", [[1]], tmp_path) == "bfloat16"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("faster", "expected"), [(3.0, "bfloat16"), (1.1, "float32")])
def test_the_choice_is_measured_once_and_kept(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    faster: float,
    expected: str,
) -> None:
    """A gain of a tenth is too little for the coarser rounding."""
    lengths = []

    def measure(model: Path, device: object, length: int) -> dict[str, float]:
        lengths.append(length)
        return {"float32": 100.0, "bfloat16": 100.0 * faster}

    monkeypatch.setattr(fastest_dtype, "tokens_per_second", measure)
    sequences = [[1] * 5, [1] * 9, [1] * 30]
    assert choose("auto", tiny_model, "cpu", sequences, tmp_path) == expected
    assert choose("auto", tiny_model, "cpu", [[1]], tmp_path) == expected
    assert lengths == [9]
    assert capsys.readouterr().out.count(f"frozen model read in {expected}") == 2
    (kept,) = (tmp_path / "frozen_dtype").iterdir()
    assert json.loads(kept.read_text())["dtype"] == expected


def test_another_model_or_another_number_of_threads_is_measured_again(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        fastest_dtype, "tokens_per_second", lambda *_: {"float32": 1.0, "bfloat16": 1.0}
    )
    choose("auto", tiny_model, "cpu", [], tmp_path)
    torch.set_num_threads(2)
    choose("auto", tiny_model, "cpu", [], tmp_path)
    wider = tmp_path / "wider"
    wider.mkdir()
    config = json.loads((tiny_model / "config.json").read_text())
    (wider / "config.json").write_text(json.dumps({**config, "intermediate_size": 128}))
    choose("auto", wider, "cpu", [], tmp_path)
    assert len(list((tmp_path / "frozen_dtype").iterdir())) == 3


def test_the_measurement_is_short_and_changes_no_seed(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest_dtype, "SECONDS", 0.05)
    before = torch.get_rng_state()
    speeds = tokens_per_second(tiny_model, torch.device("cpu"), 20)
    assert torch.equal(before, torch.get_rng_state())
    assert sorted(speeds) == ["bfloat16", "float32"]
    assert all(0 < speed < float("inf") for speed in speeds.values())
    assert fastest({"float32": 2.0, "bfloat16": 1.0}) == "float32"
