"""The format mrbench."""

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations import interchange
from concord.annotations.dialogues import SYSTEM
from concord.annotations.filetypes.json_values import json_array
from concord.annotations.formats import mrbench
from concord.annotations.record import Record, RowError
from concord.stage.errors import DataError, ParamsError

GRADES = {
    "Mistake_Identification": "Yes",
    "Mistake_Location": "To some extent",
    "Revealing_of_the_Answer": "Yes (but the answer is incorrect)",
    "Providing_Guidance": "To some extent",
    "Actionability": "No",
    "Coherence": "Yes",
    "Tutor_Tone": "Neutral",
    "humanlikeness": "Yes",
}


def entry(
    name: str, history: str = "Tutor: What is 2+3?\xa0\n\xa0Student: It is 6.", **grades: str
) -> dict[str, Any]:
    replies = {
        "Expert": {"response": "Count again, \xa0slowly. ", "annotation": {**GRADES, **grades}},
        "Robot": {
            "response": "It is 5.",
            "annotation": {**GRADES, "Revealing_of_the_Answer": "No"},
        },
    }
    return {
        "conversation_id": name,
        "conversation_history": history,
        "Data": "x",
        "anno_llm_responses": replies,
    }


def write(folder: Path, *entries: Any) -> Path:
    path = folder / "replies.json"
    path.write_text(json.dumps(list(entries), indent=1), encoding="utf-8")
    return path


def kept(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [record.row for record in mrbench.read(path, options) if record.row is not None]


def test_reply_becomes_rating_per_objective(tmp_path: Path) -> None:
    rows = kept(write(tmp_path, entry("a")), objectives=list(mrbench.DIMENSIONS))
    given = {
        row["objective"]: (row["rating"], row["scale"])
        for row in rows
        if row.get("author") == "Expert"
    }
    assert given == {
        "mistake_identified": (2, [0, 2]),
        "mistake_located": (1, [0, 2]),
        "not_revealing": (0, [0, 1]),
        "guidance": (1, [0, 2]),
        "actionable": (0, [0, 2]),
        "coherent": (2, [0, 2]),
        "tone": (1, [0, 2]),
        "human_like": (2, [0, 2]),
    }
    assert {row["response"] for row in rows if row["kind"] == "rating"} == {
        "Count again, slowly.",
        "It is 5.",
    }


def test_annotations_are_valid(tmp_path: Path) -> None:
    rows = kept(write(tmp_path, entry("a"), entry("b")), demonstrations=["Expert"])
    converted = [row for record in rows for row in interchange.rows(record)]
    assert Counter(row["kind"] for row in rows) == {"rating": 8, "prompt": 2, "demonstration": 2}
    assert {row["rating"] for row in converted if row.get("objective") == "guidance"} == {0.5}
    assert {row["group_id"] for row in converted} == {"a", "b"}


def test_repeated_id_makes_one_prompt(tmp_path: Path) -> None:
    rows = kept(write(tmp_path, entry("a"), entry("a")))
    assert Counter(row["kind"] for row in rows) == {"rating": 8, "prompt": 1}


def test_turns_start_with_the_student() -> None:
    history = (
        "Tutor: Hello.\nTutor: What is 2+3?\n \xa0Student: It is\n\n 6.\n Tutor: Sure?\n"
        "Student : Yes: 6."
    )
    assert mrbench.messages(history) == [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "You asked: Hello.\nWhat is 2+3?\n\nIt is\n6."},
        {"role": "assistant", "content": "Sure?"},
        {"role": "user", "content": "Yes: 6."},
    ]
    assert mrbench.messages("Student: 6.")[1] == {"role": "user", "content": "6."}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Tutor", "Student"]), st.text("ab 3?", min_size=1).filter(str.strip)
        )
    )
)
def test_turns_alternate_and_keep_every_word(
    turns: list[tuple[str, str]],
) -> None:
    converted = mrbench.messages("\n".join(f"{speaker}: {said}" for speaker, said in turns))
    roles = [turn["role"] for turn in converted]
    assert roles[0] == "system"
    assert all(one != other for one, other in itertools.pairwise(roles))
    assert roles[1:2] in ([], ["user"]) or roles == ["system", "assistant"]
    words = " ".join(turn["content"] for turn in converted[1:]).replace("You asked:", "").split()
    assert words == [word for _, said in turns for word in said.split()]


def test_dialogue_that_ends_with_the_tutor_is_rejected(tmp_path: Path) -> None:
    rows = kept(write(tmp_path, entry("a", "Student: It is 6.\nTutor: Hm.")))
    with pytest.raises(RowError, match="roles_do_not_alternate"):
        interchange.rows(rows[0])


def test_source_line_is_the_first_line_of_the_entry(tmp_path: Path) -> None:
    path = write(tmp_path, entry("a"), entry("b"))
    lines = path.read_text(encoding="utf-8").splitlines()
    begins = [number for number, text in enumerate(lines, start=1) if text == " {"]
    assert [record.line for record in json_array(path)] == begins


def rejections(path: Path) -> list[tuple[int, str, str]]:
    bad = [record for record in mrbench.read(path, {}) if record.rejection is not None]
    return [
        (record.line, record.rejection.reason, record.rejection.column)
        for record in bad
        if record.rejection
    ]


def test_invalid_entries_are_rejected_and_others_kept(tmp_path: Path) -> None:
    strange = entry("c", Providing_Guidance="Perhaps")
    strange["anno_llm_responses"]["Robot"] = "It is 5."
    path = write(tmp_path, entry("a"), 3, {"conversation_id": "b"}, strange)
    lines = path.read_text(encoding="utf-8").splitlines()
    number, last = lines.index(" 3,") + 1, lines.index('  "conversation_id": "c",')
    assert rejections(path) == [
        (number, "wrong_type", "entry"),
        (number + 1, "missing_key", "conversation_history"),
        (last, "off_scale", "Providing_Guidance"),
        (last, "wrong_type", "Robot"),
    ]
    assert len(kept(path)) == 5 + 1 + 1


@pytest.mark.parametrize("cut", [1, 30, 400])
def test_a_truncated_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path, entry("a"), entry("b"))
    path.write_text(path.read_text(encoding="utf-8")[:-cut], encoding="utf-8")
    with pytest.raises(DataError, match="is broken or cut off"):
        list(mrbench.read(path, {}))


def test_invalid_files_raise(tmp_path: Path) -> None:
    path = tmp_path / "replies.json"
    with pytest.raises(DataError, match="does not exist"):
        list(mrbench.read(path, {}))
    path.write_text('{"a": 1}', encoding="utf-8")
    assert [reason for _, reason, _ in rejections(path)] == ["missing_key"]
    path.write_bytes(b'[\n"\xe9"]')
    with pytest.raises(DataError, match=r"is not UTF-8 \(line 2\)"):
        list(mrbench.read(path, {}))


def test_options(tmp_path: Path) -> None:
    path = write(tmp_path, *(entry(name) for name in "abc"))
    assert len({row["group_id"] for row in kept(path, dialogues=2)}) == 2
    with pytest.raises(ParamsError, match="contains \\['kindness'\\]; allowed: mistake_identified"):
        list(mrbench.read(path, {"objectives": ["kindness"]}))


def test_real_data(public_data: Callable[[str], Path]) -> None:
    """1,655 replies to 195 dialogues. Six dialogues end with the tutor and are rejected later."""
    records: list[Record] = list(mrbench.read(public_data("mrbench/MRBench_V2.json"), {}))
    assert Counter((record.row or {}).get("objective", "prompt") for record in records) == {
        "guidance": 1655,
        "not_revealing": 1655,
        "prompt": 195,
    }
