"""Exports the selected policy, merged at the selected weights, as a standard checkpoint.

    reports/select.json, reports/gate.json, models/policies/<policy>,
    and for the hashes in the model card data/prepared and the models it was trained with
    -> models/aligned

    python -m tasks.export

Heads are linear, so the merged checkpoint gives exactly the weighted logits. Any engine that serves
the base model can serve it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from concord.lm.load import load_tokenizer
from concord.stage import outputs
from concord.stage.errors import command
from concord.stage.params import FORBID, Model, load
from concord.stage.paths import (
    ALIGNED,
    ANCHORS,
    POLICIES,
    PREPARED,
    PROCESS_REWARD,
    REPORTS,
    REWARDS,
    SFT,
)


@dataclass(frozen=True, config=FORBID)
class ExportParams:
    """The section `export`."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type of the exported weights."""


def run(params: ExportParams, base: Model) -> None:
    """Merges the heads; writes the checkpoint, its tokenizer and the model card."""
    import torch

    from concord.policies.model import MultiHeadCausalLM
    from concord.policies.model import load as load_policy

    choice, gate = (
        outputs.read_json(REPORTS / "select.json"),
        outputs.read_json(REPORTS / "gate.json"),
    )
    path = POLICIES / choice["policy"]
    policy = load_policy(path)
    if isinstance(policy, MultiHeadCausalLM):
        policy = policy.merge(
            {name: choice["weights"].get(name, 0.0) for name in policy.head_names}
        )
    with outputs.directory(ALIGNED) as folder:
        policy.to(getattr(torch, params.dtype)).save_pretrained(folder)
        load_tokenizer(path).save_pretrained(folder)
        outputs.write_text(folder / "README.md", card(choice, gate, base, lineage(path)))


def lineage(policy: Path) -> dict[str, str]:
    """Path -> SHA-256 of every input of the model. Paths that do not exist are left out."""
    steps = [PREPARED, SFT, REWARDS, PROCESS_REWARD, ANCHORS, policy]
    return {step.as_posix(): digest(step) for step in steps if step.exists()}


def digest(path: Path) -> str:
    """SHA-256 over the names and contents of all files of a folder, or over a single file."""
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            total.update(str(file.relative_to(path)).encode() + b"\0")
            with file.open("rb") as content:
                total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def card(
    choice: Mapping[str, Any], gate: Mapping[str, Any], base: Model, hashes: Mapping[str, str]
) -> str:
    """The model card, in Markdown."""
    weights = "\n".join(
        f"| {name} | {weight:.4f} |" for name, weight in sorted(choice["weights"].items())
    )
    figures = "\n".join(
        _figures_row(name, row) for name, row in sorted(gate["candidate"]["objectives"].items())
    )
    lines = "\n".join(f"| `{step}` | `{value}` |" for step, value in hashes.items())
    revision = f" at revision `{base.revision}`" if base.revision else ""
    return f"""---
{licence(base)}library_name: transformers
pipeline_tag: text-generation
tags: [concord, preference-optimization, multi-objective]
---

# Aligned model

Policy `{choice["policy"]}` of `{base.name}`{revision}, merged by Concord at the weights below \
into a stock checkpoint.
{dequantised(base)}
The weights were chosen by the rule `{choice["rule"]}` on validation, by rewards that training \
saw, not by gold.
Gate: {gate["verdict"]}.

| objective | weight |
|---|---|
{weights}

## Held-out figures

At these weights; intervals are 95 % bootstraps over prompts, of one trained model and one \
sampling seed.

| objective | mean | interval | units |
|---|---|---|---|
{figures}

## Lineage

SHA-256 of what the model was made from, computed by `tasks/export.py` over file names and contents.

| step | hash |
|---|---|
{lines}
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


def _figures_row(name: str, row: Mapping[str, Any]) -> str:
    interval = f"{_number(row['ci_low'])} to {_number(row['ci_high'])}"
    return f"| {name} | {_number(row['gold_mean'])} | {interval} | {row['n']} |"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def main() -> None:
    """Runs the stage."""
    run(load(ExportParams, "export"), load(Model, "model"))
    print(f"exported to {ALIGNED}; load it with AutoModelForCausalLM.from_pretrained")


if __name__ == "__main__":
    command(main)
