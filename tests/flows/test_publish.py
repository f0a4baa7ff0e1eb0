"""What a run shows in the UI: the verdict, the weights, links, and the picture of the front."""

import base64
from pathlib import Path
from typing import Any

import pytest

from flows import publish
from flows.graph import Meta, Stage
from flows.stage import Outcome

GATE: dict[str, Any] = {
    "accepted": False,
    "verdict": "refused: honest may be worse than sft by more than its margin",
    "champion": "sft",
    "gates": [
        {"name": "objectives", "holds": False, "why": "honest may be worse than sft"},
        {"name": "data", "holds": None, "why": "the champion has no figures"},
        {"name": "hacking", "holds": True, "why": "no sign of it"},
    ],
}
SELECT: dict[str, Any] = {"domains": {"values": {"weights": {"helpful": 0.6, "honest": 0.4}}}}


@pytest.fixture
def created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, Any]]:
    """Key of each artifact -> its kind and content, in a project with results."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports/policies").mkdir(parents=True)
    (tmp_path / "params.yaml").write_text("policies: {a: {}}\nselect: {policy: a}\n")
    (tmp_path / "reports/front.svg").write_text("<svg/>")
    (tmp_path / "reports/index.html").write_text("page")
    artifacts: dict[str, tuple[str, Any]] = {}
    for kind in ("table", "markdown", "image", "link"):

        def create(content: Any, key: str, kind: str = kind, **_: Any) -> None:
            artifacts[key] = kind, content

        monkeypatch.setattr(publish, f"create_{kind}_artifact", create)
    return artifacts


def test_two_recipes_do_not_replace_each_others_artifacts(
    created: dict[str, tuple[str, Any]],
) -> None:
    stage = Stage("sft", Meta(phase="rewards"), ())
    for label in ("tiny helpful=0.6", "minimal"):
        publish.results([Outcome(stage, "ran", 1.23)], label)
    kinds = {key: kind for key, (kind, _) in created.items()}
    assert kinds == {
        f"{name}-{label}": kind
        for label in ("tiny-helpful-0-6", "minimal")
        for name, kind in (
            ("stages", "table"), ("summary", "markdown"), ("front", "image"), ("report", "link"),
        )
    }  # fmt: skip
    assert created["stages-minimal"][1][0]["seconds"] == 1.2
    head, _, content = created["front-minimal"][1].partition(",")
    assert (head, base64.b64decode(content)) == ("data:image/svg+xml;base64", b"<svg/>")
    assert Path("reports/index.html").resolve().as_uri() in created["summary-minimal"][1]


def test_the_summary_says_why_a_candidate_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "\n".join(publish.summary("tiny", GATE, SELECT))
    assert "**refused: honest may be worse than sft by more than its margin**" in text
    assert "| objectives | **refused** | honest may be worse than sft |" in text
    assert "| data | not tested | the champion has no figures |" in text
    assert "| hacking | accepted | no sign of it |" in text
    assert "Weights: helpful 0.6, honest 0.4" in text
    assert list(publish.summary("tiny", None, None)) == ["# tiny\n"]
