"""Plain English: no phrases, names or expressions that make the text and code hard to read."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from concord.stage.closure import ROOT

FOLDERS = ("concord", "tasks", "flows", "benchmarks")
CODE = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
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


@cache
def lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


@cache
def nodes(file: Path) -> list[ast.AST]:
    """All nodes of its syntax tree."""
    return list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))


def lines_with(pattern: re.Pattern[str]) -> Iterator[str]:
    """The lines of all files that hold the pattern, with file and number."""
    for file in filter(Path.is_file, [*CODE, *TEXTS]):
        for number, line in enumerate(lines(file), 1):
            if pattern.search(line):
                yield at(file, number, line.strip())


def at(file: Path, line: int, what: str) -> str:
    return f"{file.relative_to(ROOT)}:{line}: {what}"


def test_no_phrase_reads_like_a_translation() -> None:
    bad = [line for line in lines_with(PHRASES) if not any(text in line for text in DATA)]
    assert not bad, "\n".join(bad)


def test_nothing_points_outside_of_the_repository() -> None:
    bad = list(lines_with(CLOSED))
    assert not bad, "\n".join(bad)


def test_variables_say_what_they_hold() -> None:
    """Names of variables and arguments, where they are bound."""
    bad = []
    for file in CODE:
        for node in nodes(file):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                variable = node.id
            elif isinstance(node, ast.arg):
                variable = node.arg
            else:
                continue
            if variable in VARIABLES:
                bad.append(at(file, node.lineno, variable))
    assert not bad, "\n".join(bad)


def test_expressions_are_simple() -> None:
    """No nested conditional expressions, and no loop over one item instead of an assignment."""
    bad = []
    for file in CODE:
        for node in nodes(file):
            if isinstance(node, ast.IfExp) and any(
                isinstance(part, ast.IfExp) for part in ast.walk(node) if part is not node
            ):
                bad.append(at(file, node.lineno, "a conditional expression within another"))
            if (
                isinstance(node, ast.comprehension)
                and isinstance(node.iter, ast.List)
                and len(node.iter.elts) == 1
            ):
                bad.append(at(file, node.iter.lineno, "a loop over one item"))
    assert not bad, "\n".join(bad)


def test_all_folders_are_read() -> None:
    """The other tests would pass on an empty list of files."""
    assert {file.relative_to(ROOT).parts[0] for file in CODE} == set(FOLDERS)
    assert len(CODE) > 300
    assert len([file for file in TEXTS if file.is_file()]) > 30
