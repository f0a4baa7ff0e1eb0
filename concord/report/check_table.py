"""The table of checks on the page: each check with every head and model that it was measured on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from concord.evaluation.check_figures import judged

if TYPE_CHECKING:
    from concord.report.reports import Reports


def check_rows(reports: Reports) -> list[dict[str, Any]]:
    """A row per check and head, process head, policy or candidate; see `check_figures.judged`.

    `kind` says what the subject is. Policies also have `likelier` and
    `likelier_sft`.
    """
    subjects = {
        f"{head['objective']} by {head['group']}": ("reward head", head.get("checks", {}))
        for head in reports.heads
    }
    subjects["process reward model"] = ("reward head", reports.process.get("checks", {}))
    for name, report in reports.policies.items():
        subjects[name] = ("policy", report.get("checks", {}))
    results = reports.json("candidate/results")
    subjects["candidate"] = ("at the selected weights", results.get("checks", {}))
    measured = [(name, figures) for name, (_, figures) in subjects.items()]
    rows = judged(reports.checks, measured)
    return [{**row, "kind": subjects[row["subject"]][0]} for row in rows]
