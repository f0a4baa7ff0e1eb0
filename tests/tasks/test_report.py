"""The report page: complete content, no external resources, escaped texts."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from concord.evaluation.policies import hacking
from concord.evaluation.rewards.baselines import BASELINES
from concord.evaluation.rewards.head_quality import FIGURES
from concord.report.claims import claims, moved
from concord.report.reports import Reports
from concord.stage import outputs
from tasks import report
from tests.reports_fixture import OBJECTIVES, POLICIES, params

LOADING = {"src", "srcset", "poster", "data", "action", "background", "xlink:href"}


class Page(HTMLParser):
    """What a browser would load, and the ids and links of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.scripts += tag == "script"
        self.loads += [value for name, value in values.items() if name in LOADING]
        self.loads += [values["href"]] if tag in ("link", "use", "image") else []
        self.links += [values["href"]] if tag == "a" else []
        self.ids += [values["id"]] if "id" in values else []


@pytest.fixture
def page(reported: Path) -> str:
    report.main()
    return Path("reports/index.html").read_text(encoding="utf-8")


def test_page_shows_everything_and_loads_nothing(page: str) -> None:
    parsed = Page(page)
    assert parsed.loads == ["data:,"]
    assert parsed.scripts == 0
    assert not re.search(r"https?://|url\(|@import", page)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme:dark" in page
    sections = [
        "result",
        "fronts",
        "control",
        "example",
        "policies",
        "hacking",
        "rewards",
        "checks",
        "training",
        "data",
        "choice",
        "claims",
    ]
    assert parsed.ids == sections
    assert parsed.links == [*(f"#{name}" for name in sections), "#choice"]
    for text in [
        *POLICIES,
        *OBJECTIVES,
        "on borderline questions",
        "head weights",
        "limits",
    ]:
        assert text in page, text


def test_reward_hacking_is_shown_with_where_to_stop(page: str, reported: Path) -> None:
    """One policy gets a lower gold of `helpful`, while its proxy stays above that of SFT."""
    assert "Quiet: no flag in" in page
    sft, grpo = (outputs.read_table(f"reports/samples/{name}.parquet") for name in ("sft", "grpo"))
    grpo["gold.helpful"] -= 0.3
    samples = {
        name: frame[frame["split"] == "locked"]
        for name, frame in {"sft": sft, "grpo": grpo}.items()
    }
    watched = hacking.watch(samples, {"values": ["helpful", "honest"]}, ["honest"], "sft")
    outputs.write_json("reports/hacking.json", watched)
    report.main()
    shown = Path("reports/index.html").read_text(encoding="utf-8")
    assert "1 flag in" in shown
    assert "grpo in values: stop at KL 0.00, the point sft." in shown
    assert re.search(r"from sft to equal \(KL 1.4\d\), the proxy changes by \+\d", shown)
    assert shown.count(": gold -") == 1
    assert "Exempt, because a verifier is exact: honest." in shown


def test_a_protocol_without_dialogues_has_a_page(reported: Path) -> None:
    """The likelihood protocol, for example, has no simulated student."""
    for policy in POLICIES:
        path = f"reports/policies/{policy}.json"
        content = outputs.read_json(path)
        del content["dialogue"]
        outputs.write_json(path, content)
    report.main()
    page = Path("reports/index.html").read_text(encoding="utf-8")
    assert "simulated student" not in page
    assert all(policy in page for policy in POLICIES)


def test_page_shows_rejected_rows_with_line_and_reason(page: str) -> None:
    assert "<summary>duplicate <span>44 rows</span></summary>" in page
    assert "<td>sandbox</td><td>18</td><td>comparisons</td><td>chosen</td>" in page


def test_page_shows_near_duplicates_if_they_were_counted(page: str, reported: Path) -> None:
    assert re.search(r"320 of 6.?412 prompts are near duplicates", page)
    assert "in train before merging: test 6, validation 6." in page
    assert "&lt;b&gt;hi&lt;/b&gt; heidi" in page
    outputs.write_json(
        "reports/data.json", {**outputs.read_json("reports/data.json"), "near_duplicates": None}
    )
    report.main()
    assert "near duplicates" not in Path("reports/index.html").read_text(encoding="utf-8")


def test_sizes_of_splits_are_shown_beside_what_was_asked(page: str) -> None:
    assert "validation 100 in 50 groups, 9.3 % where 15.0 % was asked (more than chance)" in page
    assert "train 900 in 450 groups, 83.3 % where 80.0 % was asked;" in page


def test_the_metrics_are_those_of_the_candidate(page: str, reported: Path) -> None:
    metrics = outputs.read_json("reports/metrics.json")
    assert set(metrics) == {"mean", "utility", "regret", "verdict"}
    assert set(metrics["mean"]) == set(OBJECTIVES)


def test_texts_of_data_and_models_are_escaped(page: str) -> None:
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<Answer>" not in page
    assert "&lt;Answer&gt;" in page


def test_header_is_one_sentence_with_the_result(page: str) -> None:
    head = re.search(r"<h1>(.*?)</h1>", page, re.DOTALL)
    assert head is not None
    assert head[1] == (
        "On the locked world, the published model raises 7 of 7 objectives over sft "
        "(95 % intervals) and lowers none."
    )


def test_the_same_reports_give_the_same_bytes(page: str) -> None:
    report.run()
    assert Path("reports/index.html").read_text(encoding="utf-8") == page


def test_products_are_printed_with_their_paths(
    reported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("models/aligned").mkdir(parents=True)
    report.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"report page    {reported.resolve()}/reports/index.html",
        f"front picture  {reported.resolve()}/reports/front.svg",
        f"figures        {reported.resolve()}/reports/front.json",
        f"checkpoint     {reported.resolve()}/models/aligned",
    ]


def test_the_declared_params_are_sufficient(reported: Path) -> None:
    whole = params()
    declared = {name: whole[name] for name in ("policies", "reward_models", "objectives", "select")}
    declared["seeds"] = {"data": whole["seeds"]["data"]}
    declared["evaluate"] = {"bootstrap": whole["evaluate"]["bootstrap"]}
    Path("params.yaml").write_text(json.dumps(declared), encoding="utf-8")
    report.run()


def test_heads_are_shown_by_source(reported: Path) -> None:
    report.run()
    page = Path("reports/index.html").read_text(encoding="utf-8")
    table = page[page.index("<h3>By source</h3>") :].partition("</table>")[0]
    heads = sum(len(entry["objectives"]) for entry in params()["reward_models"].values())
    assert table.count("<td>web</td><td>100</td>") == heads


def test_missing_figures_become_dashes(reported: Path) -> None:
    """Real data has no gold and no ceiling. Without samples there is no KL."""
    for group in params()["reward_models"]:
        content = outputs.read_json(f"reports/rewards/{group}.json")
        unknown = dict.fromkeys(("ceiling", "normalised_accuracy", "gold_rank_correlation"))
        outputs.write_json(
            f"reports/rewards/{group}.json", {name: {**f, **unknown} for name, f in content.items()}
        )
    process = outputs.read_json("reports/process_reward.json")
    outputs.write_json(
        "reports/process_reward.json", {**process, "best_of_n": {"math_accuracy": None}}
    )
    data = outputs.read_json("reports/data.json")
    data["objectives"]["helpful"]["missing_label_share"] = None
    outputs.write_json("reports/data.json", data)
    report.run()


UNPAIRED = dict.fromkeys(FIGURES) | {
    "pairs": 0,
    "baselines": dict.fromkeys(BASELINES),
    "calibration": {"temperature": None, "error": None, "reliability": []},
    "confident_errors": [],
    "grades": {
        "auc": 0.81,
        "ci_low": 0.77,
        "ci_high": 0.84,
        "length_auc": 0.55,
        "rank_correlation": 0.5,
        "good_share": 0.4,
        "grades": 1234,
    },
}
"""Report of the stage `evaluate_rewards` for a head whose labels do not imply any pairs."""


@pytest.mark.parametrize("heads", [[], ["helpful"], ["helpful", "honest", "harmless"]])
def test_a_head_without_pairs_is_shown_by_its_grades(reported: Path, heads: list[str]) -> None:
    for group in params()["reward_models"]:
        content = outputs.read_json(f"reports/rewards/{group}.json")
        outputs.write_json(
            f"reports/rewards/{group}.json",
            {
                name: {**figures, **(UNPAIRED if name in heads else {})}
                for name, figures in content.items()
            },
        )
    report.main()
    page = Path("reports/index.html").read_text(encoding="utf-8")
    assert ("0.810<small>[0.770, 0.840]</small>" in page) == bool(heads)
    assert ("pair accuracy of reward heads" in page) == (len(heads) < 3)
    assert ("observed accuracy" in page) == (len(heads) < 3)
    assert ("One backbone with several heads" in page) == (not heads)


def test_a_page_without_any_judged_domain(reported: Path) -> None:
    """As in the likelihood protocol if no prompt has two graded answers."""
    outputs.write_json("reports/front.json", {"control": {}})
    outputs.write_json("reports/hacking.json", hacking.watch({}, {}, (), None))
    for policy in POLICIES:
        content = outputs.read_json(f"reports/policies/{policy}.json")
        unknown = {
            name: {**dict.fromkeys(figures), "n": 0}
            for name, figures in content["objectives"].items()
        }
        outputs.write_json(f"reports/policies/{policy}.json", {**content, "objectives": unknown})
    report.main()
    page = Path("reports/index.html").read_text(encoding="utf-8")
    assert "No domain could be judged" in page
    assert "Not watched: no policy is the SFT model" in page


def test_lowered_objectives_are_told_from_the_rest(reported: Path) -> None:
    front = outputs.read_json("reports/front.json")
    front["values"]["differences"]["mah_dpo"]["honest"] = {
        "value": -0.1,
        "ci_low": -0.2,
        "ci_high": -0.05,
    }
    front["math"]["differences"]["mah_dpo"]["math_accuracy"] = {
        "value": 0.01,
        "ci_low": -0.2,
        "ci_high": 0.2,
    }
    assert moved(front, "mah_dpo")["lowered"] == ["honest"]


def test_every_claim_has_all_its_columns(reported: Path) -> None:
    policies = {name: outputs.read_json(f"reports/policies/{name}.json") for name in POLICIES}
    heads = Reports(params(), Path("reports")).heads
    process = outputs.read_json("reports/process_reward.json")
    rows = claims(
        outputs.read_json("reports/front.json"),
        "mah_dpo",
        {"policies": policies, "rewards": heads, "process": process},
    )
    assert len(rows) == 8  # moved, steered, three domains, borderline, rewards, best of n
    for row in rows:
        assert all(
            row[key] for key in ("claim", "command", "figure", "interval", "seeds", "limits")
        )
