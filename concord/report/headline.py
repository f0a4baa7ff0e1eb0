"""The README's picture and table of the default run, from the reports and the kept answers.

    python -m concord.report.headline      # rewrites docs/headline.svg and the table in README.md

The table compares the published model with the SFT model, and with the best rival that was trained
at the weights of the owner. The picture shows one domain of the published policy: its sweep, three
of its answers, and the rivals.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from concord.evaluation.metrics import Clusters, Interval, interval
from concord.evaluation.policies.protocol import EQUAL
from concord.objectives import domain_weights, objectives_of
from concord.report.example_answers import three_weights
from concord.stage import outputs
from concord.stage.params import read
from concord.stage.paths import REPORTS, SAMPLES

README = Path("README.md")
PICTURE = Path("docs/headline.svg")
DOMAIN = "tutoring"
BEGIN, END = "<!-- headline: begin -->", "<!-- headline: end -->"
LOCKED = "locked"
CLUSTER = "prompt_id"


@dataclass(frozen=True)
class Row:
    """One objective: gold means on held-out prompts."""

    objective: str
    sft: float
    published: Interval
    """Of the published model; `change` is its paired difference to the SFT model."""
    change: Interval
    rival: Interval | None


class Record:
    """The figures of a finished run below `root`."""

    def __init__(self, root: Path = Path()) -> None:
        self.root = root
        self.params = read(root / "params.yaml")
        self.choice = outputs.read_json(root / REPORTS / "select.json")
        self.objectives = objectives_of(self.params)
        self.policies: dict[str, dict[str, Any]] = {
            name: outputs.read_json(root / REPORTS / f"policies/{name}.json")
            for name in self.params["policies"]
        }

    @property
    def published(self) -> str:
        """The policy that is exported."""
        return str(self.choice["policy"])

    @property
    def reference(self) -> str:
        """The SFT model's entry among the policies."""
        entries: dict[str, Any] = self.params["policies"]
        return next(name for name, entry in entries.items() if entry["method"] == "reference")

    @property
    def weights(self) -> dict[str, float]:
        """What the objectives are worth to the owner; equal if `select.weights` is empty."""
        given: dict[str, float] = self.params["select"].get("weights") or {}
        return given or {name: 1.0 for name, o in self.objectives.items() if o.in_vector}

    def rivals(self) -> list[str]:
        """Policies that were trained at the weights of the owner."""
        wanted = self.weights
        entries = self.params["policies"].items()
        return [name for name, entry in entries if entry.get("weights") == wanted]

    def best_rival(self) -> str | None:
        """The rival with the highest utility, the mean over domains of sum_i w_i gold_i."""
        return max(self.rivals(), key=self.utility, default=None)

    def utility(self, policy: str) -> float:
        """The mean over domains of sum_i w_i gold_i, w the weights of the owner."""
        objectives = self.policies[policy]["objectives"]
        domains = sorted({self.objectives[name].domain for name in objectives})
        total = 0.0
        for domain in domains:
            weights = domain_weights(self.weights, self.objectives, domain)
            total += sum(w * objectives[name]["gold_mean"] for name, w in weights.items())
        return total / len(domains)

    def members(self, domain: str) -> list[str]:
        """The objectives of the vector in one domain."""
        return [n for n, o in self.objectives.items() if o.domain == domain and o.in_vector]

    def samples(self, policy: str, domain: str, point: str) -> pd.DataFrame:
        """Answers to the held-out prompts of a domain; a policy without heads has one point."""
        frame = outputs.read_table(self.root / SAMPLES / f"{policy}.parquet")
        frame = frame[(frame["split"] == LOCKED) & (frame["domain"] == domain)]
        named = frame[frame["point"] == point]
        return named if len(named) else frame[frame["point"] == EQUAL]

    def rows(self) -> Iterator[Row]:
        """A row per objective of the vector."""
        rival = self.best_rival()
        seed, count = self.params["seeds"]["data"], self.params["evaluate"]["bootstrap"]
        for domain, point in self.choice["points"].items():
            names = self.members(domain)
            policies = [self.reference, self.published, *([rival] if rival else [])]
            frames = [
                self.samples(policy, domain, point).assign(point=policy) for policy in policies
            ]
            clusters = Clusters.of(pd.concat(frames), [f"gold.{name}" for name in names])
            means, draws = clusters.mean(), clusters.bootstrap(count, seed)
            for column, name in enumerate(names):
                values = [
                    interval(means[p, column], draws[:, p, column]) for p in range(len(policies))
                ]
                change = interval(
                    means[1, column] - means[0, column], draws[:, 1, column] - draws[:, 0, column]
                )
                yield Row(name, values[0].value, values[1], change, values[2] if rival else None)


def table(record: Record) -> str:
    """The Markdown table, and what it says in a sentence."""
    rows, rival = list(record.rows()), record.best_rival()
    heads = ["objective", "SFT", "published model"]
    heads += [f"`{rival}`, trained at the same weights"] if rival else []
    lines = [_line(heads), "|---" * len(heads) + "|"]
    for row in rows:
        cells = [f"`{row.objective}`", f"{row.sft:.3f}"]
        cells.append(f"{_shown(row.published)} {_mark(row.change)}")
        cells += [_shown(row.rival)] if row.rival else []
        lines.append(_line(cells))
    return "\n".join([*lines, "", sentence(record, rows)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def sentence(record: Record, rows: Sequence[Row]) -> str:
    """What the published model does, misses included."""
    prompts = record.policies[record.published]["prompts"][DOMAIN]
    higher = sum(row.change.low > 0 for row in rows)
    lower = [f"`{row.objective}`" for row in rows if row.change.high < 0]
    above = sum(row.rival is not None and row.rival.value > row.published.value for row in rows)
    text = (
        f"Gold means on {prompts} held-out prompts per domain, 95 % intervals, one training run. "
        "▲ ▼: the difference to SFT on the same prompts excludes 0. The published model raises "
        f"{higher} of {len(rows)} objectives and lowers {', '.join(lower) or 'none'}. "
    )
    if rival := record.best_rival():
        text += f"`{rival}`, which cannot be steered, has the higher mean in {above}. "
    text += "More: [docs/results](docs/results)."
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _shown(value: Interval) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _mark(change: Interval) -> str:
    if change.low > 0:
        return "▲"
    return "▼" if change.high < 0 else "="


def picture(record: Record) -> str:
    """SVG: the sweep of the published policy in one domain, three answers, the rivals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    across, up = record.members(DOMAIN)[:2]
    swept = record.policies[record.published]["sweep"][across]
    settings: Any = {"svg.hashsalt": "concord", "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(settings):
        figure, axes = pyplot.subplots(figsize=(9.5, 5.0))
        _draw_sweep(axes, swept, across, up)
        _draw_published(axes, record, across, up)
        _draw_rivals(axes, record, across, up)
        _pin_answers(axes, record, swept, across, up)
        axes.set_xlabel(f"{across}: {record.objectives[across].description}")
        axes.set_ylabel(f"{up}: {record.objectives[up].description}")
        axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        with io.StringIO() as text:
            figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
            svg = text.getvalue()
        pyplot.close(figure)
    return re.sub(r"[ \t]+\n", "\n", svg)


def _means(entry: Mapping[str, Any], across: str, up: str) -> tuple[float, float]:
    return entry["objectives"][across]["gold_mean"], entry["objectives"][up]["gold_mean"]


def _draw_sweep(axes: Any, swept: Sequence[Mapping[str, Any]], across: str, up: str) -> None:
    points = [_means(entry, across, up) for entry in swept]
    axes.plot(*zip(*points, strict=True), color="#0b6e4f", linewidth=3.5, marker="o", zorder=3)


def _draw_published(axes: Any, record: Record, across: str, up: str) -> None:
    points = record.policies[record.published]["points"]
    wanted = record.choice["points"][DOMAIN]
    entry = next(e for e in points if e["domain"] == DOMAIN and e["point"] == wanted)
    x, y = _means(entry, across, up)
    axes.plot([x], [y], color="#e07a1f", marker="*", markersize=16, linestyle="none", zorder=4)
    axes.annotate("published", (x, y), (8, 6), textcoords="offset points", color="#a5540e")


def _draw_rivals(axes: Any, record: Record, across: str, up: str) -> None:
    """In grey, each with its KL from the SFT model; labels alternate above and below."""
    others = [name for name in record.policies if name != record.published]
    others.sort(key=lambda name: _means(record.policies[name], across, up))
    for number, name in enumerate(others):
        x, y = _means(record.policies[name], across, up)
        kl = record.policies[name]["by_domain"][DOMAIN]["kl"]
        label = name if name == record.reference else f"{name}, KL {kl:.1f}"
        axes.plot([x], [y], color="#888888", marker="s", linestyle="none", zorder=2)
        offset = (7, -13 if number % 2 else 5)
        axes.annotate(
            label, (x, y), offset, textcoords="offset points", color="#666666", fontsize=8
        )


def _pin_answers(
    axes: Any, record: Record, swept: Sequence[Mapping[str, Any]], across: str, up: str
) -> None:
    """The answers to one prompt at both ends of the sweep and in its middle."""
    samples = outputs.read_table(record.root / SAMPLES / f"{record.published}.parquet")
    held_out = samples[(samples["split"] == LOCKED) & (samples["domain"] == DOMAIN)]
    example = three_weights(held_out, [across, up])
    if example is None:
        return
    prompt = " ".join(turn["content"] for turn in example["messages"])
    axes.text(0.01, 0.02, _wrapped(f"Prompt: {prompt}", 60), transform=axes.transAxes, fontsize=8)
    by_weight = {round(entry["weights"][across], 3): entry for entry in swept}
    weighted = [(answer["weights"][across], answer["response"]) for answer in example["answers"]]
    placed = sorted(
        (_means(by_weight[round(weight, 3)], across, up), weight, response)
        for weight, response in weighted
    )
    for number, ((x, y), weight, response) in enumerate(placed):
        kl = by_weight[round(weight, 3)]["kl"]
        axes.annotate(
            _wrapped(f"{across} {weight:g}, {up} {1 - weight:g} (KL {kl:.1f}): {response}", 42),
            (x, y),
            (0.02 + 0.35 * number, 1.04),
            textcoords="axes fraction",
            fontsize=8,
            va="bottom",
            arrowprops={"arrowstyle": "-", "color": "#0b6e4f", "linewidth": 0.8},
            bbox={"boxstyle": "round", "facecolor": "#eef7f2", "edgecolor": "#0b6e4f"},
        )


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width))


def with_table(readme: str, content: str) -> str:
    """The README with `content` between its two markers."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{content}\n{END}", readme)


def main() -> None:
    """Rewrites the picture, and the table in the README."""
    record = Record()
    outputs.write_text(PICTURE, picture(record))
    outputs.write_text(README, with_table(README.read_text(encoding="utf-8"), table(record)))


if __name__ == "__main__":
    main()
