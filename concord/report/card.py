"""The model card of a candidate, in Markdown: how to use it, and what it gained and lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from concord.evaluation.gates.verdict import MEANS, RESULTS, means_of
from concord.evaluation.metrics import Interval
from concord.evaluation.policies.published import Published, Row
from concord.lm.chat import Messages
from concord.lm.types import Tokenizer
from concord.lm.usage import FRONT_MATTER, usage
from concord.report import card_training, hub_results
from concord.stage.params import Model
from concord.stage.preflight import REVISION

Report = Mapping[str, Any]
CHANCE = 0.5
"""Pair accuracy of a model that cannot tell the two answers apart."""
MEASURES = {
    "sandbox": "Mean gold reward of sampled answers to the locked world, from 0 to 1.",
    "likelihood": (
        "Pair accuracy: of two human-labelled answers to a held-out prompt, how often the "
        f"preferred one has the higher likelihood per token. {CHANCE:g} is chance; below it, the "
        "model prefers the other answer."
    ),
    "judged": (
        "Mean rating, from 0 to 1, that a judge predicts for sampled answers to held-out prompts; "
        "share of right answers where an objective has a verifier."
    ),
}
"""Protocol -> what the figures are."""


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
    gate, choice = record.gate, record.choice
    status = "Aligned model" if gate["accepted"] else "Refused candidate: do not publish"
    entry = record.params["policies"][record.policy]
    revision = f" at revision `{base.revision}`" if base.revision else ""
    return f"""---
{card_training.licence(base)}{_base_model(base)}{FRONT_MATTER}\
{hub_results.model_index(record, folder.name, benchmark)}---

# {status}

Gate: {gate["verdict"]}.

`{base.name}`{revision}, fine-tuned on demonstrations and then aligned to \
{len(record.rows)} objectives by the policy `{record.policy}` (method `{entry["method"]}`). \
Concord merged it at the weights below into a stock checkpoint.
{card_training.dequantised(base)}
{usage(folder, tokenizer, _example(record), record.results["conditions"]["temperature"])}
## Weights

| objective | a high score means | asked | weight |
|---|---|---|---|
{_weights(record)}

Rule `{choice["rule"]}`; weights sum to 1 within a domain. They were chosen by rewards that \
training saw, not by the figures below. They are fixed in this file: to move them, publish the \
policy again.

## What it gained and lost

{MEASURES[record.results["conditions"]["protocol"]]} Intervals are 95 % bootstraps over prompts, \
of one training and one sampling seed; the change from the SFT model `{record.reference}` is paired.

| objective | SFT | this model | change | held-out |
|---|---|---|---|---|
{_changes(record)}

{_summary(record.rows)}
{_agreement(record.results)}
Mean KL from the SFT model, in nats per answer: {_divergence(record.results)}.

### The gate

| gate | result | why |
|---|---|---|
{gates(gate)}

{_compared(gate)}
| objective | mean | interval | n | difference | lower bound | margin |
|---|---|---|---|---|---|---|
{_gate_rows(record.results, gate)}

## Training data

{card_training.data(record.params, data)}
## Limits

{card_training.limits(record, base)}
## Lineage

The evaluated checkpoint has SHA-256 `{record.results["checkpoint"]}`. SHA-256 of what it was made \
from, computed by `concord/steering/checkpoint.py` over file names and contents:

| step | hash |
|---|---|
{_table((f"`{step}`", f"`{value}`") for step, value in hashes.items())}
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


def _weights(record: Published) -> str:
    return _table(
        (name, record.objectives[name].description, f"{asked:.4f}", f"{entry['weights'][name]:.4f}")
        for entry in record.choice["domains"].values()
        for name, asked in entry["asked"].items()
    )


def _changes(record: Published) -> str:
    pairs = record.results["conditions"]["protocol"] == "likelihood"
    units = {
        name: figures["n"]
        for entry in record.results["domains"].values()
        for name, figures in entry["objectives"].items()
    }
    return _table(
        (
            row.objective,
            _shown(row.sft, pairs),
            _shown(row.candidate, pairs),
            f"{row.change.value:+.3f} [{row.change.low:+.3f}, {row.change.high:+.3f}] "
            f"{_direction(row)}",
            f"{units[row.objective]} {'pairs' if pairs else 'answers'}",
        )
        for row in record.rows
    )


def _shown(value: Interval, pairs: bool) -> str:
    below = ", below chance" if pairs and value.value < CHANCE else ""
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]{below}"


def _direction(row: Row) -> str:
    if row.change.low > 0:
        return "gained"
    return "lost" if row.change.high < 0 else "no clear change"


def _summary(rows: Sequence[Row]) -> str:
    names: dict[str, list[str]] = {"gained": [], "lost": [], "no clear change": []}
    for row in rows:
        names[_direction(row)].append(row.objective)
    parts = [f"{kind}: {', '.join(members) or 'none'}" for kind, members in names.items()]
    return f"{'; '.join(parts).capitalize()}.\n"


def _agreement(results: Report) -> str:
    """How far the judge agrees with people; empty without a judge."""
    judges = results.get("judge", {})
    if not judges:
        return ""
    shown = "; ".join(
        f"{name} {_number(figures['value'])} [{_number(figures['low'])}, "
        f"{_number(figures['high'])}] on {figures['pairs']} pairs, the longer answer "
        f"{_number(figures['longer'])}"
        for name, figures in judges.items()
    )
    return (
        "How often the judge prefers the better of two answers that people labelled "
        f"({CHANCE:g} is chance): {shown}.\n"
    )


def _divergence(results: Report) -> str:
    return ", ".join(
        f"{domain} {_number(entry['kl'])}" for domain, entry in results["domains"].items()
    )


def gates(gate: Report) -> str:
    """A row per gate: whether it holds, and why."""
    return _table(
        (f"`{row['name']}`", RESULTS[row["holds"]], row["why"].replace("|", "\\|"))
        for row in gate["gates"]
    )


def _compared(gate: Report) -> str:
    """What the differences are to."""
    if not means_of(gate):
        return ""
    rates = sorted({row["error_rate"] for row in gate["gates"] if row["name"] in MEANS})
    return (
        f"Differences are to `{gate['champion']}` on the same prompts; the bound is one-sided, at "
        f"an error rate of {' or '.join(f'{rate:g}' for rate in rates)}.\n"
    )


def _gate_rows(results: Report, gate: Report) -> str:
    rows, tests = [], means_of(gate)
    for entry in results["domains"].values():
        for name, figures in entry["objectives"].items():
            test = tests.get(name, {})
            interval = f"{_number(figures['ci_low'])} to {_number(figures['ci_high'])}"
            compared = [_number(test.get(key)) for key in ("difference", "lower_bound", "margin")]
            rows.append(
                (name, _number(figures["gold_mean"]), interval, str(figures["n"]), *compared)
            )
    return _table(rows)


def _table(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
