"""The format hub: a local folder read through `datasets` offline, and checks of its YAML file."""

import json
from pathlib import Path
from typing import Any

import pytest

from concord.annotations import hub, reader
from concord.annotations.formats import mrbench, trl
from concord.annotations.record import Record
from concord.stage.errors import DataError, ParamsError, UnreachableError

ROWS: list[dict[str, Any]] = [
    {"prompt": "Name a colour.", "chosen": "Red.", "rejected": "No."},
    {"prompt": "Name a number.", "chosen": "3", "rejected": None},
]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the effect of HF_HUB_OFFLINE=1, which the libraries read only when imported."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A local folder with a data set."""
    folder = tmp_path / "stored"
    folder.mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "train.jsonl").write_text(lines, encoding="utf-8")
    return folder


def spec(folder: Path, **keys: Any) -> Path:
    path = folder / "pairs.yaml"
    path.write_text(json.dumps(keys), encoding="utf-8")  # JSON is YAML
    return path


def read(path: Path, **options: Any) -> list[Record]:
    return list(reader.read("hub", path, {"objective": "helpful", **options}, {}))


def test_rows_are_read_by_the_named_format(tmp_path: Path, stored: Path) -> None:
    first, second = read(spec(tmp_path, dataset=str(stored), split="train", format="trl"))
    assert first.row is not None
    assert first.row["messages"] == [{"role": "user", "content": "Name a colour."}]
    assert (first.row["a"], first.row["b"], first.row["objective"]) == ("Red.", "No.", "helpful")
    assert (first.line, second.line) == (1, 2)
    assert json.loads(second.raw) == ROWS[1]
    assert second.rejection is not None
    assert (second.rejection.reason, second.rejection.column) == ("missing_key", "rejected")


def test_parquet_is_read_like_json(tmp_path: Path, stored: Path) -> None:
    import pandas as pd

    written = spec(tmp_path, dataset=str(stored), split="train", format="trl")
    lines = [record.row for record in read(written)]
    (stored / "train.jsonl").unlink()
    pd.DataFrame(ROWS).to_parquet(stored / "train.parquet")
    assert [record.row for record in read(written)] == lines


def test_options_are_checked_by_the_named_format(tmp_path: Path, stored: Path) -> None:
    written = spec(tmp_path, dataset=str(stored), split="train", format="trl")
    with pytest.raises(
        ParamsError, match=r"options\.objektive is an unknown key; did you mean objective\?"
    ):
        read(written, objektive="helpful")
    assert reader.options_of("hub", written) is trl.Options
    assert reader.options_of("mrbench", tmp_path) is mrbench.Options


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"split": None}, r"pairs\.yaml\.split: input should be a valid string"),
        ({"splits": "train"}, "splits is an unknown key; did you mean split"),
        ({"format": "tlr"}, "format is 'tlr'; did you mean trl"),
        ({"format": "hub"}, "format is 'hub'; .*allowed: alpaca, argilla, bridge"),
        (
            {"dataset": "nowhere"},
            "dataset is 'nowhere', which is not a local folder; give a folder, or owner/name",
        ),
        (
            {"dataset": "nobody/nothing"},
            "revision is None, but data sets on the Hub can change; give a commit",
        ),
        (
            {"dataset": "nobody/nothing", "revision": "main"},
            "revision is 'main', but data sets on the Hub can change",
        ),
        ({"revision": COMMIT}, "is a local folder; remove revision"),
    ],
)
def test_invalid_specifications_raise(
    tmp_path: Path, stored: Path, changed: dict[str, Any], message: str
) -> None:
    keys = {"dataset": str(stored), "split": "train", "format": "trl", **changed}
    with pytest.raises(ParamsError, match=message):
        read(spec(tmp_path, **keys))


def test_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pairs\.yaml does not exist"):
        read(tmp_path / "pairs.yaml")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"split": "test"}, "Bad split: test"),
        ({"name": "other"}, "BuilderConfig 'other' not found"),
    ],
)
def test_unavailable_data_set_raises(
    tmp_path: Path, stored: Path, changed: dict[str, Any], message: str
) -> None:
    keys = {"dataset": str(stored), "split": "train", "format": "trl", **changed}
    with pytest.raises(
        DataError, match=rf"cannot be read: .*{message}.*; correct dataset, name, split or revision"
    ):
        read(spec(tmp_path, **keys))


@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_that_does_not_answer_is_a_temporary_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    import datasets  # type: ignore[import-untyped]

    def load_dataset(*_: Any, **__: Any) -> Any:
        reason = "OfflineModeIsEnabled" if offline else "ConnectError"
        raise ConnectionError(f"Couldn't reach 'nobody/nothing' on the Hub ({reason})")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    keys = {"dataset": "nobody/nothing", "split": "train", "format": "trl", "revision": COMMIT}
    with pytest.raises(DataError if offline else UnreachableError, match="Couldn't reach"):
        read(spec(tmp_path, **keys))


def test_invalid_files_raise(tmp_path: Path, stored: Path) -> None:
    (stored / "train.jsonl").write_text('{"prompt": "x"}\n{"prompt"\n', encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read: JSON parse error"):
        read(spec(tmp_path, dataset=str(stored), split="train", format="trl"))


def test_specification_is_checked_offline(tmp_path: Path) -> None:
    written = spec(
        tmp_path, dataset="nvidia/HelpSteer2", split="train", format="helpsteer", revision=COMMIT
    )
    assert hub.read_spec(written, reader.object_formats()).revision == COMMIT
