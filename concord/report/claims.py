"""What was found, in words: the report's one sentence, and the table of claims with what each does not show."""

from collections.abc import Mapping
from typing import Any

MARK = 0.8
"""Share of the way from the length baseline to the ceiling that a reward head should reach."""

Report = Mapping[str, Any]
Row = dict[str, str]


def shown(figures: Report, name: str = "value", signed: bool = False) -> str:
    """A figure with three decimals; a missing one is a dash."""
    value = figures.get(name)
    return "-" if value is None else f"{value:{'+' if signed else ''}.3f}"


def bounds(figures: Report, prefix: str = "ci") -> str:
    """An interval in brackets; empty if it is missing."""
    low, high = figures.get(f"{prefix}_low"), figures.get(f"{prefix}_high")
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def entries(front: Report) -> dict[str, Any]:
    """Domain -> its entry in reports/front.json."""
    return {name: entry for name, entry in front.items() if "objectives" in entry}


def moved(front: Report, policy: str) -> dict[str, list[str]]:
    """Objectives that the policy raises, lowers or leaves, beyond the 95 % interval of the paired difference."""
    found: dict[str, list[str]] = {"raised": [], "lowered": [], "same": []}
    for entry in entries(front).values():
        for name, figures in entry["differences"].get(policy, {}).items():
            side = (
                "raised"
                if figures["ci_low"] > 0
                else "lowered"
                if figures["ci_high"] < 0
                else "same"
            )
            found[side].append(name)
    return found


def mean_correlation(front: Report, policy: str) -> float | None:
    """Mean over objectives of the rank correlation between own weight and mean; None for a policy without heads."""
    found = [figures["rank_correlation"] for figures in front["control"].get(policy, {}).values()]
    return sum(found) / len(found) if found else None


def sentence(front: Report, policy: str, report: Report) -> str:
    """The result in one sentence, whichever way it came out."""
    reference = next(
        (e["reference_policy"] for e in entries(front).values() if e["reference_policy"]), None
    )
    found = moved(front, policy)
    total = sum(map(len, found.values()))
    place = "the locked world" if report["protocol"] == "sandbox" else "held-out human labels"
    if not total:
        return f"On {place}, {policy} is the policy chosen; there is no reference policy to compare it with."
    lowered = f"lowers {', '.join(found['lowered'])}" if found["lowered"] else "lowers none"
    text = (
        f"On {place}, {policy} at equal weights raises {len(found['raised'])} of {total} objectives over {reference} "
        f"beyond the 95 % interval and {lowered}"
    )
    correlation = mean_correlation(front, policy)
    if correlation is None:
        return text + "."
    return f"{text}; its head weights steer each objective with a mean rank correlation of {correlation:.2f}."


def claims(front: Report, policy: str, reports: Report) -> list[Row]:
    """Every claim of the page with its command, figure, interval, seeds, and what it does not show.

    `reports` has the keys `policies`, `rewards` (rows of all heads) and `process`.
    """
    seeds = reports["policies"][policy]["seeds"]
    text = f"data {seeds['data']}, sampling {seeds['sampling']}, locked {seeds['locked']}"
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
    found = moved(front, policy)
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
            f"{len(found['raised'])} raised, {len(found['lowered'])} lowered, {len(found['same'])} unchanged",
            f"smallest: {name} {shown(least, signed=True)} {bounds(least)}",
            "one training run: the interval covers prompts and not the luck of training",
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
            f"moving an objective's own head weight in {policy} moves its mean",
            f"dvc repro evaluate@{policy} front",
            f"mean rank correlation {mean:.2f}, ranges {min(ranges):.3f} to {max(ranges):.3f}",
            f"lowest: {name} {shown(least, 'rank_correlation')} {bounds(least)}",
            f"order over {len(least['weights'])} weights with the rest shared equally, not other mixes",
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
        own, other = volumes[policy], volumes[best]
        rows.append(
            _row(
                f"{domain}: hypervolume of {policy} against the best other policy, one point each",
                "dvc repro front",
                f"{shown(own)} against {shown(other)} ({best})",
                f"{bounds(own)} against {bounds(other)}",
                "policies are not matched in KL; the order depends on the reference point",
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
                    "helpfulness on borderline questions as the weight of harmless goes from 0 to 1",
                    f"dvc repro evaluate@{policy} front",
                    f"{shown(curve[0])} to {shown(curve[-1])}",
                    f"{bounds(curve[0])} to {bounds(curve[-1])}",
                    "questions that only look hazardous by construction of the generated world",
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
            "pairs by simulated authors; answers of a trained policy may be harder to tell apart",
        )
    ]


def _process(process: Report) -> list[Row]:
    return [
        _row(
            f"{name}: best of {figures['n']} by the process reward model against the majority vote",
            "dvc repro evaluate_rewards",
            f"{shown(all_of['scorer'])} against {shown(all_of['majority'])}",
            f"gain {shown(gain, signed=True)} {bounds(gain)}",
            f"{figures['questions']} problems; samples of the SFT model only",
        )
        for name, figures in process.get("best_of_n", {}).items()
        if figures
        for all_of in [figures["by_size"][str(figures["n"])]]
        for gain in [all_of["gain_of_scorer_over_majority"]]
    ]
