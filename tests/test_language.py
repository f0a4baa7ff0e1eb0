"""Plain English: no phrases, names or expressions that make the text and code hard to read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from concord.stage.closure import ROOT

CODE = sorted(
    file
    for folder in ("concord", "tasks", "flows", "benchmarks")
    for file in (ROOT / folder).rglob("*.py")
)
TEXTS = [
    *(
        ROOT / name
        for name in (
            "README.md",
            "CONTRIBUTING.md",
            "CHANGELOG.md",
            "params.yaml",
            "dvc.yaml",
            "Makefile",
        )
    ),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "recipes").rglob("*.yaml")),
    *sorted((ROOT / "concord").rglob("*.jinja")),
]
PHRASES = re.compile(
    r"\b(mend(s|ed|ing)?|anew|set aside|goes on|go on|for ever|asked for"
    r"|is no (name|key|stage|file|model)|one.s own|field notes?|whoever|wherein|such as it)\b",
    re.IGNORECASE,
)
DATA = ("see and mend the mistake.", "This is the usual way to go on.")
"""Texts that models read: changing them would change what is computed."""
VARIABLES = {"found", "own", "place", "told", "there", "apart", "theirs", "made_of"}
CLOSED = re.compile(r"\.\./shared|/work/|(?i:\bthe issue\b)")


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", [file for file in [*CODE, *TEXTS] if file.is_file()], ids=name)
def test_no_phrase_reads_like_a_translation(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    bad = [
        f"{number}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        if PHRASES.search(line) and not any(text in line for text in DATA)
    ]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("file", [file for file in [*CODE, *TEXTS] if file.is_file()], ids=name)
def test_nothing_points_outside_of_the_repository(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    bad = [
        f"{number}: {line.strip()}" for number, line in enumerate(lines, 1) if CLOSED.search(line)
    ]
    assert not bad, "\n".join(bad)


def bindings(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Names of variables and arguments, and where they are bound."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno


@pytest.mark.parametrize("file", CODE, ids=name)
def test_variables_say_what_they_hold(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert not [f"{line}: {variable}" for variable, line in bindings(tree) if variable in VARIABLES]


@pytest.mark.parametrize("file", CODE, ids=name)
def test_expressions_are_simple(file: Path) -> None:
    """No nested conditional expressions, and no loop over one item instead of an assignment."""
    bad = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        inner = [
            part for part in ast.walk(node) if part is not node and isinstance(part, ast.IfExp)
        ]
        if isinstance(node, ast.IfExp) and inner:
            bad.append(f"{node.lineno}: a conditional expression within another")
        if (
            isinstance(node, ast.comprehension)
            and isinstance(node.iter, ast.List)
            and len(node.iter.elts) == 1
        ):
            bad.append(f"{node.iter.lineno}: a loop over one item")
    assert not bad, "\n".join(bad)
