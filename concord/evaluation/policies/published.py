"""The candidate against the SFT model and the best rival at the owner's weights.

Both comparisons are paired: all three answered the same held-out prompts. A rival is a policy that
was trained at the owner's weights, `select.weights`, and so cannot be moved afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from concord.evaluation.metrics import Clusters, Interval, interval
from concord.evaluation.policies.likelihood import judged_units
from concord.evaluation.policies.protocol import EQUAL
from concord.objectives import domain_weights, objectives_of
from concord.stage import outputs
from concord.stage.paths import CANDIDATE, REPORTS, SAMPLES

SPLITS = {
    "sandbox": "the locked world",
    "likelihood": "held-out human labels",
    "judged": "held-out prompts, by a judge fitted to human ratings",
}
"""Protocol -> what the policies are compared on."""


@dataclass(frozen=True)
class Row:
    """One objective on held-out prompts."""

    objective: str
    sft: Interval
    candidate: Interval
    change: Interval
    """Candidate less SFT, paired."""
    rival: Interval | None
    lead: Interval | None
    """Candidate less rival, paired."""


class Published:
    """The figures of a finished run below `root`, the folder of params.yaml.

    Without `with_rival`, the candidate is compared with the SFT model only.
    """

    def __init__(
        self, params: Mapping[str, Any], root: Path = Path(), with_rival: bool = True
    ) -> None:
        self.root, self.with_rival = root, with_rival
        self.params = params
        self.choice = outputs.read_json(root / REPORTS / "select.json")
        self.gate = outputs.read_json(root / REPORTS / "gate.json")
        self.results = outputs.read_json(root / CANDIDATE / "results.json")
        self.objectives = objectives_of(params)

    @property
    def policy(self) -> str:
        """The policy that the candidate was merged from."""
        return str(self.choice["policy"])

    @property
    def reference(self) -> str:
        """The SFT model's name among the policies."""
        return str(self.choice["reference"])

    @property
    def weights(self) -> dict[str, float]:
        """What the objectives are worth to the owner; equal if `select.weights` is empty."""
        given: dict[str, float] = self.params["select"].get("weights") or {}
        return given or {name: 1.0 for name, o in self.objectives.items() if o.in_vector}

    def rivals(self) -> list[str]:
        """Policies that were trained at the weights of the owner."""
        if not self.with_rival:
            return []
        entries = self.params["policies"].items()
        return [name for name, entry in entries if entry.get("weights") == self.weights]

    @cached_property
    def rival(self) -> str | None:
        """The rival with the highest utility; None without rivals."""
        utilities = {name: self.utility(self.samples(name)) for name in self.rivals()}
        return max(utilities, key=lambda name: utilities[name], default=None)

    def members(self, domain: str) -> list[str]:
        """The objectives of the vector in one domain."""
        return [n for n, o in self.objectives.items() if o.domain == domain and o.in_vector]

    def samples(self, policy: str) -> pd.DataFrame:
        """Judged answers of a policy to held-out prompts, at equal weights."""
        frame = outputs.read_table(self.root / SAMPLES / f"{policy}.parquet")
        return frame[(frame["split"] != "validation") & (frame["point"] == EQUAL)]

    def candidate(self) -> pd.DataFrame:
        """Judged answers of the candidate."""
        return outputs.read_table(self.root / CANDIDATE / "samples.parquet")

    def utility(self, samples: pd.DataFrame) -> float:
        """The mean over domains of sum_i w_i gold_i, w the weights of the owner.

        NaN if no domain was judged.
        """
        total, domains = 0.0, self.results["domains"]
        for domain in domains:
            names = self.members(domain)
            means = Clusters.of(
                judged_units(samples, domain, names), [f"gold.{name}" for name in names]
            ).mean()[0]
            share = domain_weights(self.weights, self.objectives, domain)
            total += sum(
                share[name] * mean for name, mean in zip(names, means, strict=True) if share[name]
            )
        return total / len(domains) if domains else float("nan")

    @cached_property
    def rows(self) -> list[Row]:
        """A row per objective that was judged."""
        seed, count = self.params["seeds"]["data"], self.params["evaluate"]["bootstrap"]
        sides = {
            "sft": self.samples(self.reference),
            "candidate": self.candidate(),
        }
        if self.rival:
            sides["rival"] = self.samples(self.rival)
        rows = []
        for domain in self.results["domains"]:
            names = self.members(domain)
            units = [
                judged_units(frame, domain, names).assign(side=side)
                for side, frame in sides.items()
            ]
            clusters = Clusters.of(
                pd.concat(units), [f"gold.{name}" for name in names], across="side"
            )
            means, draws = clusters.mean(), clusters.bootstrap(count, seed)
            for column, name in enumerate(names):
                if not clusters.counts[:, :, column].any():
                    continue
                mean, draw = means[:, column], draws[:, :, column]
                shown = [interval(mean[side], draw[:, side]) for side in range(len(sides))]
                gaps = [
                    interval(mean[1] - mean[side], draw[:, 1] - draw[:, side])
                    for side in range(len(sides))
                ]
                other = (shown[2], gaps[2]) if self.rival else (None, None)
                rows.append(Row(name, shown[0], shown[1], gaps[0], *other))
        return rows

    def metrics(self) -> dict[str, Any]:
        """The figures of the candidate by which runs are compared.

        `mean.<objective>` on held-out prompts; `utility`, the mean at the owner's weights;
        `regret`, by how much the best rival's utility is above it, None without rivals; `verdict`.
        """
        utility = self.utility(self.candidate())
        best = None if self.rival is None else self.utility(self.samples(self.rival))
        return {
            "mean": {row.objective: row.candidate.value for row in self.rows},
            "utility": utility,
            "regret": None if best is None else best - utility,
            "verdict": "accepted" if self.gate["accepted"] else "refused",
        }

    def sentence(self) -> str:
        """What the candidate does, misses included."""
        return f"{'; '.join(part for part in (self.gains(), self.comparison()) if part)}."

    def gains(self) -> str:
        """How many objectives the candidate raises over the SFT model, and which it lowers."""
        subject = "the published model" if self.gate["accepted"] else "the refused candidate"
        split = SPLITS[self.results["conditions"]["protocol"]]
        higher = sum(row.change.low > 0 for row in self.rows)
        lower = [row.objective for row in self.rows if row.change.high < 0]
        return (
            f"On {split}, {subject} raises {higher} of {len(self.rows)} objectives over "
            f"{self.reference} (95 % intervals) and lowers {', '.join(lower) or 'none'}"
        )

    def comparison(self) -> str:
        """In how many objectives the best rival is above and below the candidate; or empty."""
        if not self.rival:
            return ""
        ahead = sum(row.lead is not None and row.lead.high < 0 for row in self.rows)
        behind = sum(row.lead is not None and row.lead.low > 0 for row in self.rows)
        return (
            f"{self.rival}, trained at the same weights and not steerable, is above it in "
            f"{ahead} and below it in {behind}"
        )
