"""Reading the graph from DVC."""

import sys
from pathlib import Path

import pytest

from flows.graph import GraphError, changed, edges, environment, of_phase, read_graph
from tests.flows.toy import GRAPH, PARAMS, dvc, names_of

DOT = """strict digraph {
"start";
"part@a";
"join";
"data/raw/x.jsonl.dvc";
"start" -> "part@a";
"part@a" -> "join";
"data/raw/x.jsonl.dvc" -> "join";
}
"""


TOY = """strict digraph {
"start";
"part@a";
"start" -> "part@a";
}
"""


@pytest.fixture
def toy_with_fixed_graph(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy project with a fixed answer of DVC."""
    monkeypatch.chdir(toy)
    monkeypatch.setattr("flows.graph.ask", lambda *_: TOY)
    return toy


@pytest.fixture
def project(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(toy)
    return toy


def test_edges() -> None:
    assert edges(DOT) == {
        "data/raw/x.jsonl.dvc": (),
        "join": ("data/raw/x.jsonl.dvc", "part@a"),
        "part@a": ("start",),
        "start": (),
    }


def test_unknown_dot_syntax_is_refused() -> None:
    with pytest.raises(GraphError, match="neither a node nor an edge"):
        edges(DOT.replace('"join";', "join [shape=box];"))


def test_the_graph_has_every_item_after_what_it_reads(project: Path) -> None:
    stages = {stage.name: stage for stage in read_graph()}
    assert set(stages) == {"start", "part@a", "part@b", "apart", "join", "report"}
    names = list(stages)
    for stage in stages.values():
        assert all(names.index(name) < names.index(stage.name) for name in stage.upstream)
    assert sorted(names_of(of_phase(stages.values(), "rewards"))) == ["apart", "part@a", "part@b"]
    assert stages["join"].upstream == ("part@a", "part@b")
    assert (stages["part@a"].meta.gpu, stages["part@a"].meta.timeout) == (True, 60.0)


def test_budgets_of_one_item_and_of_all_items(toy_with_fixed_graph: Path) -> None:
    assert [stage.budget for stage in read_graph()] == [None, 0.01]
    (toy_with_fixed_graph / "params.yaml").write_text(
        PARAMS.replace("part@a: 0.01", "part: 9, start: 5")
    )
    assert [stage.budget for stage in read_graph()] == [5.0, 9.0]


def test_a_tracked_source_belongs_to_ingestion(project: Path) -> None:
    (project / "rows.txt").write_text("rows")
    dvc(project, "add", "--quiet", "rows.txt")
    (project / "dvc.yaml").write_text(
        GRAPH.replace("deps: [part.py, start.txt]", "deps: [part.py, start.txt, rows.txt]")
    )
    stages = {stage.name: stage for stage in read_graph()}
    assert stages["rows.txt.dvc"].meta.phase == "ingestion"
    assert "rows.txt.dvc" in stages["part@b"].upstream


def test_a_phase_that_reads_from_a_later_one_is_refused(toy_with_fixed_graph: Path) -> None:
    (toy_with_fixed_graph / "dvc.yaml").write_text(
        GRAPH.replace("meta: {phase: ingestion}", "meta: {phase: policies}")
    )
    with pytest.raises(GraphError, match=r"depends on start \(phase policies\), which runs later"):
        read_graph()


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        (
            "{phase: ingestion, retires: 1}",
            "stages.start.meta.retires is an unknown key; did you mean retries",
        ),
        ("{phase: ingest}", "stages.start.meta.phase"),
        ("{}", "stages.start.meta.phase is missing"),
        ("{phase: ingestion, timeout: 0}", "stages.start.meta.timeout"),
    ],
)
def test_invalid_meta_is_refused(toy_with_fixed_graph: Path, meta: str, message: str) -> None:
    (toy_with_fixed_graph / "dvc.yaml").write_text(
        GRAPH.replace("meta: {phase: ingestion}", f"meta: {meta}")
    )
    with pytest.raises(GraphError, match=message):
        read_graph()


def test_an_invalid_dvc_yaml_shows_the_error_of_dvc(project: Path) -> None:
    (project / "dvc.yaml").write_text(GRAPH.replace("outs: [start.txt]", "outputs: [start.txt]"))
    with pytest.raises(
        GraphError,
        match=r"(?s)dvc dag --dot` failed in .*extra keys not allowed, in stages -> start",
    ):
        read_graph()


def test_check_explains_a_missing_value_before_dvc_does(project: Path) -> None:
    """DVC fails because `${item.path}` is missing; the user reads the sentence of `check`."""
    (project / "dvc.yaml").write_text(
        "stages: {read: {foreach: '${sources}', do: {cmd: '${item.path}'}}}"
    )
    (project / "params.yaml").write_text("sources: {mine: {format: trl}}")
    with pytest.raises(
        GraphError, match=r"is invalid:\n(?s:.*)sources\.mine\.path is missing; add it"
    ):
        read_graph()


def test_changed_stages_and_their_downstream_stages(project: Path) -> None:
    dvc(project, "repro", "--quiet")
    stages = read_graph()
    assert changed(stages) == set()
    (project / "params.yaml").write_text(PARAMS.replace("b: {seconds: 1.0", "b: {seconds: 0.5"))
    assert changed(stages) == {"part@b", "join", "report"}


def test_this_python_is_first_on_the_path() -> None:
    assert environment()["PATH"].startswith(str(Path(sys.executable).parent))
