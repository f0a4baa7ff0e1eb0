"""What the fields of a dataclass mean: the strings under them, read from the source."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
from functools import cache
from pathlib import Path


def field_docs(cls: type) -> dict[str, str]:
    """Field -> the string under it, of a dataclass and of those it inherits from."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base) or base.__module__ == "builtins":
            continue
        tree = parsed(Path(inspect.getfile(base)))
        body = next(
            (
                node.body
                for node in tree.body
                if isinstance(node, ast.ClassDef) and node.name == base.__name__
            ),
            [],
        )
        for field, text in itertools.pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and is_text(text)
            ):
                docs[field.target.id] = inspect.cleandoc(text.value.value)  # type: ignore[attr-defined]
    return docs


def is_text(node: ast.stmt) -> bool:
    """Whether a statement is a string and nothing else."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def first_sentence(text: str) -> str:
    """The text up to its first full stop that ends a sentence, or its first paragraph."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    end = re.search(r"(?<!al)(?<!eq)(?<!e\.g)\.(?=\s[A-Z`])", paragraph)
    return paragraph[: end.end()] if end else paragraph


def in_short(text: str) -> str:
    """The first sentence, or the first paragraph if it says what each of several values means.

    Examples:
        >>> in_short("Layers to read. Empty: all."), in_short("`a`: the first. `b`: the second.")
        ('Layers to read.', '`a`: the first. `b`: the second.')
    """
    return " ".join(text.split("\n\n")[0].split()) if text.startswith("`") else first_sentence(text)


@cache
def parsed(file: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(file.read_text(encoding="utf-8"))
