"""What `concord inspect` prints: plain text of at most about 60 lines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from concord.annotations.inspection.blocks import as_yaml, recipe_blocks
from concord.annotations.inspection.recognition import Nearest, Way, folder_format
from concord.annotations.inspection.survey import Survey
from concord.annotations.quarantine import NO_FAULT, REASONS

WIDTH = 100
REASONS_SHOWN, LABELS_SHOWN, COLUMNS_SHOWN, OTHERS_SHOWN = 4, 10, 30, 3
SHOWN = ("response", "chosen", "rejected", "ranked", "steps", "reference")
"""Columns of an annotation that are shown after its prompt."""
SHORT = 84


def page(path: Path, best: Sequence[Way], survey: Survey) -> str:
    """The text for a file that was read."""
    way = best[0]
    sections = [
        heading(path, way, survey),
        how(best),
        columns(survey),
        labels(survey),
        rejected(survey),
        examples(survey),
    ]
    blocks = recipe_blocks(path, way, survey)
    paste = [
        "For a recipe. The names of objectives and domains are yours to choose. One name in two",
        "sources means the same quality.",
        "",
        as_yaml(blocks).rstrip("\n"),
    ]
    if "objectives" not in blocks:
        paste += ["", "These rows judge nothing, so they add no objective."]
    return "\n\n".join("\n".join(lines) for lines in [*map(list, sections), paste] if lines) + "\n"


def heading(path: Path, way: Way, survey: Survey) -> Iterator[str]:
    """The file, its format and what became of its rows."""
    rows, parent = survey.rows, folder_format(path.parent)
    yield f"{path}: format `{way.format}`, {counted(rows['found'], 'row')}"
    quarantined, left_out = (sum(rows[key].values()) for key in ("quarantined", "left_out"))
    yield (
        f"  {rows['kept']:,} kept, {quarantined:,} quarantined "
        f"({quarantined / max(rows['found'], 1):.1%}), {left_out:,} left out"
    )
    if survey.read > rows["found"]:
        yield f"  they hold {counted(survey.read, 'annotation')}"
    if survey.unread_files:
        yield from wrapped("  files not read  ", ", ".join(survey.unread_files[:COLUMNS_SHOWN]))
    if parent is not None:
        yield f"  its folder is in the format `{parent}`; see `concord inspect {path.parent}`"


def how(best: Sequence[Way]) -> Iterator[str]:
    """How the format was recognised, what was guessed, and which others fit."""
    way, *others = best
    if way.keys:
        yield f"  recognised by  {', '.join(way.keys)}"
    for said in way.guessed:
        yield f"  guessed        {said}"
    for other in [other for other in others if not other.guessed][:OTHERS_SHOWN]:
        less = "fewer of its keys are there" if other.weight < way.weight else "more is renamed"
        why = less if other.read >= way.read else f"reads {other.read:.0%} of the first rows"
        yield f"  also possible  --format {other.format} ({why})"


def columns(survey: Survey) -> Iterator[str]:
    """The columns that are used, and those that are not."""
    used = [name for name in survey.columns if name not in survey.unused]
    for title, names in (("columns used", used), ("not used", survey.unused)):
        if names:
            rest = len(names) - COLUMNS_SHOWN
            more = f" and {rest} more" if rest > 0 else ""
            yield from wrapped(f"{title:<12}  ", ", ".join(names[:COLUMNS_SHOWN]) + more)


def labels(survey: Survey) -> Iterator[str]:
    """What the file gives: labels by objective, prompts and demonstrations by domain."""
    lines = [
        f"  {item.count:>7}  {item.kind:<13} {item.objective}{people(item.annotators, item.kind)}"
        for item in survey.labels
    ]
    for table, domains in survey.domains.items():
        lines += [
            f"  {count:>7}  {table.removesuffix('s'):<13} of the domain {domain}"
            for domain, count in domains.most_common(3)
        ]
    if lines:
        yield "gives"
        yield from lines[:LABELS_SHOWN]
        if len(lines) > LABELS_SHOWN:
            yield f"           and {len(lines) - LABELS_SHOWN} more"


def people(count: int, kind: str) -> str:
    """How many annotators there are, if there are several."""
    return f", by {count} annotators" if count > 1 and kind != "steps" else ""


def rejected(survey: Survey) -> Iterator[str]:
    """The commonest reasons why annotations are not kept, with an example each."""
    by_reason = survey.quarantine.by_reason()
    if by_reason:
        noun = "annotations" if survey.read > survey.rows["found"] else "rows"
        yield f"{noun} that are not kept"
    for reason, count in list(by_reason.items())[:REASONS_SHOWN]:
        first = survey.quarantine.first(reason)
        file = f"{first['source_file']} " if first["source_file"] else ""
        kind = " (left out)" if reason in NO_FAULT else ""
        yield f"  {count:>7}  {reason}{kind}: {REASONS[reason]}"
        where = f"{file}line {first['source_line']}, {first['column']}"
        yield short(f"           {where}: {first['detail']}", WIDTH)
    if len(by_reason) > REASONS_SHOWN:
        yield f"           and {len(by_reason) - REASONS_SHOWN} other reasons"


def examples(survey: Survey) -> Iterator[str]:
    """The first rows as they would be read."""
    for number, example in enumerate(survey.examples, 1):
        yield f"row {number} ({example['line']}): {example['kind']}{judged(example)}"
        turns = example["messages"]
        for turn in turns[-2:] if len(turns) <= 2 else turns[-1:]:
            yield f"  {turn['role']:<10} {short(turn['content'])}"
        if len(turns) > 2:
            yield f"  {'':<10} (after {len(turns) - 1} other turns)"
        for key in SHOWN:
            if example.get(key) is not None:
                yield f"  {key:<10} {short(written(key, example))}"


def judged(example: dict[str, Any]) -> str:
    """The objective, the label and who gave it."""
    parts = [f" of {example['objective']}"] if "objective" in example else []
    if "domain" in example:
        parts.append(f" of the domain {example['domain']}")
    if "raw_rating" in example and example["kind"] != "ranking":
        low, high = example["scale_low"], example["scale_high"]
        parts.append(f", {example['raw_rating']:g} on {low:g} to {high:g}")
    if example.get("margin") is not None:
        parts.append(f", margin {example['margin']:g}")
    if "annotator" in example:
        parts.append(f", by {example['annotator']}")
    return "".join(parts)


def written(key: str, example: dict[str, Any]) -> str:
    """A value of an annotation as text; steps with their labels, ranked answers with ranks."""
    value = example[key]
    if key == "steps":
        marks = ["?" if label is None else f"{label:g}" for label in example["labels"]]
        return " ".join(f"[{mark}] {step}" for mark, step in zip(marks, value, strict=True))
    if key == "ranked":
        return "  ".join(f"{rank:g}. {answer}" for answer, rank in value)
    return str(value)


def unread(
    path: Path, rows: Sequence[dict[str, Any]], nearest: Nearest | None, hint: str = ""
) -> str:
    """The text for a file that fits no format."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"{path}: no format fits these rows"]
    lines += wrapped("columns       ", ", ".join(names[:COLUMNS_SHOWN]) or "none")
    if nearest is not None:
        lines.append(
            f"nearest       `{nearest.format}` has {', '.join(nearest.present)}, "
            f"but {', '.join(nearest.missing)} is missing"
        )
    if hint:
        lines.append(hint)
    lines += [
        "If columns have other names, name them:",
        "  format: table",
        "  columns: {a: FIRST, b: SECOND, preferred: WINNER}   # key of the format: your column",
        "  options: {kind: comparison, prompt: PROMPT, constants: {objective: overall}}",
        "docs/reference/formats.md lists the formats; docs/how-to/add-a-format.md adds one.",
    ]
    return "\n".join(lines) + "\n"


def wrapped(title: str, text: str) -> list[str]:
    """A titled paragraph."""
    return textwrap.wrap(text, WIDTH, initial_indent=title, subsequent_indent=" " * len(title)) or [
        title
    ]


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    Examples:
        >>> counted(1, "row"), counted(1204, "row")
        ('1 row', '1,204 rows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def short(text: str, width: int = SHORT) -> str:
    """A text on one line, cut to a width.

    Examples:
        >>> short("One\\ntwo three", 9)
        'One tw...'
    """
    line = " ".join(text.split()) if width == SHORT else text.replace("\n", " ")
    return line if len(line) <= width else f"{line[: width - 3]}..."
