"""The model card of a candidate, in Markdown: how to use it, and what it gained and lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from concord.evaluation.policies.published import Published
from concord.lm.chat import Messages
from concord.lm.types import Tokenizer
from concord.lm.usage import FRONT_MATTER, usage
from concord.report import card_figures, card_training, hub_results
from concord.stage.params import Model
from concord.stage.preflight import REVISION

Report = Mapping[str, Any]


def card(
    record: Published,
    data: Report,
    base: Model,
    tokenizer: Tokenizer,
    folder: Path,
    hashes: Mapping[str, str],
    benchmark: str = hub_results.LOCAL,
) -> str:
    """The card.

    Args:
        record: the figures of the run.
        data: reports/data.json.
        base: the base model.
        tokenizer: the tokenizer that is written beside the model.
        folder: where the checkpoint is written.
        hashes: path of an input -> its hash.
        benchmark: the ID of the held-out data on the Hugging Face Hub.
    """
    conditions = record.results["conditions"]
    sections = [
        _front_matter(record, base, folder.name, benchmark),
        _introduction(record, base),
        usage(folder, tokenizer, _example(record), conditions["temperature"]),
        _weights(record),
        card_figures.effects(record),
        card_figures.gate(record.results, record.gate),
        f"## Training data\n\n{card_training.data(record.params, data)}",
        f"## Limits\n\n{card_training.limits(record, base)}",
        _lineage(record.results, hashes),
    ]
    return "\n".join(sections)


def _front_matter(record: Published, base: Model, name: str, benchmark: str) -> str:
    """The metadata for the Hub; `name` is that of the model."""
    figures = hub_results.model_index(record, name, benchmark)
    return f"---\n{card_training.licence(base)}{_base_model(base)}{FRONT_MATTER}{figures}---\n"


def _introduction(record: Published, base: Model) -> str:
    status = "Aligned model" if record.gate["accepted"] else "Refused candidate: do not publish"
    method = record.params["policies"][record.policy]["method"]
    revision = f" at revision `{base.revision}`" if base.revision else ""
    return f"""# {status}

Gate: {record.gate["verdict"]}.

`{base.name}`{revision}, fine-tuned on demonstrations and then aligned to \
{len(record.rows)} objectives by the policy `{record.policy}` (method `{method}`). \
Concord merged it at the weights below into a stock checkpoint.
{card_training.dequantised(base)}"""


def _weights(record: Published) -> str:
    """The weights of the user and those that were chosen."""
    rows = [
        (name, record.objectives[name].description, f"{asked:.4f}", f"{entry['weights'][name]:.4f}")
        for entry in record.choice["domains"].values()
        for name, asked in entry["asked"].items()
    ]
    return f"""## Weights

| objective | a high score means | asked | weight |
|---|---|---|---|
{card_figures.table(rows)}

Rule `{record.choice["rule"]}`; weights sum to 1 within a domain. They were chosen by rewards that \
training saw, not by the figures below. They are fixed in this file: to move them, publish the \
policy again.
"""


def _lineage(results: Report, hashes: Mapping[str, str]) -> str:
    return f"""## Lineage

The evaluated checkpoint has SHA-256 `{results["checkpoint"]}`. SHA-256 of what it was made \
from, computed by `concord/steering/checkpoint.py` over file names and contents:

| step | hash |
|---|---|
{card_figures.table((f"`{step}`", f"`{value}`") for step, value in hashes.items())}
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


def _base_model(base: Model) -> str:
    """The base model's line for the Hub; empty for a local folder."""
    pinned = base.revision is not None and REVISION.fullmatch(base.revision)
    return f"base_model: {base.name}\n" if pinned else ""


def _example(record: Published) -> Messages:
    """A held-out prompt; the shortest, so that its format is easy to see."""
    prompts: list[Messages] = record.candidate()["messages"].tolist()
    return min(prompts, key=lambda turns: sum(len(turn["content"]) for turn in turns))
