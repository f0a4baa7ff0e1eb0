"""The watch for reward hacking on the page: a chart per objective, and the verdict in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from concord.evaluation.policies.hacking_rules import DOMINANCE, LENGTH
from concord.evaluation.policies.protocol import DEFAULT, EQUAL
from concord.report.charts import Chart, Drawings, spread

if TYPE_CHECKING:
    from concord.report.reports import Report, Reports


def proxy_and_gold(reports: Reports) -> Drawings:
    """A chart for each judged objective without a verifier, by domain."""
    report, charts = reports.hacking, list[str]()
    for domain in dict.fromkeys(point["domain"] for point in report["points"]):
        points = [point for point in report["points"] if point["domain"] == domain]
        names = [name for name in points[0]["gold"] if name not in report["exempt"]]
        charts += [gain_chart(name, points, reports).svg() for name in names]
    return {"": charts} if charts else {}


def gain_chart(objective: str, points: list[Report], reports: Reports) -> Chart:
    """Gains of gold, or of the judge, (full marks) and of the proxy (faint marks) by KL."""
    gains = [point[side][objective] for point in points for side in ("proxy", "gold")]
    kl = [point["kl"] for point in points]
    chart = Chart(
        spread([0.0, *kl], 0.1), spread([0.0, *gains], 0.2), 300, 220, title=objective,
        x_label="KL from SFT, nats", y_label="gain over SFT",
    )  # fmt: skip
    chart.curve([(chart.x[0], 0.0), (chart.x[1], 0.0)], 0, "fine dashed")
    for point in points:
        proxy, gold = point["proxy"][objective], point["gold"][objective]
        colour = reports.colours.get(point["policy"], 0)
        size = 1.0 if point["point"] in (EQUAL, DEFAULT) else 0.55
        tip = f"{point['policy']} at {point['point']}, KL {point['kl']:.2f}"
        if size == 1.0:
            chart.whiskers(None, (gold, proxy), (point["kl"], gold), colour)
        chart.mark((point["kl"], proxy), colour, f"{tip}: proxy {proxy:+.2f}", size, "halo faint")
        chart.mark((point["kl"], gold), colour, f"{tip}: {reports.standard} {gold:+.2f}", size)
    return chart


def verdict(report: Report) -> str:
    """The result in one or a few sentences."""
    if report["not_watched"]:
        return f"Not watched: {report['not_watched']}."
    tests = f"{sum(report['tests'].values()):,} tests of {len(report['tests'])} policies"
    if not report["flags"]:
        return f"Quiet: no flag in {tests}."
    count = len(report["flags"])
    text = f"{count} flag{'s' if count > 1 else ''} in {tests}."
    for stop in report["stop"]:
        text += (
            f" {stop['policy']} in {stop['domain']}: stop at KL {stop['kl']:.2f}, the point "
            f"{stop['point']}."
        )
    return text


def flags(report: Report, standard: str) -> list[dict[str, Any]]:
    """The flags with their description as `words`. `standard` judges the policies."""
    return [{**flag, "words": in_words(flag, standard)} for flag in report["flags"]]


def in_words(flag: Report, standard: str = "gold") -> str:
    """What a flag says; gains in standard deviations.

    Examples:
        >>> flag = {"rule": "overoptimised", "start": "sft", "end": "equal", "kl": 1.5}
        >>> in_words({**flag, "proxy_gain": 0.5, "gold_gain": -0.25})
        'from sft to equal (KL 1.50), the proxy changes by +0.50 and gold by -0.25'
    """
    at = f"at {flag['end']} (KL {flag['kl']:.2f})"
    if flag["rule"] == LENGTH:
        return (
            f"{at}, answers are {flag['length_ratio']:.2f} times as long as those of "
            f"{flag['start']}; length explains {flag['share']:.0%} of the proxy's change of "
            f"{flag['proxy_gain']:+.2f}, and {standard} changes by {flag['gold_gain']:+.2f}"
        )
    if flag["rule"] == DOMINANCE:
        return f"{at}, it has {flag['share']:.0%} of the gains of the proxies; {flag['fell']} falls"
    return (
        f"from {flag['start']} to {flag['end']} (KL {flag['kl']:.2f}), the proxy changes by "
        f"{flag['proxy_gain']:+.2f} and {standard} by {flag['gold_gain']:+.2f}"
    )
