"""Ingestion: a source becomes valid tables and a quarantine; an invalid source writes nothing."""

import dataclasses
import gc
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from concord.annotations import chunks, reader
from concord.annotations.schemas import SCHEMAS
from concord.stage import outputs, plugins
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import section
from tasks import ingest
from tasks.ingest import IngestParams, Source, main, run

HALF = IngestParams(0.5)


def _rating(response: str, rating: Any = 4, **changed: Any) -> str:
    row = {
        "kind": "rating",
        "group_id": "g",
        "messages": [{"role": "user", "content": "q"}],
        "objective": "helpful",
    }
    judged = {"response": response, "rating": rating, "scale": [1, 5], "annotator": "x"}
    return json.dumps({**row, **judged, **changed})


def _run(
    folder: Path, content: str | bytes, params: IngestParams = HALF, **source: Any
) -> dict[str, Any]:
    path = folder / "source.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return run("mine", Source("concord", str(path), **source), params, folder / "out")


def test_kept_rows_record_their_origin(tmp_path: Path) -> None:
    report = _run(tmp_path, "\n".join([_rating("a"), "", _rating("b")]))
    assert report == {
        "rows": {"found": 2, "kept": 2, "quarantined": {}, "left_out": {}},
        "read": 2,
        "kept": 2,
        "quarantined": 0,
        "by_reason": {},
        "by_table": {"prompts": 0, "demonstrations": 0, "comparisons": 0, "ratings": 2, "steps": 0},
        "removed": {},
        "unused_columns": [],
        "unread_files": [],
    }
    ratings = outputs.read_table(tmp_path / "out" / "ratings.parquet")
    assert ratings[["source", "source_line", "group_id", "rating"]].values.tolist() == [
        ["mine", 1, "g", 0.75],
        ["mine", 3, "g", 0.75],
    ]
    names = {file.stem for file in (tmp_path / "out").glob("*.parquet")}
    assert names == {*SCHEMAS, "quarantine"}
    assert outputs.read_json(tmp_path / "out" / "report.json") == report


def test_invalid_rows_are_quarantined_with_line_column_and_reason(tmp_path: Path) -> None:
    lines = [
        _rating("a"),
        _rating("b", 9),
        _rating(" "),
        _rating("c", group_id=None),
        _rating("d"),
        _rating("e"),
    ]
    report = _run(
        tmp_path, "\n".join([*lines, _rating("f")[:40]]).encode() + b"\n\xff\n", IngestParams(0.7)
    )
    assert (report["read"], report["kept"], report["quarantined"]) == (8, 3, 5)
    quarantine = outputs.read_table(tmp_path / "out" / "quarantine.parquet")
    assert quarantine[["source_line", "table", "column", "reason"]].values.tolist() == [
        [2, "ratings", "rating", "off_scale"],
        [3, "ratings", "response", "empty_response"],
        [4, "ratings", "group_id", "missing_key"],
        [7, "", "line", "not_json"],
        [8, "", "line", "not_utf8"],
    ]
    assert quarantine["raw"][0] == lines[1]
    assert quarantine["detail"][0] == "9 lies outside 1 to 5"


def test_record_is_kept_or_quarantined_as_a_whole(tmp_path: Path) -> None:
    """One empty answer rejects the whole ranking, which counts once."""
    ranking = {"kind": "ranking", "responses": ["a", " ", ""], "ranks": [1, 2, 3]}
    report = _run(tmp_path, "\n".join([_rating("a"), _rating("", **ranking)]))
    assert (report["by_table"]["ratings"], report["by_reason"]) == (1, {"empty_response": 1})


def test_chunk_size_does_not_change_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the invalid row is rejected, in whichever chunk it is."""
    lines = [_rating(f"answer {number % 40}") for number in range(50)]
    lines[23] = lines[23][:-9]
    results = []
    for chunk in (1, 7, 50, 1000):
        monkeypatch.setattr(chunks, "CHUNK", chunk)
        report = _run(tmp_path, "\n".join(lines))
        assert report["by_reason"] == {"duplicate": 10, "not_json": 1}
        assert (report["read"], report["kept"], report["quarantined"]) == (50, 39, 11)
        tables = [
            outputs.read_table(tmp_path / "out" / f"{name}.parquet")
            for name in ("ratings", "quarantine")
        ]
        results.append([table.to_dict("records") for table in tables])
    assert all(tables == results[0] for tables in results)
    assert [row["source_line"] for row in results[0][1]] == [24, *range(41, 51)]


def test_truncated_row_of_a_large_file_does_not_affect_the_others(tmp_path: Path) -> None:
    """With chunks of 20,000 rows, line 27,001 is in the second of three."""
    lines = [_rating(f"answer {number}") for number in range(1, 50_001)]
    lines[27_000] = lines[27_000][:-30]
    report = _run(tmp_path, "\n".join(lines), IngestParams(0.001))
    assert (report["read"], report["kept"], report["quarantined"]) == (50_000, 49_999, 1)
    quarantine = outputs.read_table(tmp_path / "out" / "quarantine.parquet")
    assert quarantine[["source_line", "column", "reason", "raw"]].values.tolist() == [
        [27_001, "line", "not_json", lines[27_000]]
    ]
    kept = outputs.read_table(tmp_path / "out" / "ratings.parquet")
    assert kept["source_line"].tolist() == [line for line in range(1, 50_001) if line != 27_001]
    assert kept["response"].tolist() == [
        f"answer {line}" for line in range(1, 50_001) if line != 27_001
    ]


def test_duplicates_are_quarantined_but_do_not_count_as_bad(tmp_path: Path) -> None:
    report = _run(tmp_path, "\n".join([_rating("a")] * 9), IngestParams(0.0))
    assert (report["kept"], report["by_reason"]) == (1, {"duplicate": 8})


def test_prompts_of_annotations_become_prompts(tmp_path: Path) -> None:
    other = [{"role": "user", "content": "another"}]
    lines = [
        _rating("a"),
        _rating("b"),
        _rating(" ", messages=other, group_id="h"),
        _rating("c", messages=other),
    ]
    _run(tmp_path, "\n".join(lines), prompts="values")
    prompts = outputs.read_table(tmp_path / "out" / "prompts.parquet")
    assert prompts[["group_id", "domain", "source_line", "reference"]].values.tolist() == [
        ["g", "values", 1, None],
        ["h", "values", 3, None],
    ]


def test_rows_of_a_folder_record_their_file(tmp_path: Path) -> None:
    for name, line in (("b.jsonl", _rating("a", 9)), ("a.jsonl", _rating("b"))):
        (tmp_path / "shards").mkdir(exist_ok=True)
        (tmp_path / "shards" / name).write_text(line)
    run("mine", Source("concord", str(tmp_path / "shards")), HALF, tmp_path / "out")
    assert outputs.read_table(tmp_path / "out" / "ratings.parquet")["source_file"].tolist() == [
        "a.jsonl"
    ]
    assert outputs.read_table(tmp_path / "out" / "quarantine.parquet")["source_file"].tolist() == [
        "b.jsonl"
    ]


def test_columns_are_renamed_before_the_format_reads_them(tmp_path: Path) -> None:
    row = {"q": "Name a colour.", "winner": "Red.", "rejected": "No."}
    (tmp_path / "lines.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    columns, options = {"prompt": "q", "chosen": "winner"}, {"objective": "helpful"}
    source = Source("trl", str(tmp_path / "lines.jsonl"), columns=columns, options=options)
    assert run("mine", source, IngestParams(0.0), tmp_path / "out")["kept"] == 1
    kept = outputs.read_table(tmp_path / "out/comparisons.parquet")
    assert kept[["chosen", "rejected"]].values.tolist() == [["Red.", "No."]]


def test_columns_of_the_interchange_format_are_renamed(tmp_path: Path) -> None:
    line = _rating("a").replace('"response"', '"answer"')
    assert _run(tmp_path, line, columns={"response": "answer"})["kept"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        (
            "kind,response\nrating,a\n",
            r"2 of 2 rows \(100\.0%\)(?s:.*)2  not_json .*first on line 1",
        ),
        ("caf\u00e9\n".encode("latin-1") * 3, r"3 of 3 rows(?s:.*)3  not_utf8 "),
        ('{"question": "q", "answer": "a"}\n', "no row has the key 'kind'.*question, answer"),
        (b"\x1f\x8b\x08\x00", "is gzip"),
    ],
)
def test_invalid_source_raises_and_writes_nothing(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        _run(tmp_path, content)
    assert not (tmp_path / "out").exists()


def test_missing_source_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl does not exist"):
        run("mine", Source("concord", str(tmp_path / "gone.jsonl")), HALF, tmp_path / "out")


def test_quarantine_share_is_limited(tmp_path: Path) -> None:
    lines = "\n".join([_rating("a"), _rating("b"), _rating("c"), _rating("d", 9)])
    assert _run(tmp_path, lines, IngestParams(0.25))["quarantined"] == 1
    with pytest.raises(
        DataError,
        match=r"1 of 4 rows \(25\.0%\) were rejected.* is 0\.2:(?s:.*)off_scale",
    ):
        _run(tmp_path, lines, IngestParams(0.2))


def test_garbage_collection_is_reenabled_after_success_and_failure(tmp_path: Path) -> None:
    _run(tmp_path, _rating("a"))
    assert gc.isenabled()
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(_rating("a").encode())[:-9])
    with pytest.raises(DataError, match="is truncated or not a gzip file"):
        run("mine", Source("concord", str(path)), HALF, tmp_path / "out")
    assert gc.isenabled()


def test_unknown_format_or_option_raises(tmp_path: Path) -> None:
    with pytest.raises(
        ParamsError, match=r"sources\.s: unknown format 'jsonl'; allowed: .*concord"
    ):
        section(Source, {"format": "jsonl", "path": "x"}, "sources.s")
    with pytest.raises(ParamsError, match=r"options\.cap is an unknown key"):
        _run(tmp_path, _rating("a"), options={"cap": 3})


def test_every_format_and_its_options_are_in_the_docs() -> None:
    page = Path("docs/reference/formats.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(reader.format_names())
    for name in sections.keys() - {reader.HUB}:
        options = reader.options_of(name, Path())
        if dataclasses.is_dataclass(options):
            keys = set(re.findall(r"^\| `(\w+)` \|", sections[name], re.MULTILINE))
            assert keys == {field.name for field in dataclasses.fields(options)}, name


@pytest.mark.parametrize("name", sorted({*reader.format_names()} - {reader.HUB}))
def test_docstring_of_a_format_lists_its_options(name: str) -> None:
    module = plugins.load("concord.annotations.formats", name, "sources")
    paragraphs = (module.__doc__ or "").split("\n\n")
    options = [text for text in paragraphs if text.startswith("Options:\n")]
    heads = re.findall(r"^- ([^:]*):", "\n".join(options), re.MULTILINE)
    listed = {option for head in heads for option in re.findall(r"`(\w+)`", head)}
    assert listed == {field.name for field in dataclasses.fields(module.Options)}


def test_command_reads_params_and_writes_to_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text(_rating("a"))
    (tmp_path / "params.yaml").write_text(
        "sources: {mine: {format: concord, path: rows.jsonl}}\ningest: {max_quarantine_share: 0}\n"
    )
    main("mine")
    assert outputs.read_json("data/ingested/mine/report.json")["kept"] == 1
    with pytest.raises(
        ParamsError, match=r"sources\.mien is not in params\.yaml; did you mean mine\?"
    ):
        main("mien")


PAIR = {"prompt": "Hi.", "chosen": "Hello!", "rejected": "No."}
TRL = {"objective": "helpful"}


def _write(folder: Path, rows: list[dict[str, Any]]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def _counts(report: dict[str, Any]) -> list[int]:
    """Rows found, kept, quarantined and left out."""
    rows = report["rows"]
    sums = [sum(rows[key].values()) for key in ("quarantined", "left_out")]
    assert rows["found"] == rows["kept"] + sum(sums)
    return [rows["found"], rows["kept"], *sums]


def test_every_row_is_kept_quarantined_or_left_out(tmp_path: Path) -> None:
    rows = [
        *({**PAIR, "prompt": f"Hi {n}."} for n in range(5)),
        {**PAIR, "prompt": "Hi 0."},
        {**PAIR, "score_chosen": 1, "score_rejected": 1},
        {**PAIR, "chosen": ""},
        {"prompt": "Hi.", "chosen": 7},
    ]
    source = Source("trl", _write(tmp_path, rows), options=TRL)
    report = run("mine", source, HALF, tmp_path / "out")
    assert _counts(report) == [9, 5, 2, 2]
    assert report["rows"]["left_out"] == {"duplicate": 1, "tie": 1}
    assert report["rows"]["quarantined"] == {"empty_response": 1, "wrong_type": 1}


def test_rows_with_several_annotations_count_once(tmp_path: Path) -> None:
    """A row is kept if any of its annotations is; rows without annotations are left out."""
    row = {"prompt": "Why?", "response": "So.", "helpfulness": 3, "correctness": 2, "coherence": 4}
    rows = [
        {**row, "complexity": 1, "verbosity": None},
        {**row, "prompt": "How?", "helpfulness": 9, "correctness": 9, "coherence": 9},
        {"prompt": "Who?", "response": "I.", "feedback": ["Good."]},
    ]
    options = {"objectives": {"helpful": "helpfulness", "right": "correctness"}}
    source = Source("helpsteer", _write(tmp_path, rows), options=options)
    report = run("mine", source, IngestParams(1.0), tmp_path / "out")
    assert _counts(report) == [3, 1, 1, 1]
    assert (report["read"], report["kept"]) == (5, 2)


def test_rows_that_an_option_leaves_out_are_counted(tmp_path: Path) -> None:
    for name, key, guide in (
        ("test.jsonl", "answer", ""),
        ("test_socratic.jsonl", "answer", "How? ** "),
        ("example_model_solutions.jsonl", "ground_truth", ""),
    ):
        rows = [{"question": f"{n} + 1?", key: f"{guide}{n}\n#### {n}"} for n in range(9)]
        _write(tmp_path / "gsm8k", rows)
        (tmp_path / "gsm8k" / "rows.jsonl").rename(tmp_path / "gsm8k" / name)
    source = Source("gsm8k", str(tmp_path / "gsm8k"), options={"problems": 4})
    report = run("mine", source, IngestParams(1.0), tmp_path / "out")
    found, kept, quarantined, left_out = _counts(report)
    assert (found, quarantined) == (27, 0)
    assert kept == sum(report["by_table"].values())
    assert report["rows"]["left_out"] == {"no_annotation": left_out}


def test_elements_on_one_line_are_different_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    pairs = [{**PAIR, "prompt": f"Hi {n}."} for n in range(6)]
    path.write_text(json.dumps(pairs) + json.dumps([{**PAIR, "chosen": 1}]))
    report = run("mine", Source("trl", str(path), options=TRL), HALF, tmp_path / "out")
    assert _counts(report) == [7, 6, 1, 0]


def test_second_count_must_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that loses a row fails the stage."""
    from concord.annotations import files

    def lossy(path: Path, file: str = "") -> Any:
        return list(files.json_lines(path, file))[1:]

    path = _write(tmp_path, [{**PAIR, "prompt": f"Hi {n}."} for n in range(4)])
    monkeypatch.setattr(files, "LINES", files.LINES._replace(records=lossy))
    with pytest.raises(DataError, match="3 rows were read, but a second count finds 4"):
        run("mine", Source("trl", path, options=TRL), HALF, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unused_columns_and_files_are_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = {"better": "Hello!", "images": None, "id": 3, "chosen": "old"}
    rows = [{**PAIR, **extra, "prompt": f"Hi {n}.", "tools": ["x"]} for n in range(3)]
    _write(tmp_path / "data", [*rows, {**rows[0], "better": "Hi!<|im_end|>"}])
    (tmp_path / "data" / "._rows.jsonl").write_text("x")
    columns, options = {"chosen": "better"}, {**TRL, "ignore": ["tools"]}
    source = {"format": "trl", "path": "data", "columns": columns, "options": options}
    (tmp_path / "params.yaml").write_text(
        json.dumps({"sources": {"mine": source}, "ingest": {"max_quarantine_share": 0.0}})
    )
    monkeypatch.chdir(tmp_path)
    main("mine")
    assert capsys.readouterr().out.splitlines() == [
        "mine: 4 rows found = 4 kept + 0 quarantined + 0 left out",
        "  kept as: comparisons 4",
        "  removed: end token of a template 1",
        "  columns not used: chosen, id, tools",
        "  files not read: ._rows.jsonl",
    ]


@pytest.mark.parametrize("late", [0, 150, 3000])
def test_column_that_no_row_has_is_refused_before_the_rows_are_processed(
    tmp_path: Path, late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[dict[str, Any]] = [{**PAIR, "winner": "Yes."} for _ in range(late + 1)]
    path = _write(tmp_path, [*rows, {**PAIR, "winner": "Yes.", "gap": 2}])
    columns = {"chosen": "winner", "margin": "gap"}
    run("mine", Source("trl", path, columns=columns, options=TRL), HALF, tmp_path / "out")
    monkeypatch.setattr(ingest, "read_source", None)
    with pytest.raises(DataError, match=r"columns\.margin: no row has .*'gpa'; did you mean gap"):
        run(
            "mine",
            Source("trl", path, columns={**columns, "margin": "gpa"}, options=TRL),
            HALF,
            tmp_path / "out",
        )


def test_key_that_no_row_has_is_refused_with_the_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompts": "Hi.", "chosen": "Hello!", "rejected": f"No {n}."} for n in range(300)]
    source = Source("table", "", options={"kind": "comparison", "prompt": "prompt"})
    monkeypatch.setattr(ingest, "read_source", None)
    path = _write(tmp_path, rows)
    with pytest.raises(
        DataError,
        match=r"no row has the key 'prompt'.*mean prompts\? The columns are: prompts, chosen",
    ):
        run("mine", dataclasses.replace(source, path=path), HALF, tmp_path / "out")


def test_key_that_only_late_rows_have_is_not_refused(tmp_path: Path) -> None:
    rows = [{"prompt": "Hi.", "winner": "x"}] * 101
    path = _write(tmp_path, [*rows, PAIR])
    report = run("mine", Source("trl", path, options=TRL), IngestParams(1.0), tmp_path / "out")
    assert _counts(report) == [102, 1, 101, 0]
