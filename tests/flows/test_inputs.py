"""What a scheduled run takes from the watched folders."""

from pathlib import Path

import pytest

from concord.annotations.watched import RetrainParams
from flows.inputs import Hashes, InputError, watched_files


def test_a_link_out_of_the_watched_folder_is_refused(tmp_path: Path) -> None:
    watched = tmp_path / "watched"
    watched.mkdir()
    params = RetrainParams(watch={"feedback": "watched"}, settle_seconds=0)
    (watched / "one.jsonl").write_text("{}\n")
    (watched / "same.jsonl").symlink_to("one.jsonl")
    names = [Path(file.path).name for file in watched_files(tmp_path, params, Hashes({}))]
    assert names == ["one.jsonl", "same.jsonl"]
    (tmp_path / "secret.jsonl").write_text("{}\n")
    (watched / "other.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(InputError, match=r"other\.jsonl is a link to .*secret\.jsonl, outside"):
        list(watched_files(tmp_path, params, Hashes({})))
