"""Write the report page, and say what the run produced and where.

reports/**, params.yaml -> reports/index.html

    python -m tasks.report
"""

from __future__ import annotations

from pathlib import Path

from tasks.stage import outputs
from tasks.stage.errors import command
from tasks.stage.params import read

PAGE = Path("reports/index.html")
PRODUCED = {
    "report page": PAGE,
    "front picture": Path("reports/front.svg"),
    "figures": Path("reports/front.json"),
    "checkpoint": Path("models/aligned"),
}


def run() -> None:
    """Renders the page from everything under reports/."""
    from tasks.evaluation.report import render

    outputs.write_text(PAGE, render(read()))


def produced() -> list[str]:
    """One line for each thing that is there: what it is, and its path."""
    return [f"{what:<14} {path.resolve()}" for what, path in PRODUCED.items() if path.exists()]


def main() -> None:
    """Runs the stage."""
    run()
    print("\n".join(produced()))


if __name__ == "__main__":
    command(main)
