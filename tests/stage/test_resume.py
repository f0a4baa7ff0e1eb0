"""The key of a checkpoint folder: which changes give a new key."""

from pathlib import Path

import pytest

from concord.lm.train import Training
from concord.stage.errors import DataError
from concord.stage.resume import folder

TRAINING = {"learning_rate": 0.1, "batch_size": 4, "steps": 2}


def _key(
    root: Path, text: str = "rows", code: str = "x = 1", steps: int = 2, order: bool = False
) -> Path:
    (root / "in").mkdir(exist_ok=True)
    (root / "in/table").write_text(text)
    (root / "stage.py").write_text(code)
    values = {**TRAINING, "steps": steps}
    params = {"training": Training(**values), "seed": 0}
    if order:
        params = dict(reversed(params.items()))
    return folder("sft", params, [root / "in"], root / "stage.py")


def test_relevant_changes_give_a_new_key(tmp_path: Path) -> None:
    key = _key(tmp_path)
    assert key.parts[:2] == ("work", "sft")
    assert key == _key(tmp_path) == _key(tmp_path, order=True)
    others = [_key(tmp_path, text="other"), _key(tmp_path, code="x = 2"), _key(tmp_path, steps=3)]
    assert len({key, *others}) == 4


def test_the_listing_of_the_stage_changes_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A custom verifier is not imported; only the listing names it."""
    monkeypatch.chdir(tmp_path)
    key = _key(tmp_path)
    Path("data/code").mkdir(parents=True)
    Path("data/code/sft").write_text("5427d20fde942544  my_checks.py\n")
    assert _key(tmp_path) != key


def test_a_missing_input_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        folder("sft", {}, [tmp_path / "missing"], __file__)
