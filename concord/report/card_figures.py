"""The figures of the model card: what was gained and lost, and what the gates compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from concord.evaluation.gates.verdict import MEANS, RESULTS, means_of
from concord.evaluation.metrics import Interval
from concord.evaluation.policies.published import Published, Row

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


def effects(record: Published) -> str:
    """What the policy gained and lost against the SFT model."""
    return f"""## What it gained and lost

{MEASURES[record.results["conditions"]["protocol"]]} Intervals are 95 % bootstraps over prompts, \
of one training and one sampling seed; the change from the SFT model `{record.reference}` is paired.

| objective | SFT | this model | change | held-out |
|---|---|---|---|---|
{_changes(record)}

{_summary(record.rows)}
{_agreement(record.results)}
Mean KL from the SFT model, in nats per answer: {_divergence(record.results)}.
"""


def gate(results: Report, judged: Report) -> str:
    """The gates, and the figures of the candidate that they compared."""
    return f"""### The gate

| gate | result | why |
|---|---|---|
{_gates(judged)}

{_compared(judged)}
| objective | mean | interval | n | difference | lower bound | margin |
|---|---|---|---|---|---|---|
{_gate_rows(results, judged)}
"""


def _changes(record: Published) -> str:
    pairs = record.results["conditions"]["protocol"] == "likelihood"
    units = {
        name: figures["n"]
        for entry in record.results["domains"].values()
        for name, figures in entry["objectives"].items()
    }
    return table(
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


def _gates(gate: Report) -> str:
    """A row per gate: whether it holds, and why."""
    return table(
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
    return table(rows)


def table(rows: Iterable[Sequence[str]]) -> str:
    """The rows of a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
