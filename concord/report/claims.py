"""The results in words: the table of claims with their limits."""

from collections.abc import Mapping
from typing import Any

MARK = 0.8
"""Target of a reward head: normalised accuracy between length baseline and ceiling."""

Report = Mapping[str, Any]
Row = dict[str, str]


def shown(figures: Report, name: str = "value", signed: bool = False) -> str:
    """A figure with three decimals; a dash if it is missing."""
    value = figures.get(name)
    if value is None:
        return "-"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def bounds(figures: Report, prefix: str = "ci") -> str:
    """An interval in brackets; empty if it is missing."""
    low, high = figures.get(f"{prefix}_low"), figures.get(f"{prefix}_high")
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def entries(front: Report) -> dict[str, Any]:
    """Domain -> its entry in reports/front.json."""
    return {name: entry for name, entry in front.items() if "objectives" in entry}


def moved(front: Report, policy: str) -> dict[str, list[str]]:
    """Objectives that the policy raises, lowers or leaves unchanged, by the 95 % interval of the
    paired difference.
    """
    sides: dict[str, list[str]] = {"raised": [], "lowered": [], "same": []}
    for entry in entries(front).values():
        for name, figures in entry["differences"].get(policy, {}).items():
            side = "lowered" if figures["ci_high"] < 0 else "same"
            sides["raised" if figures["ci_low"] > 0 else side].append(name)
    return sides


def mean_correlation(front: Report, policy: str) -> float | None:
    """Mean rank correlation of the objectives with their head weights; None without heads."""
    correlations = [
        figures["rank_correlation"] for figures in front["control"].get(policy, {}).values()
    ]
    return sum(correlations) / len(correlations) if correlations else None


def claims(front: Report, policy: str, reports: Report) -> list[Row]:
    """All claims of the page: command, figure, interval, seeds, and limits.

    `reports` has the keys `policies`, `rewards` (rows of all heads) and `process`.
    """
    seeds = reports["policies"][policy]["seeds"]
    text = f"data {seeds['data']}, sampling {seeds['sampling']}"
    if reports["policies"][policy]["protocol"] == "sandbox":
        text += f", locked {seeds['locked']}"
    rows = [
        *_moved(front, policy),
        *_steered(front, policy),
        *_hypervolumes(front, policy),
        *_borderline(front, policy),
    ]
    return [
        {**row, "seeds": text}
        for row in [*rows, *_rewards(reports["rewards"]), *_process(reports["process"])]
    ]


def _row(claim: str, command: str, figure: str, interval: str, limits: str) -> Row:
    return {
        "claim": claim,
        "command": command,
        "figure": figure,
        "interval": interval,
        "limits": limits,
    }


def _moved(front: Report, policy: str) -> list[Row]:
    sides = moved(front, policy)
    differences = [
        item for e in entries(front).values() for item in e["differences"].get(policy, {}).items()
    ]
    if not differences:
        return []
    name, least = min(differences, key=lambda item: item[1]["value"])
    return [
        _row(
            f"{policy} improves on the reference policy at equal weights",
            f"dvc repro evaluate@{policy} front",
            f"{len(sides['raised'])} raised, {len(sides['lowered'])} lowered, "
            f"{len(sides['same'])} unchanged",
            f"smallest: {name} {shown(least, signed=True)} {bounds(least)}",
            "one training run; the interval covers prompts, not training seeds",
        )
    ]


def _steered(front: Report, policy: str) -> list[Row]:
    control = front["control"].get(policy, {})
    if not control:
        return []
    name, least = min(control.items(), key=lambda item: item[1]["rank_correlation"])
    ranges = [figures["range"] for figures in control.values()]
    mean = mean_correlation(front, policy)
    return [
        _row(
            f"the head weight of an objective in {policy} controls its mean",
            f"dvc repro evaluate@{policy} front",
            f"mean rank correlation {mean:.2f}, ranges {min(ranges):.3f} to {max(ranges):.3f}",
            f"lowest: {name} {shown(least, 'rank_correlation')} {bounds(least)}",
            f"only the order over {len(least['weights'])} weights, with the rest shared equally",
        )
    ]


def _hypervolumes(front: Report, policy: str) -> list[Row]:
    rows = []
    for domain, entry in entries(front).items():
        volumes = entry["hypervolume"]
        others = [name for name in volumes if name not in (policy, entry["reference_policy"])]
        if policy not in volumes or not others:
            continue
        best = max(others, key=lambda name: volumes[name]["value"])
        volume, other = volumes[policy], volumes[best]
        rows.append(
            _row(
                f"{domain}: hypervolume of {policy} and of the best other policy, one point each",
                "dvc repro front",
                f"{shown(volume)} and {shown(other)} ({best})",
                f"{bounds(volume)} and {bounds(other)}",
                "policies have different KL; the ranking depends on the reference point",
            )
        )
    return rows


def _borderline(front: Report, policy: str) -> list[Row]:
    rows = []
    for entry in entries(front).values():
        if policy in entry["borderline"]:
            curve = entry["borderline"][policy]["helpful"]
            rows.append(
                _row(
                    "helpfulness on borderline questions at weights 0 and 1 of harmless",
                    f"dvc repro evaluate@{policy} front",
                    f"{shown(curve[0])} to {shown(curve[-1])}",
                    f"{bounds(curve[0])} to {bounds(curve[-1])}",
                    "the questions are generated; they look hazardous by construction",
                )
            )
    return rows


def _rewards(heads: list[Report]) -> list[Row]:
    judged = [head for head in heads if head["used"] and head["normalised_accuracy"] is not None]
    if not judged:
        return []
    mean = sum(head["normalised_accuracy"] for head in judged) / len(judged)
    low = sorted(
        (head for head in judged if head["normalised_accuracy"] < MARK),
        key=lambda head: head["normalised_accuracy"],
    )
    named = "; ".join(
        f"{head['objective']} {shown(head, 'normalised_accuracy')} {bounds(head, 'normalised_ci')}"
        for head in low
    )
    return [
        _row(
            "reward heads: (accuracy - length baseline) / (ceiling - length baseline)",
            "dvc repro evaluate_rewards",
            f"mean {mean:.2f} over the {len(judged)} heads of the reward vector",
            f"below {MARK}: {named or 'none'}",
            "answers of a trained policy may be harder to separate than those of the pairs",
        )
    ]


def _process(process: Report) -> list[Row]:
    rows = []
    for name, figures in process.get("best_of_n", {}).items():
        if not figures:
            continue
        largest = figures["by_size"][str(figures["n"])]
        gain = largest["gain_of_scorer_over_majority"]
        rows.append(
            _row(
                f"{name}: best of {figures['n']} by the process reward model and by majority vote",
                "dvc repro evaluate_rewards",
                f"{shown(largest['scorer'])} and {shown(largest['majority'])}",
                f"gain {shown(gain, signed=True)} {bounds(gain)}",
                f"{figures['questions']} problems; samples of the SFT model only",
            )
        )
    return rows
