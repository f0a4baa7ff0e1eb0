"""The blocks of a tutorial.

A block with a title is a file; a `bash` block is run.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.chain.tree import ROOT

PAGE = ROOT / "docs/tutorial/own-data.md"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of the page."""

    language: str
    title: str | None
    """Name of the file that it is."""
    text: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page or a part of it, in order."""
    parts = BLOCK.findall(text)
    titles = [re.search(r'title="([^"]+)"', info) for _, info, _ in parts]
    return [
        Block(language, title[1] if title else None, text)
        for (language, _, text), title in zip(parts, titles, strict=True)
    ]


def follow(project: Path, shell: Callable[[str], str]) -> dict[str, str]:
    """Writes every file and runs every command of the tutorial "your own data" in `project`.

    Returns the output of each command.
    """
    output: dict[str, str] = {}
    for block in blocks(PAGE.read_text(encoding="utf-8")):
        if block.title is not None:
            (project / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "bash":
            output[block.text.strip()] = shell(block.text)
    return output
