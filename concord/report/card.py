"""The model card of a candidate, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from concord.stage.params import Model

Report = Mapping[str, Any]


def card(
    choice: Report, gate: Report, results: Report, base: Model, hashes: Mapping[str, str]
) -> str:
    """The card: the verdict, the weights, the results on held-out prompts and the lineage.

    Args:
        choice: reports/select.json.
        gate: reports/gate.json.
        results: reports/candidate/results.json.
        base: the base model.
        hashes: path of an input -> its hash.
    """
    revision = f" at revision `{base.revision}`" if base.revision else ""
    status = "Aligned model" if gate["accepted"] else "Refused candidate: do not publish"
    return f"""---
{licence(base)}library_name: transformers
pipeline_tag: text-generation
tags: [concord, preference-optimization, multi-objective]
---

# {status}

Gate: {gate["verdict"]}.

Policy `{choice["policy"]}` of `{base.name}`{revision}, merged by Concord at the weights below \
into a stock checkpoint.
{dequantised(base)}
| objective | asked | weight |
|---|---|---|
{_weights(choice)}

Rule `{choice["rule"]}`; weights sum to 1 within a domain. They were chosen by rewards that \
training saw, not by the figures below.

## Held-out figures

Of the checkpoint that was evaluated, with SHA-256 `{results["checkpoint"]}`; intervals are 95 % \
bootstraps over prompts, of one trained model and one sampling seed.
{_compared(gate)}
| objective | mean | interval | n | difference | lower bound | margin |
|---|---|---|---|---|---|---|
{_figures(results, gate)}

## Lineage

SHA-256 of what the model was made from, computed by `concord/steering/checkpoint.py` over file \
names and contents.

| step | hash |
|---|---|
{_rows((f"`{step}`", f"`{value}`") for step, value in hashes.items())}
"""


def nothing_published(gate: Report) -> str:
    """The card in place of a model, while no candidate has been accepted yet."""
    return f"""# No model has been published

The first candidate was refused; it is in `models/candidate`. Gate: {gate["verdict"]}.
"""


def published(gate: Report) -> str:
    """The card in place of a candidate that was published."""
    return f"""# The candidate was published

It is `models/aligned`. Gate: {gate["verdict"]}.
"""


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


def _weights(choice: Report) -> str:
    return _rows(
        (name, f"{entry['asked'][name]:.4f}", f"{weight:.4f}")
        for entry in choice["domains"].values()
        for name, weight in entry["weights"].items()
    )


def _compared(gate: Report) -> str:
    """What the differences are to."""
    if not gate["objectives"]:
        return ""
    return (
        f"Differences are to `{gate['champion']}` on the same prompts; the bound is one-sided, at "
        f"an error rate of {gate['error_rate']:g}.\n"
    )


def _figures(results: Report, gate: Report) -> str:
    rows = []
    for entry in results["domains"].values():
        for name, figures in entry["objectives"].items():
            test = gate["objectives"].get(name, {})
            interval = f"{_number(figures['ci_low'])} to {_number(figures['ci_high'])}"
            compared = [_number(test.get(key)) for key in ("difference", "lower_bound", "margin")]
            rows.append(
                (name, _number(figures["gold_mean"]), interval, str(figures["n"]), *compared)
            )
    return _rows(rows)


def _rows(rows: Any) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
