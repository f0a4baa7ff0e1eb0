"""The page of commands: the Makefile, the console command, the modules that can be run."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

from concord.stage.closure import ROOT
from concord.stage.field_docs import first_sentence
from concord.stage.params import read
from docs.markdown import NOTE, cell, docstring, table

COMMANDS = """\
Run all commands in the root of the project. `make install` creates `.venv`. Commands that do not
start with `make` need `. .venv/bin/activate` first.
"""
INTERNAL = ("guard", "comparison_worker")
"""Modules that only other modules start."""
STAGES = """\
`dvc repro <stage>` runs a stage and everything upstream of it. These commands run one stage
alone.
"""


def commands_page() -> str:
    """The targets of the Makefile, the console command, and the modules that can be run."""
    parts = [
        NOTE,
        "# Commands\n",
        COMMANDS,
        "## make\n",
        table(
            ["command", "what it does"],
            [(f"`make {name}`", cell(text)) for name, text in targets()],
        ),
        *console(),
        "## Stages\n",
        STAGES,
        table(["command", "what it does"], stages()),
        "## Other modules\n",
        table(["command", "what it does"], other_modules()),
    ]
    return "\n".join(parts)


def targets() -> Iterator[tuple[str, str]]:
    """Target of the Makefile -> the comment behind `##`."""
    for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"^([a-z][\w-]*):[^#=]*(?:## *(.*))?$", line):
            yield match[1], match[2] or ""


def console() -> list[str]:
    """The typer app of flows/cli.py, as far as it is there."""
    if not (ROOT / "flows/cli.py").is_file():
        return []
    import typer

    app = importlib.import_module("flows.cli").app
    command = typer.main.get_command(app)
    entries = getattr(command, "commands", {"": command})
    parts = ["## concord\n", "The console command. `concord --help` prints the same.\n"]
    rows = []
    for name, entry in entries.items():
        if getattr(entry, "hidden", False):
            continue
        arguments = " ".join(parameter_words(item) for item in entry.params if item.name != "help")
        usage = " ".join(filter(None, ["concord", name, arguments]))
        rows.append((f"`{usage}`", cell(first_sentence(entry.help or ""))))
    return [*parts, table(["command", "what it does"], rows)]


def parameter_words(parameter: Any) -> str:
    """A parameter of the console command as in a usage line."""
    if parameter.param_type_name == "argument":
        word = str(parameter.name).upper() + ("..." if parameter.nargs == -1 else "")
    else:
        word = parameter.opts[0] + ("" if getattr(parameter, "is_flag", False) else " ...")
    return word if parameter.required else f"[{word}]"


def stages() -> Iterator[tuple[str, str]]:
    """Command of every stage -> the first sentence of its module."""
    for stage in read(ROOT / "dvc.yaml")["stages"].values():
        body = stage.get("do", stage)
        command = str(body["cmd"]).replace("${key}", "<name>")
        file = ROOT / f"{command.split()[2].replace('.', '/')}.py"
        yield f"`{command}`", cell(first_sentence(docstring(file)))


def other_modules() -> Iterator[tuple[str, str]]:
    """Command of every other module that can be run -> the first sentence of its docstring."""
    for room in ("flows", "concord", "benchmarks"):
        for file in sorted((ROOT / room).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            if '__name__ == "__main__"' in text and file.stem not in INTERNAL:
                parts = file.relative_to(ROOT).with_suffix("").parts
                module = ".".join(parts).removesuffix(".__main__")
                yield f"`python -m {module}`", cell(first_sentence(docstring(file)))
