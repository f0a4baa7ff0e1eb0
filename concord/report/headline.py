"""The README's picture and table of the default run, from the reports and the kept answers.

    python -m concord.report.headline      # rewrites docs/headline.svg and the table in README.md

The table compares the candidate with the SFT model, and with the best rival that was trained at the
weights of the owner (`concord.evaluation.policies.published`). The picture shows one domain of its
policy: the sweep, three answers, and the rivals.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from concord.evaluation.metrics import Interval
from concord.evaluation.policies.published import Published
from concord.report.example_answers import three_weights
from concord.stage import outputs
from concord.stage.params import read
from concord.stage.paths import REPORTS, SAMPLES

README = Path("README.md")
PICTURE = Path("docs/headline.svg")
DOMAIN = "tutoring"
BEGIN, END = "<!-- headline: begin -->", "<!-- headline: end -->"
LOCKED = "locked"


class Record(Published):
    """The figures of a finished run below `root`, with the reports of its policies."""

    def __init__(self, root: Path = Path()) -> None:
        super().__init__(read(root / "params.yaml"), root)
        self.policies: dict[str, dict[str, Any]] = {
            name: outputs.read_json(root / REPORTS / f"policies/{name}.json")
            for name in self.params["policies"]
        }


def table(record: Record) -> str:
    """The Markdown table, and what it says in a sentence."""
    subject = "published model" if record.gate["accepted"] else "refused candidate"
    heads = ["objective", "SFT", subject]
    heads += [f"`{record.rival}`, trained at the same weights"] if record.rival else []
    lines = [_line(heads), "|---" * len(heads) + "|"]
    for row in record.rows:
        cells = [f"`{row.objective}`", f"{row.sft.value:.3f}"]
        cells.append(f"{_shown(row.candidate)} {_mark(row.change)}")
        cells += [_shown(row.rival)] if row.rival else []
        lines.append(_line(cells))
    return "\n".join([*lines, "", explanation(record)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def explanation(record: Record) -> str:
    """What the table shows, and the result in a sentence."""
    prompts = record.results["prompts"][DOMAIN]
    text = (
        f"Gold means on {prompts} held-out prompts per domain, one training run. "
        f"▲ ▼: the paired difference to SFT excludes 0. {record.sentence()} "
        "More: [docs/results](docs/results)."
    )
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
    swept = record.policies[record.policy]["sweep"][across]
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
    x, y = _means(record.results["domains"][DOMAIN], across, up)
    axes.plot([x], [y], color="#e07a1f", marker="*", markersize=16, linestyle="none", zorder=4)
    axes.annotate("published", (x, y), (8, -14), textcoords="offset points", color="#a5540e")


def _draw_rivals(axes: Any, record: Record, across: str, up: str) -> None:
    """In grey, each with its KL from the SFT model.

    Labels alternate above and below; those of points left of the published one are on their left.
    """
    published = _means(record.results["domains"][DOMAIN], across, up)[0]
    others = [name for name in record.policies if name != record.policy]
    others.sort(key=lambda name: _means(record.policies[name], across, up))
    for number, name in enumerate(others):
        x, y = _means(record.policies[name], across, up)
        kl = record.policies[name]["by_domain"][DOMAIN]["kl"]
        label = name if name == record.reference else f"{name}, KL {kl:.1f}"
        axes.plot([x], [y], color="#888888", marker="s", linestyle="none", zorder=2)
        side, aligned = (-7, "right") if x < published else (7, "left")
        axes.annotate(
            label,
            (x, y),
            (side, -13 if number % 2 else 5),
            textcoords="offset points",
            ha=aligned,
            color="#666666",
            fontsize=8,
        )


def _pin_answers(
    axes: Any, record: Record, swept: Sequence[Mapping[str, Any]], across: str, up: str
) -> None:
    """The answers to one prompt at both ends of the sweep and in its middle."""
    samples = outputs.read_table(record.root / SAMPLES / f"{record.policy}.parquet")
    held_out = samples[(samples["split"] == LOCKED) & (samples["domain"] == DOMAIN)]
    example = three_weights(held_out, [across, up])
    if example is None:
        return
    turns = "  ".join(f"{turn['role']}: {turn['content']}" for turn in example["messages"])
    below = {"transform": axes.transAxes, "va": "top", "fontsize": 8}
    axes.text(0, -0.16, _wrapped(f"The prompt of the three answers.  {turns}", 130), **below)
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
