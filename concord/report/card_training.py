"""The parts of a model card about training: data, licences and limits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from concord.evaluation.policies.published import SPLITS, Published
from concord.stage.params import Model

NOT_STATED = "not stated"


def data(params: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """Sources with their licences and counts, and what was trained on.

    `report` is reports/data.json.
    """
    rows = "\n".join(
        f"| {name} | `{entry['format']}` | {_licence_of(entry)} | "
        f"{report['sources'][name]['read']} | {report['sources'][name]['kept']} |"
        for name, entry in params["sources"].items()
    )
    labels = "\n".join(
        f"| {name} | {entry['pairs']['train']} | {entry['ratings']['train']} |"
        for name, entry in report["objectives"].items()
    )
    trained = report["splits"]
    return f"""| source | format | licence | rows | used after the first check |
|---|---|---|---|---|
{rows}

After duplicates and contradictions were removed, the training split has \
{trained["demonstrations"]["train"]} demonstrations, {trained["prompts"]["train"]} prompts to \
sample answers to, and these labels. Pairs that ratings imply count as pairs.

| objective | pairs | ratings |
|---|---|---|
{labels}
"""


def limits(record: Published, base: Model) -> str:
    """What the figures do not say, as a list."""
    return "".join(f"- {line}\n" for line in _limits(record, base))


def _limits(record: Published, base: Model) -> Iterator[str]:
    if not record.gate["accepted"]:
        yield f"The gate refused this model ({record.gate['verdict']}). It is here to be examined."
    counts = record.results["prompts"].items()
    prompts = ", ".join(f"{count} prompts in {name}" for name, count in counts)
    yield (
        f"Measured on {SPLITS[record.results['conditions']['protocol']]} only: {prompts}. Other "
        "kinds of prompts, other languages and longer conversations were not measured."
    )
    yield (
        f"Only the {len(record.rows)} objectives above were measured. An answer can be wrong or "
        "harmful in other ways."
    )
    if lost := [row.objective for row in record.rows if row.change.high < 0]:
        yield f"It is worse than the SFT model on {', '.join(lost)}."
    yield (
        f"Prompt and answer were cut or limited to {base.max_length} tokens in training; beyond "
        "this length nothing is known."
    )
    yield "Intervals cover the choice of prompts, not the variation between training runs."
    entries = record.params["sources"].items()
    if unknown := [name for name, entry in entries if _licence_of(entry) == NOT_STATED]:
        yield (
            f"No licence is stated for the sources {', '.join(unknown)}: find out what they allow "
            "before you publish the model."
        )


def _licence_of(source: Mapping[str, Any]) -> str:
    return str(source.get("licence") or source.get("license") or NOT_STATED)


def dequantised(base: Model) -> str:
    """A note for the model card on a base model from a GGUF file; empty for any other."""
    folder = Path(base.files)
    names = [base.name, base.files, *(file.name for file in folder.glob("*"))]
    notes = [file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.md"))]
    if not any("gguf" in text.lower() for text in [*names, *notes]):
        return ""
    return (
        "\nThe base model was dequantised from a GGUF file: its weights carry the rounding of that "
        "quantisation.\n"
    )


def licence(base: Model) -> str:
    """The licence line of the base model's card, which also applies to the exported model.

    An empty string if there is none.
    """
    base_card = Path(base.files) / "README.md"
    if not base_card.is_file():
        return ""
    line = re.search(r"^license: .+$", base_card.read_text(encoding="utf-8"), re.MULTILINE)
    return f"{line[0]}\n" if line else ""
