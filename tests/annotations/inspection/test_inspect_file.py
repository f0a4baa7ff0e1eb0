"""`concord inspect`: it names the format, says what a file gives, and prints blocks that work."""

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from concord.annotations.inspection import inspect_file, inspection_page
from concord.annotations.inspection.blocks import as_yaml, recipe_blocks, source_name
from concord.annotations.inspection.inspect_file import inspect, ways
from concord.annotations.inspection.survey import survey
from concord.objectives import Objective
from concord.prepared import dedupe
from concord.stage.errors import ConcordError, DataError, ParamsError
from concord.stage.outputs import read_table
from concord.stage.params import mapping_of, section
from tasks.check import MAPPINGS
from tasks.ingest import IngestParams, Source, run
from tests.annotations.fixtures import FILES, FIXTURES, Fixture
from tests.annotations.formats import test_gsm8k, test_truthfulqa

PAIRS = [
    {"prompt": f"Name colour {number}.", "chosen": f"Red {number}.", "rejected": "No."}
    for number in range(4)
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def blocks_of(text: str) -> dict[str, Any]:
    """The blocks at the end of the text, as a recipe would read them."""
    lines = text.split("sources:\n", 1)[1]
    lines = lines.split("\n\nThese rows")[0]
    loaded: dict[str, Any] = YAML(typ="safe").load(f"sources:\n{lines}")
    return loaded


@pytest.mark.parametrize(
    "fixture", FIXTURES, ids=lambda given: f"{given.format}-{'-'.join(given.row)[:40]}"
)
def test_format_of_every_fixture_is_named(tmp_path: Path, fixture: Fixture) -> None:
    path = write(tmp_path / "rows.jsonl", fixture.rows())
    assert ways(path, "", {})[0].format == fixture.format


@pytest.mark.parametrize("name", sorted(FILES))
def test_format_that_reads_its_own_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "entries.json").write_text(json.dumps(FILES[name]), encoding="utf-8")
    for path in (tmp_path / "entries.json", tmp_path):
        text = inspect(path)
        assert f"entries.json: format `{name}`, {len(FILES[name])} rows" in text
    (tmp_path / "others.json").write_text(json.dumps(FILES[name]), encoding="utf-8")
    with pytest.raises(DataError, match="reads one file; inspect one of entries"):
        inspect(tmp_path)


def test_folders_of_related_files_are_named(tmp_path: Path) -> None:
    test_truthfulqa.write(
        tmp_path, [("Is it?", "Yes.", "yes", "yes"), ("Is it?", "No.", "no", "no")]
    )
    assert ways(tmp_path, "", {})[0].format == "truthfulqa"
    text = inspect(tmp_path / "finetune_truth.jsonl")
    assert f"its folder is in the format `truthfulqa`; see `concord inspect {tmp_path}`" in text


def test_gsm8k_is_named(tmp_path: Path) -> None:
    for name in ("test.jsonl", "test_socratic.jsonl"):
        test_gsm8k.write(tmp_path / name, [{"question": "2+3?", "answer": "5\n#### 5"}])
    graded = {"question": "2+3?", "ground_truth": "5", "m": {"is_correct": True, "solution": "5"}}
    test_gsm8k.write(tmp_path / "example_model_solutions.jsonl", [graded])
    text = inspect(tmp_path)
    assert "format `gsm8k`" in text
    assert blocks_of(text)["objectives"]["math_accuracy"]["verifier"] == "math_answer"


def test_specifications_are_named(tmp_path: Path) -> None:
    (tmp_path / "hub.yaml").write_text("dataset: x/y\n", encoding="utf-8")
    (tmp_path / "world.yaml").write_text("world: dev\n", encoding="utf-8")
    assert inspect_file.special_format(tmp_path / "hub.yaml") == "hub"
    assert inspect_file.special_format(tmp_path / "world.yaml") == "sandbox"


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_blocks_are_valid_and_ingest_reads_what_inspect_says(tmp_path: Path, ending: str) -> None:
    rows = [*PAIRS, {**PAIRS[0], "prompt": "Name it.", "rejected": PAIRS[0]["chosen"]}]
    path = write(tmp_path / f"My pairs-1.{ending}", rows)
    text = inspect(path)
    blocks = blocks_of(text)
    sources = mapping_of(Source, blocks, "sources")
    assert set(mapping_of(Objective, blocks, "objectives")) == {"overall"}
    assert set(sources) == {"my_pairs_1"}
    for key, entries in blocks.items():
        for name, entry in entries.items():
            section(MAPPINGS[key], entry, f"{key}.{name}")
    report = run("mine", sources["my_pairs_1"], IngestParams(1.0), tmp_path / "out")
    assert report["rows"]["kept"] == 4
    assert "4 kept, 1 quarantined (20.0%), 0 left out" in text
    assert "identical_responses" in text
    assert "4  comparison    overall" in text


@pytest.mark.parametrize("fixture", FIXTURES[::2], ids=lambda given: given.format)
def test_blocks_of_every_fixture_are_valid(tmp_path: Path, fixture: Fixture) -> None:
    path = write(tmp_path / "rows.jsonl", fixture.rows(1))
    way = ways(path, "", {})[0]
    result = survey(path, way)
    blocks = YAML(typ="safe").load(as_yaml(recipe_blocks(path, way, result)))
    source = section(Source, blocks["sources"]["rows"], "sources.rows")
    assert list(mapping_of(Source, blocks, "sources")) == ["rows"]
    if result.kept:
        report = run("rows", source, IngestParams(1.0), tmp_path / "out")
        assert report["kept"] == result.kept
    text = inspection_page.page(path, [way], result).replace(str(path), path.name)
    assert max(map(len, text.split("sources:")[0].splitlines())) <= 110


def test_text_fits_on_a_terminal(tmp_path: Path) -> None:
    long = [
        {**row, "prompt": row["prompt"] + " x" * 500, f"c{number}": 1}
        for row in PAIRS
        for number in range(60)
    ]
    text = inspect(write(tmp_path / "rows.jsonl", long))
    assert len(text.splitlines()) <= 60
    assert max(map(len, text.splitlines())) <= 110


def test_columns_are_listed_as_used_or_not(tmp_path: Path) -> None:
    rows = [{**row, "id": 1, "note": "x"} for row in PAIRS]
    text = inspect(write(tmp_path / "rows.jsonl", rows))
    assert "columns used  prompt, chosen, rejected\n" in text
    assert "not used      id, note\n" in text


def test_keys_with_other_names_are_mapped(tmp_path: Path) -> None:
    rows = [{"question": "Hi?", "winner": "Yes.", "loser": "No.", "worker": "w1", "gap": 2}]
    blocks = blocks_of(inspect(write(tmp_path / "rows.jsonl", rows)))
    entry = blocks["sources"]["rows"]
    assert entry["format"] in ("trl", "table")
    report = run("rows", section(Source, entry, "x"), IngestParams(0.0), tmp_path / "out")
    assert report["by_table"]["comparisons"] == 1
    assert "worker" not in report["unused_columns"]


def test_two_people_who_disagree_are_kept_and_one_who_contradicts_is_not(tmp_path: Path) -> None:
    """The annotators stand in a column with another name, which inspect maps."""
    ways_round = [("one", "two"), ("two", "one")]
    judged = [("Q0?", ["w0", "w1"]), ("Q1?", ["w2", "w2"]), ("Q2?", ["w2", "w1"])]
    rows = [
        {"prompt": prompt, "chosen": chosen, "rejected": rejected, "worker": worker}
        for prompt, workers in judged
        for (chosen, rejected), worker in zip(ways_round, workers, strict=True)
    ]
    entry = blocks_of(inspect(write(tmp_path / "rows.jsonl", rows)))["sources"]["rows"]
    assert entry["columns"] == {"annotator": "worker"}
    run("rows", section(Source, entry, "x"), IngestParams(0.0), tmp_path / "out")
    pairs = read_table(tmp_path / "out/comparisons.parquet")
    bad = pairs[dedupe.contradicting_pairs(pairs)]
    assert bad[["annotator", "source_line"]].values.tolist() == [["w2", 3], ["w2", 4]]


@pytest.mark.parametrize(
    ("row", "kind", "entry"),
    [
        (
            {"question": "Q?", "answer_1": "a", "answer_2": "b", "better": 1},
            "comparison",
            {"values": {"preferred": {"1": "a"}}},
        ),
        ({"question": "Q?", "first": "x", "second": "y", "better": "a"}, "comparison", {}),
        ({"question": "Q?", "answer": "x", "score": 4}, "rating", {"constants": {"scale": [1, 5]}}),
        (
            {"question": "Q?", "answer": "x", "score": "good"},
            "rating",
            {"constants": {"scale": [0, 5]}},
        ),
        (
            {"question": "Q?", "answer": "x", "thumb": "up"},
            "binary",
            {"values": {"label": {"up": 1}}},
        ),
        ({"question": "Q?", "answers": ["x", "y"], "ranks": [1, 2]}, "ranking", {}),
        ({"question": "Q?", "solution_steps": ["x", "y"], "labels": [1, 0]}, "steps", {}),
        ({"question": "Q?", "answer": "x"}, "demonstration", {}),
        ({"question": "Q?", "ground_truth": "5"}, "prompt", {}),
    ],
)
def test_plain_tables_are_guessed(
    tmp_path: Path, row: dict[str, Any], kind: str, entry: dict[str, Any]
) -> None:
    path = write(tmp_path / "rows.jsonl", [row])
    text = inspect(path)
    source = blocks_of(text)["sources"]["rows"]
    assert (source["format"], source["options"]["kind"]) == ("table", kind)
    for key, value in entry.items():
        assert source["options"][key] == value | source["options"][key]
    report = run("rows", section(Source, source, "x"), IngestParams(0.0), tmp_path / "out")
    assert report["rows"]["kept"] == 1


def test_given_format_and_options_are_used(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", PAIRS)
    text = inspect(path, "trl", {"objective": "brief"})
    assert blocks_of(text)["sources"]["rows"]["options"] == {"objective": "brief"}
    with pytest.raises(ParamsError, match="no such format; did you mean trl"):
        inspect(path, "tlr")
    with pytest.raises(ParamsError, match=r"options\.objectiv is an unknown key"):
        inspect(path, "", {"objectiv": "x"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"temperature": 3, "wind": "north"}\n', "no format fits(?s:.*)temperature, wind"),
        ('{"conversation_a": [], "winner": "model_a"}\n', "nearest .*chatbot_arena"),
        ('{"prompt": "x", "chosen": 3, "rejected": 4}\n', "as `trl`:(?s:.*)wrong_type"),
        ("not json\n", "none of its first rows is an object; line 1"),
        ("", "is empty"),
    ],
)
def test_what_cannot_be_read_is_explained(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        inspect(path)


def test_file_without_a_header_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("0,what,5\n1,is,6\n", encoding="utf-8")
    with pytest.raises(ConcordError, match="no header, add one"):
        inspect(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        inspect(tmp_path / "gone.jsonl")


def test_other_formats_that_fit_are_named(tmp_path: Path) -> None:
    start = "\n\nHuman: Hi.\n\nAssistant: "
    path = write(tmp_path / "rows.jsonl", [{"chosen": f"{start}Hello!", "rejected": f"{start}No."}])
    text = inspect(path)
    assert "format `hh_rlhf`" in text
    assert "also possible  --format trl (fewer of its keys are there)" in text
    assert "format `trl`, 1 row" in inspect(path, "trl")


def test_names_of_sources() -> None:
    assert source_name(Path("2 old pairs.jsonl.gz")) == "source_2_old_pairs"
