"""Writes the report page and prints the paths of the results.

reports/**, params.yaml
-> reports/index.html

python -m tasks.report
"""

from __future__ import annotations

from concord.stage import outputs
from concord.stage.errors import command
from concord.stage.params import read
from concord.stage.paths import ALIGNED, REPORTS

PAGE = REPORTS / "index.html"
PRODUCED = {
    "report page": PAGE,
    "front picture": REPORTS / "front.svg",
    "figures": REPORTS / "front.json",
    "checkpoint": ALIGNED,
}


def run() -> None:
    """Renders the page from the files under reports/."""
    from concord.report.page import render

    outputs.write_text(PAGE, render(read()))


def produced() -> list[str]:
    """One line per existing result: its name and path."""
    return [f"{name:<14} {path.resolve()}" for name, path in PRODUCED.items() if path.exists()]


def main() -> None:
    """Runs the stage."""
    run()
    print("\n".join(produced()))


if __name__ == "__main__":
    command(main)
