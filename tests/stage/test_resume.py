"""The key of a checkpoint folder: which changes give a new key."""

from pathlib import Path

import pytest

from concord.lm.train import Training
from concord.stage.errors import DataError
from concord.stage.resume import COMPLETE, folder, mark_complete, newest

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


def checkpoint(work: Path, step: int) -> Path:
    """A complete checkpoint with two files."""
    made = work / f"checkpoint-{step}"
    made.mkdir()
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "optimizer.pt").write_bytes(b"moments")
    mark_complete(work, step)
    return made


def test_a_checkpoint_that_a_power_cut_truncated_is_ignored(tmp_path: Path) -> None:
    older, newer = checkpoint(tmp_path, 2), checkpoint(tmp_path, 10)
    assert newest(tmp_path) == newer
    (newer / "rng_state_1.pth").write_bytes(b"of another process, which wrote it later")
    assert newest(tmp_path) == newer
    (newer / "model.safetensors").write_bytes(b"weig")
    assert newest(tmp_path) == older
    (older / COMPLETE).write_bytes(b"")
    assert newest(tmp_path) is None


def test_the_files_of_a_checkpoint_are_on_the_disk_before_its_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut keeps what was synchronised; the marker must not be there without the rest."""
    marked = []
    monkeypatch.setattr(
        "os.fsync", lambda _: marked.append((tmp_path / f"checkpoint-1/{COMPLETE}").exists())
    )
    checkpoint(tmp_path, 1)
    assert marked == [False, False, False]
