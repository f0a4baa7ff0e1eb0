"""Writes the report page and the metrics of the run, and prints the paths of the results.

    reports/**, params.yaml
    -> reports/index.html, reports/metrics.json

    python -m tasks.report

The metrics are what `dvc exp show` compares between runs: a mean per objective, the utility and the
regret of the candidate, and the verdict of the gate. Everything else is in the other reports.
"""

from __future__ import annotations

from concord.stage import outputs
from concord.stage.command import command
from concord.stage.params import read
from concord.stage.paths import ALIGNED, REPORTS

PAGE = REPORTS / "index.html"
METRICS = REPORTS / "metrics.json"
PRODUCED = {
    "report page": PAGE,
    "front picture": REPORTS / "front.svg",
    "figures": REPORTS / "front.json",
    "checkpoint": ALIGNED,
}


def run() -> None:
    """Renders the page from the files under reports/, and writes the metrics."""
    from concord.evaluation.policies.published import Published
    from concord.report.page import render

    params = read()
    outputs.write_text(PAGE, render(params))
    outputs.write_json(METRICS, Published(params).metrics())


def produced() -> list[str]:
    """One line per existing result: its name and path."""
    return [f"{name:<14} {path.resolve()}" for name, path in PRODUCED.items() if path.exists()]


def main() -> None:
    """Runs the stage."""
    run()
    print("\n".join(produced()))


if __name__ == "__main__":
    command(main)
