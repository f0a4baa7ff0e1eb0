"""Generates docs/reference from the code: parameters, tables, formats, commands, plugins.

    python -m docs.generate [folder]      # docs/reference by default; `make docs` runs it

Every page is a function that returns Markdown. Nothing in these pages is written by hand: edit the
docstring, the field or the schema, and run it again.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from concord.annotations import hub, reader
from concord.annotations.record import NoOptions
from concord.stage import plugins
from concord.stage.closure import ROOT
from concord.stage.field_docs import first_sentence, parsed
from concord.stage.params import read
from docs.commands import commands_page
from docs.fields import fields_table, nested
from docs.markdown import NOTE, cell, docstring, markdown, table
from docs.tables import tables_page
from tasks import check

PARAMS = """\
Every key, from the dataclasses that read it. A `required` key has no default. An unknown key is
an error. `python -m tasks.check` validates the file and reports all problems at once.
"""
FORMATS = """\
A source in `params.yaml` names a format, a path and the format's options:

```yaml
sources:
  preferences:
    format: trl
    path: data/raw/pairs.parquet
    options: {objective: helpful}
    columns: {chosen: winner, rejected: loser}
```

The path is a file (`.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv`, `.parquet` or `.arrow`, text
gzipped or not) or a folder of such files. `columns` maps a key that the format reads to the name of
the column in your file. Formats that know their own files have no `columns`. With
`prompts: <domain>`, policies are sampled on the prompts of the source as well.

JSON is one object per line, arrays, objects over several lines, or one object whose key `data`,
`rows`, `train` or the like holds the list of rows. CSV has a header and any of the delimiters
comma, semicolon, tab and bar. Text is UTF-8. In a folder, hidden files, `__MACOSX` and the metadata
of `datasets` and the Hub are not read. A folder of `save_to_disk` is read as it is.

`ingest` prints what became of every row: found = kept + quarantined + left out, the last two by
reason. The rows of a file are counted a second time by other means, and the stage fails if the
counts differ. It also names the columns and files that were not used.

A format is one file, `concord/annotations/formats/<name>.py`. See [Add a
format](../how-to/add-a-format.md).
"""
PLUGINS = """\
These are found by name: you add a file or a function, and edit nothing else. Each section says
which key of `params.yaml` names one.
"""
PLACES = {
    "concord.policies.methods": ("Policy methods", "`policies.<name>.method`", "add-a-method"),
    "concord.policies.losses": ("Pairwise losses", "`policies.<name>.loss`", "add-a-loss"),
    "concord.policies.advantages": (
        "Aggregations",
        "`policies.<name>.aggregation`",
        "add-a-scalariser",
    ),
    "concord.rewards.vector.scalarisers": (
        "Scalarisers",
        "`select.rule` and `policies.<name>.scalariser`",
        "add-a-scalariser",
    ),
    "concord.rewards.verifiers": (
        "Verifiers",
        "`objectives.<name>.verifier`",
        "add-a-verifier-labeller-or-judge",
    ),
    "concord.rewards.process.labellers": (
        "Step labellers",
        "`process_labels.objectives.<name>.labels`",
        "add-a-verifier-labeller-or-judge",
    ),
    "concord.rewards.process.judges": (
        "Judges",
        "`process_labels.judges.<name>.kind` and `evaluate.judge.judges.<objective>.kind`",
        "add-a-verifier-labeller-or-judge",
    ),
    "concord.annotations.formats": ("Source formats", "`sources.<name>.format`", "add-a-format"),
}
"""Place of plugins -> title, the key that names one, the how-to page."""


def methods() -> dict[str, Any]:
    """Policy method -> its METHOD."""
    place = "concord.policies.methods"
    return {name: plugins.load(place, name, place).METHOD for name in plugins.names(place)}


def judges() -> dict[str, type]:
    """Kind of judge -> the dataclass of its entry."""
    place = "concord.rewards.process.judges"
    return {name: plugins.load(place, name, place).PARAMS for name in plugins.names(place)}


def readers(key: str) -> list[str]:
    """The stages of dvc.yaml that declare a section of params.yaml, or a part of it.

    A section that may be missing is declared as the file that `check` writes.
    """
    stages = read(ROOT / "dvc.yaml")["stages"]
    names = []
    for name, stage in stages.items():
        entry = stage.get("do", stage)
        declared = any(str(param).split(".")[0] == key for param in entry.get("params", []))
        if declared or f"data/{key}.json" in entry["deps"]:
            names.append(name)
    return names


def params_page() -> str:
    """Every key of params.yaml."""
    methods_, judges_ = methods(), judges()
    mappings = {**check.MAPPINGS, **check.OPTIONAL}
    sections = {**check.SECTIONS, **mappings, **check.OF_FLOWS}
    shared = list(
        dict.fromkeys(
            part
            for cls in [
                *sections.values(),
                *(m.params for m in methods_.values()),
                *judges_.values(),
            ]
            for part in nested(cls)
        )
    )
    names = {cls: re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower() for cls in shared}

    def links(cls: type) -> str:
        return f"[{cls.__name__}](#{names[cls]})"

    parts = [
        NOTE,
        "# params.yaml\n",
        PARAMS,
    ]
    for key, cls in sections.items():
        path = f"{key}.<name>" if key in mappings else key
        parts += [f"## `{path}`\n", *described(cls), used_by(key), fields_table(cls, links)]
        if key == "process_labels":
            for name, judge in judges_.items():
                title = f"### `process_labels.judges.<name>`, `kind: {name}`\n"
                parts += [title, *described(judge), fields_table(judge, links)]
    parts += [
        "## `policies.<name>`\n",
        "One entry per policy. `method` decides which keys are allowed.\n",
    ]
    parts.append(used_by("policies"))
    for name, method in methods_.items():
        parts += [
            f"### `method: {name}`\n",
            *described(method.params),
            fields_table(method.params, links),
        ]
    parts += [
        "## `budget`\n",
        "A mapping from a stage, such as `sft` or `policy@mah_dpo`, to a number of seconds.",
    ]
    parts.append("The Prefect flow prints a line if a stage takes longer. No stage reads it.\n")
    parts.append("## Shared types\n")
    for cls, anchor in names.items():
        parts += [
            f"### {cls.__name__} {{ #{anchor} }}\n",
            *described(cls),
            fields_table(cls, links),
        ]
    return "\n".join(parts)


def described(cls: type) -> list[str]:
    """The docstring of a class as a paragraph; none if it only repeats the heading."""
    text = inspect.cleandoc(cls.__doc__ or "")
    return [] if text.startswith("The section") else [markdown(text) + "\n"]


def used_by(key: str) -> str:
    """Which stages an edit of a section reruns."""
    names = ", ".join(f"`{name}`" for name in readers(key))
    return f"Declared by: {names or 'no stage'}.\n"


def formats_page() -> str:
    """Every source format, with its options."""
    parts = [
        NOTE,
        "# Source formats\n",
        FORMATS,
        table(["format", "data", "columns"], [format_row(name) for name in reader.format_names()]),
    ]
    for name in reader.format_names():
        parts += [f"## `{name}`\n", markdown(without_options(format_docs(name))) + "\n"]
        parts.append(options_table(name))
    return "\n".join(parts)


def format_row(name: str) -> tuple[str, str, str]:
    """The line of a format in the overview."""
    renamed = "yes" if reader.renames_columns(name) else "no"
    return f"[`{name}`](#{name})", cell(first_sentence(format_docs(name))), renamed


def format_docs(name: str) -> str:
    """The docstring of a format."""
    file = hub.__file__ if name == reader.HUB else ROOT / f"concord/annotations/formats/{name}.py"
    return docstring(Path(str(file)))


def without_options(text: str) -> str:
    """A docstring without its paragraph on options: the table below says the same."""
    return "\n\n".join(part for part in text.split("\n\n") if not part.startswith("Options:"))


def options_table(name: str) -> str:
    """The options of a format as a table."""
    if name == reader.HUB:
        return "Options: those of the format that the file names.\n"
    options = reader.options_of(name, Path())
    if options is NoOptions or not dataclasses.is_dataclass(options):
        return "No options.\n"
    return "Options:\n\n" + fields_table(options, lambda cls: f"`{cls.__name__}`")


def plugins_page() -> str:
    """Everything that is found by name."""
    parts = [
        NOTE,
        "# Methods and other plugins\n",
        PLUGINS,
        f"## {PLACES['concord.policies.methods'][0]}\n",
        introduction("concord.policies.methods"),
        table(["`method`", "what it is", "steered by weights", "learns from pairs"], method_rows()),
    ]
    for place in [*plugins.MODULES, *plugins.PACKAGES]:
        if place == "concord.policies.methods":
            continue
        title = PLACES[place][0]
        parts += [f"## {title}\n", introduction(place)]
        if place == "concord.annotations.formats":
            names = ", ".join(f"[`{name}`](formats.md#{name})" for name in reader.format_names())
            parts.append(names + "\n")
        elif place in plugins.PACKAGES:
            rows = [
                (f"`{name}`", cell(first_sentence(module_docs(place, name))))
                for name in plugins.names(place)
            ]
            parts.append(table(["name", "what it is"], rows))
        else:
            parts.append(table(["name", "parameters", "what it is"], function_rows(place)))
    return "\n".join(parts)


def introduction(place: str) -> str:
    """Where a place is, the key that names a plugin of it, and the how-to page."""
    path = place.replace(".", "/")
    _, key, page = PLACES[place]
    code = f"`{path}/<name>.py`" if place in plugins.PACKAGES else f"a function of `{path}.py`"
    return f"Key: {key}. Code: {code}. [How to add one](../how-to/{page}.md).\n"


def method_rows() -> Iterator[tuple[str, ...]]:
    """The line of every policy method."""
    for name, method in methods().items():
        text = first_sentence(module_docs("concord.policies.methods", name))
        link = f"[`{name}`](params.md#method-{name})"
        yield link, cell(text), yes(method.heads), yes(method.pairs)


def yes(value: bool) -> str:
    """A truth value in a table."""
    return "yes" if value else "no"


def module_docs(place: str, name: str) -> str:
    """The docstring of a plugin that is a module."""
    return docstring(ROOT.joinpath(*place.split(".")) / f"{name}.py")


def function_rows(place: str) -> Iterator[tuple[str, ...]]:
    """The line of every plugin that is a function, with its parameters and their defaults."""
    tree = parsed(ROOT.joinpath(*place.split(".")).with_suffix(".py"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for name in plugins.names(place):
        defaults = plugins.defaults(place, name)
        parameters = ", ".join(f"`{key}: {value}`" for key, value in defaults.items()) or "-"
        text = " ".join((ast.get_docstring(functions[name]) or "").split("\n\n")[0].split())
        yield f"`{name}`", parameters, cell(text)


PAGES: dict[str, Callable[[], str]] = {
    "params.md": params_page,
    "tables.md": tables_page,
    "formats.md": formats_page,
    "commands.md": commands_page,
    "plugins.md": plugins_page,
}


def generate(folder: Path) -> list[Path]:
    """Writes every page to `folder`; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, page in PAGES.items():
        file = folder / name
        file.write_text(page().rstrip() + "\n", encoding="utf-8")
        files.append(file)
    return files


def main() -> None:
    """Generates the pages, and says where they are."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/reference"
    for file in generate(folder):
        print(file)


if __name__ == "__main__":
    main()
