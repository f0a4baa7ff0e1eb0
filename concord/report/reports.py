"""The contents of reports/ that the page and its figures show."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from concord.evaluation.policies.protocol import STANDARDS
from concord.policies.objective_gradients import COSINE
from concord.prepared.check_params import Check, read_checks
from concord.report.policy_figures import policy_colours
from concord.stage import outputs

Report = Mapping[str, Any]
SAMPLED = "All policies answer the same held-out prompts with the same random numbers."
UNITS = {
    "sandbox": SAMPLED,
    "likelihood": "All policies score the same answers of people to held-out prompts; nothing is "
    "sampled, and chance is 0.5.",
    "judged": SAMPLED,
}
"""Protocol -> what all policies have in common, in the words of the page."""
POINTS = {
    "sandbox": "All points use the same prompts and random numbers.",
    "likelihood": "All points score the same answers; chance is 0.5.",
    "judged": "All points use the same prompts and random numbers.",
}
"""Protocol -> what all weights of a policy have in common."""


@dataclass(frozen=True)
class Reports:
    """The reports below `root`; every property is read once, when it is used."""

    params: Report
    root: Path

    def json(self, name: str) -> Any:
        """The content of a JSON report, by its name without the ending."""
        return outputs.read_json(self.root / f"{name}.json")

    @cached_property
    def front(self) -> Report:
        """Comparison of the policies: domain -> its entry, and `control`."""
        content: Report = self.json("front")
        return content

    @cached_property
    def hacking(self) -> Report:
        """Flags of reward hacking, and the gains of proxies and gold."""
        content: Report = self.json("hacking")
        return content

    @cached_property
    def choice(self) -> Report:
        """The selected policy and weights."""
        content: Report = self.json("select")
        return content

    @cached_property
    def data(self) -> Report:
        """Sources, splits, labels and rejected rows."""
        content: Report = self.json("data")
        return content

    @cached_property
    def process(self) -> Report:
        """Quality of the process reward model; without objectives if there is none."""
        if "process_reward" not in self.params:
            return {"objectives": {}, "best_of_n": {}}
        content: Report = self.json("process_reward")
        return content

    @cached_property
    def labelling(self) -> Report:
        """Objective -> how its steps were labelled; empty if none were."""
        content: Report = self.json("process_labels") if "process_labels" in self.params else {}
        return content

    @cached_property
    def policies(self) -> dict[str, Report]:
        """Policy -> its report."""
        return {name: self.json(f"policies/{name}") for name in self.params["policies"]}

    @cached_property
    def protocol(self) -> str:
        """The protocol by which the policies were evaluated."""
        return str(self.policies[self.choice["policy"]]["protocol"])

    @cached_property
    def standard(self) -> str:
        """What judges the policies: gold exists only in the sandbox."""
        return STANDARDS[self.protocol]

    @cached_property
    def heads(self) -> list[dict[str, Any]]:
        """Every head of every reward model, sorted by objective.

        `used` is true if the reward vector scores the objective with this head.
        """
        rows = []
        for group in self.params.get("reward_models", {}):
            for name, report in self.json(f"rewards/{group}").items():
                objective = self.params["objectives"].get(name, {})
                used = objective.get("reward") == group and objective.get("in_vector", True)
                rows.append({"group": group, "objective": name, "used": used, **report})
        return sorted(rows, key=lambda row: row["objective"])  # stable within an objective

    @cached_property
    def checks(self) -> dict[str, Check]:
        """Name -> check, from the project that the reports belong to."""
        return read_checks(self.root.parent)

    @cached_property
    def curves(self) -> dict[str, tuple[list[float], list[float]]]:
        """Trained stage -> steps and losses; fits with fewer than two logged steps are left out."""
        curves = {}
        for file in sorted((self.root / "curves").glob("*.csv")):
            with file.open(encoding="utf-8") as lines:
                rows = [row for row in csv.DictReader(lines) if row.get("loss")]
            if len(rows) > 1:
                steps, losses = ([float(row[name]) for row in rows] for name in ("step", "loss"))
                curves[file.stem] = (steps, losses)
        return curves

    @cached_property
    def gradient_cosines(self) -> dict[str, dict[tuple[str, str], list[float]]]:
        """Policy -> pair of objectives -> the cosines between their gradients.

        Steps without a measurement and policies that measured nothing are left out.
        """
        policies = {}
        for name in self.params["policies"]:
            file = self.root / f"curves/policy_{name}.csv"
            if not file.is_file():
                continue
            with file.open(encoding="utf-8") as lines:
                table = csv.DictReader(lines)
                rows, columns = list(table), table.fieldnames or ()
            cosines = {}
            for column in columns:
                prefix, *pair = column.split(".")
                if prefix == COSINE:
                    cosines[pair[0], pair[1]] = [float(row[column]) for row in rows if row[column]]
            if cosines:
                policies[name] = cosines
        return policies

    @cached_property
    def colours(self) -> dict[str, int]:
        """Policy -> number of its colour and mark."""
        return policy_colours(self.front)
