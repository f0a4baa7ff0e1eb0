"""The README: short, what it shows is where a reader looks, and what it says to type works."""

import re
from pathlib import Path

from concord.stage.params import read
from tasks import check
from tests.chain.tree import ROOT, python, run

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = TEXT.splitlines()
MADE = ("models/", "reports/", "data/")
"""What a run makes."""


def block(starts: str, language: str = "") -> str:
    """The fenced block of `language` whose text starts with `starts`."""
    blocks = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)
    return next(text for kind, text in blocks if kind == language and text.startswith(starts))


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(LINES, start=1) if text in line)


def test_it_is_short_and_what_matters_comes_early() -> None:
    assert len(LINES) <= 90
    assert not [line for line in LINES if len(line) > 100 and not line.startswith("| ")]
    assert "Concord" in LINES[0]
    assert line_of("(docs/headline.svg)") < line_of("make demo") < line_of("make run") < 12
    assert line_of("| objective") < 35


def test_its_commands_are_targets_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)(?:^|`)make (\w+)", TEXT))
    assert targets >= {"demo", "run", "test"}
    assert not [target for target in targets if f"\n{target}:" not in makefile]


def test_the_tree_is_the_tree() -> None:
    """Every line of the file tree names what is there, and every room of the library has a line."""
    lines = block("params.yaml").splitlines()
    entries = [re.split(r"\s{2,}", line.strip())[0] for line in lines]
    paths = [path for entry in entries for path in entry.split(", ")]
    inside = [path for line, path in zip(lines, paths, strict=False) if line.startswith("  ")]
    for path in paths:
        assert any((ROOT / room / path).exists() for room in ("", "concord")) or path.startswith(
            MADE
        )
    rooms = {
        f"{path.name}/" for path in (ROOT / "concord").iterdir() if (path / "__init__.py").is_file()
    }
    assert set(inside) == rooms


def test_its_links_resolve() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert len(targets) > 5
    assert not [target for target in targets if not (ROOT / target).exists()]


def test_moving_a_weight_in_python(copy: Path) -> None:
    code = block("from concord.policies.steerable", "python")
    run(copy, python(), "-c", code)
    text = (copy / "tutor/README.md").read_text(encoding="utf-8")
    assert "| tutor_engagement | 0.7000 |" in text
    answers = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert answers
    assert run(copy, python(), "-c", answers[1]).strip()


def test_moving_a_weight_in_params_edits_the_choice_and_passes_the_check() -> None:
    params = read(ROOT / "params.yaml")
    params["select"] = {
        **params["select"],
        "weights": {**params["select"]["weights"], "harmless": 0.6},
    }
    check.run(params, ROOT)
