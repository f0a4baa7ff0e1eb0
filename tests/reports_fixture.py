"""Synthetic samples of several policies with known true means, and a project folder with them."""

import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.check_figures import figures as check_figures
from concord.evaluation.policies.protocol import (
    EQUAL,
    Judged,
    Point,
    by_domain,
    operating_points,
)
from concord.evaluation.policies.run_protocol import EvaluateJob, EvaluateParams
from concord.evaluation.policies.summary import policy_report
from concord.evaluation.rewards.head_quality import quality
from concord.evaluation.rewards.judged_sets import Locked
from concord.evaluation.rewards.picking import report_by_size
from concord.evaluation.rewards.step_quality import processbench, step_quality
from concord.evaluation.rewards.trust import head_diagnostics
from concord.prepared.label_keys import PAIR, TABLES
from concord.sandbox.world import World
from concord.stage import outputs
from concord.stage.params import Runtime, Seeds, read
from concord.stage.paths import PREPARED
from tasks import candidate, front, gate
from tasks import select_weights as select

OBJECTIVES = {
    "math_accuracy": "math",
    "math_engagement": "math",
    "helpful": "values",
    "honest": "values",
    "harmless": "values",
    "tutor_accuracy": "tutoring",
    "tutor_engagement": "tutoring",
}
POLICIES = {
    "sft": {"method": "reference"},
    "mah_dpo": {"method": "mah_dpo"},
    "dpo_pooled": {"method": "dpo"},
    "dpo_scalar": {"method": "dpo"},
    "single_reward": {"method": "dpo"},
    "grpo": {"method": "grpo"},
}
GAIN = {
    "sft": 0.0,
    "mah_dpo": 0.16,
    "dpo_pooled": 0.08,
    "dpo_scalar": 0.12,
    "single_reward": 0.05,
    "grpo": 0.14,
}
DEFAULT_WEIGHTS = {"harmless": 0.45, "helpful": 0.35, "honest": 0.2} | {
    name: 0.5 for name, domain in OBJECTIVES.items() if domain != "values"
}
GROUPS = {
    "values": ["helpful", "honest", "harmless"],
    "helpful": ["helpful"],
    "honest": ["honest"],
    "harmless": ["harmless"],
}
CHECKS = {"over_refusal": {"source": "contrast", "objective": "harmless", "at_least": 0.7}}
PROMPTS = 60
EVALUATION = EvaluateJob(
    EvaluateParams("sandbox", DEFAULT_WEIGHTS, PROMPTS, PROMPTS, 9, 100, 1),
    Runtime(threads=1, device="cpu", dtype="float32"),
    Seeds(data=0, sampling=0),
    256,
)


def params() -> dict[str, Any]:
    """The keys of params.yaml that evaluation reads."""
    entry = {"description": "<for> tests", "reward": "values"}
    return {
        "seeds": {"data": 0, "sampling": 0},
        "objectives": {name: {"domain": domain, **entry} for name, domain in OBJECTIVES.items()}
        | {"overall": {"domain": "all", "in_vector": False, **entry}},
        "policies": POLICIES,
        "reward_models": {
            name: {"objectives": dict.fromkeys(heads)} for name, heads in GROUPS.items()
        },
        "process_labels": {},
        "process_reward": {},
        "evaluate": {"sweep": 9, "bootstrap": 200, "weights": DEFAULT_WEIGHTS},
        "front": {"reference_point": 0.0},
        "select": {"policy": "mah_dpo", "reference": "sft"},
        "gate": {
            "champion": "models/champion",
            "objectives": {"margin": 0.1},
            "checks": {"required": False},
        },
        "checks": CHECKS,
    }


def points(policy: str) -> list[Point]:
    """All operating points of the steerable policy; only equal weights of the others."""
    result = []
    for domain, names in by_domain(OBJECTIVES).items():
        default = {name: DEFAULT_WEIGHTS[name] for name in names}
        result += operating_points(domain, names, default, 9)
    return result if policy == "mah_dpo" else [point for point in result if point.name == EQUAL]


def true_mean(policy: str, objective: str, weights: dict[str, float]) -> float:
    """0.4, plus a gain from training; with heads, it rises with the weight of the objective."""
    excess = weights[objective] - 1 / len(weights)
    return 0.4 + GAIN[policy] + (0.25 * excess if policy == "mah_dpo" else 0.0)


def samples(policy: str, prompts: int = PROMPTS, seed: int = 0) -> pd.DataFrame:
    """The output of the stage `evaluate`, with noise that all policies share."""
    rows = []
    for split, gold in (("locked", True), ("validation", False)):
        for point in points(policy):
            noise = np.random.default_rng([seed, len(split)])
            for index in range(prompts):
                kind = ("borderline", "known")[index % 2] if point.domain == "values" else "2 steps"
                row: dict[str, Any] = {
                    "split": split,
                    "point": point.name,
                    "domain": point.domain,
                    "weights": json.dumps(point.weights, sort_keys=True),
                    "prompt_id": f"{point.domain}{index}",
                    "group_id": f"{point.domain}{index}",
                    "kind": kind,
                    "messages": [
                        {"role": "user", "content": f"Question {index} of {point.domain}?"}
                    ],
                    "response": f"<Answer> {index} of {policy} at {point.name} & more",
                    "kl": 10 * GAIN[policy] + noise.normal(0, 0.1),
                    "length": 20.0 + index % 5,
                }
                for name, domain in OBJECTIVES.items():
                    value = np.nan
                    if domain == point.domain:
                        value = float(
                            np.clip(
                                true_mean(policy, name, point.weights) + noise.normal(0, 0.15), 0, 1
                            )
                        )
                    row[f"gold.{name}"] = value if gold else np.nan
                    row[f"proxy.{name}"] = (value - 0.4) / 0.15
                rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the samples of all policies and params.yaml (as JSON, which is YAML)."""
    folder = tmp_path_factory.mktemp("sampled")
    (folder / "params.yaml").write_text(json.dumps(params()), encoding="utf-8")
    for policy in POLICIES:
        outputs.write_table(folder / f"reports/samples/{policy}.parquet", samples(policy))
        outputs.write_table(folder / f"reports/scaled/{policy}.parquet", scaled(policy))
    return folder


def scaled(policy: str) -> pd.DataFrame:
    """Answers half way between SFT and the policy, with half of its gain and a quarter of its KL.

    There are none for SFT itself.
    """
    frame = samples(policy)
    at = frame[(frame["split"] == "locked") & (frame["point"] == EQUAL)]
    if policy == "sft":
        return at.iloc[:0].assign(scale=0.5)
    gold = {f"gold.{name}": at[f"gold.{name}"] - GAIN[policy] / 2 for name in OBJECTIVES}
    return at.assign(**gold, kl=at["kl"] / 4, scale=0.5)


@pytest.fixture(scope="session")
def with_reports(sampled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder with every report that the page shows, computed from random scores."""
    folder = tmp_path_factory.mktemp("with_reports") / "project"
    shutil.copytree(sampled, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_reports()
    return folder


@pytest.fixture
def project(sampled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `sampled` to work in."""
    shutil.copytree(sampled, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def reported(with_reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `with_reports` to work in."""
    shutil.copytree(with_reports, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def measured_check(right: int, **more: float) -> dict[str, Any]:
    """The check and its figures, if `right` of 40 comparisons come out right."""
    rows = {"messages": [[]] * 40, "chosen": "Yes, like this.", "rejected": "No."}
    pairs = pd.DataFrame({**rows, "objective": "harmless", "group_id": map(str, range(40))})
    scores = np.concatenate([np.arange(40) < right, np.full(40, 0.5)])
    return {"over_refusal": {**check_figures(pairs, scores), **more}}


def write_reports() -> None:
    """Writes every file under reports/ except the page, as the stages do, data/checks.json, and
    prepared tables without labels.
    """
    outputs.write_json("data/checks.json", CHECKS)
    no_labels = pd.DataFrame({name: [] for name in ("messages", *PAIR)}, dtype=object)
    for table, split in product(TABLES, SPLITS):
        outputs.write_table(PREPARED / table / f"{split}.parquet", no_labels)
    names = by_domain(OBJECTIVES)
    for policy in POLICIES:
        frame = outputs.read_table(f"reports/samples/{policy}.parquet")
        units = [frame[frame["split"] == split] for split in ("locked", "validation")]
        report = policy_report(units[0], units[1], names, 9 if policy == "mah_dpo" else 0, 100, 0)
        head = {
            "policy": policy,
            "protocol": "sandbox",
            "conditions": EVALUATION.conditions(),
            "seeds": {"data": 0, "sampling": 0, "locked": 1},
        }
        dialogue = {"solved": 0.5, "engaged": 0.8, "told": 0.1, "turns": 2.2}
        prompts = {domain: units[0]["prompt_id"].nunique() // 3 for domain in names}
        content = {
            **head,
            "prompts": prompts,
            "dialogue": dialogue,
            "steerable": policy == "mah_dpo",
            "checks": measured_check(
                40 if policy == "mah_dpo" else 28, likelier=0.7, unchanged=policy == "sft"
            ),
            **report,
        }
        outputs.write_json(f"reports/policies/{policy}.json", content)
    noise = np.random.default_rng(0)
    _reward_reports(noise)
    _process_reward_report(noise)
    outputs.write_json("reports/process_labels.json", PROCESS_LABELS)
    outputs.write_json("reports/data.json", DATA)
    for name in ("reward_values", "policy_mah_dpo"):
        steps = [f"{step},{2 / (step + 1) + 0.1}" for step in range(40)]
        outputs.write_text(f"reports/curves/{name}.csv", "\n".join(["step,loss", *steps]) + "\n")
    cosines = "step,loss,cosine.harmless.helpful\n1,1.0,-0.5\n2,0.9,\n3,0.8,0.1\n"
    outputs.write_text("reports/curves/policy_grpo.csv", cosines)
    front.main()
    select.main()
    write_candidate()
    gate.main()


def write_candidate() -> None:
    """The output of the stage `candidate`: the policy's answers at the default weights."""
    frame = outputs.read_table("reports/samples/mah_dpo.parquet")
    frame = frame[frame["split"] == "locked"]
    rows = [
        frame[(frame["domain"] == domain) & (frame["point"] == point)]
        for domain, point in (("values", "default"), ("math", EQUAL), ("tutoring", EQUAL))
    ]
    samples = pd.concat(rows, ignore_index=True).assign(point=candidate.NAME)
    head = {"name": "mah_dpo at the selected weights", "policy": "mah_dpo", "checkpoint": "0" * 64}
    head |= {"checks": measured_check(40, likelier=0.7)}
    judged = Judged(samples, samples, samples.iloc[:0], {})
    candidate.save(head, EVALUATION, judged, read("params.yaml"))


def _reward_reports(noise: np.random.Generator) -> None:
    """A report per reward model, computed from the gold scores of locked pairs plus noise."""
    judge = Locked(World.build("locked", 1), 0, 10, 2, lambda messages: [""] * len(messages))
    for group, heads in GROUPS.items():
        timing = {
            "seconds": 12.5 * len(heads),
            "resumed": False,
            "peak_mb": 900.0,
            "parameters": 860_000,
            "heads": len(heads),
        }
        report = {}
        for name in heads:
            pairs = judge.pairs(group, name, 200).assign(source=["books", "web"] * 100)
            sides = [
                pairs[f"gold_{side}"].to_numpy() + noise.normal(0, 0.1, 200)
                for side in ("chosen", "rejected")
            ]
            report[name] = {
                **quality(pairs, *sides, 100, 0),
                **head_diagnostics(pairs, pairs, *sides, 0.1),
                "score_correlation": {other: 0.3 for other in heads if other != name},
                "gradient_cosine": {other: -0.1 for other in heads if other != name},
                "checks": measured_check(4) if name == "harmless" else {},
                **timing,
            }
        outputs.write_json(f"reports/rewards/{group}.json", report)


def _process_reward_report(noise: np.random.Generator) -> None:
    """The process reward model: random step labels with noise, and picking by random scores."""
    gold = [noise.integers(0, 2, 3).astype(float) for _ in range(30)]
    scores = [each + noise.normal(0, 0.5, 3) for each in gold]
    groups = [str(index) for index in range(30)]
    problems = np.arange(80) // 4
    answers = {
        "problem": problems,
        "group_id": problems.astype(str),
        "final": "7",
        "correct": noise.integers(0, 2, 80),
    }
    picked = report_by_size(
        pd.DataFrame({**answers, "score": noise.random(80), "outcome": noise.random(80)}), 50, 0
    )
    process = {
        "objectives": {
            "math_accuracy": {
                **step_quality(scores, gold, groups, 50, 0),
                "processbench": processbench(scores, gold, groups, 0.5, 50, 0),
            }
        },
        "best_of_n": {"math_accuracy": picked},
    }
    outputs.write_json("reports/process_reward.json", process)


PROCESS_LABELS = {
    "math_accuracy": {
        "verifiable": True,
        "steps": "clear",
        "rollouts": "cheap",
        "maker": "hindsight",
        "why": "clear steps",
        "judge": None,
        "answers": {split: {"hindsight": 120, "human": 40} for split in ("train", "validation")},
    }
}
"""A report of the stage `process_labels`."""
SPLITS = {"train": 900, "validation": 100, "test": 80}
DATA = {
    "split_sizes": {
        split: {
            "asked": asked,
            "got": count / 1080,
            "prompts": count,
            "groups": count // 2,
            "by_chance": split != "validation",
        }
        for (split, count), asked in zip(SPLITS.items(), (0.8, 0.15, 0.05), strict=True)
    },
    "leakage": {
        split: {
            "groups": 0.0,
            "prompts": 0.0,
            "responses": 0.1,
            "phrases_of_8_words": 0.4,
            "near_train_before_merging": 6,
        }
        for split in ("validation", "test")
    },
    "near_duplicates": {
        "similarity": 0.8,
        "prompts": 6412,
        "near_duplicates": 320,
        "groups": 3007,
        "groups_merged": 98,
        "samples": [{"similarity": 0.81, "one": "<b>hi</b> heidi", "other": "explain it"}],
    },
    "objectives": {
        name: {
            "pairs": SPLITS,
            "ratings": SPLITS,
            "comparisons": SPLITS,
            "steps": SPLITS,
            "missing_label_share": 0.3,
        }
        for name in OBJECTIVES
    },
    "agreement": {
        name: {
            "comparisons": {"alpha": None, "units": 0, "labels": 0},
            "grades": {"alpha": 0.61, "units": 1200, "labels": 2500},
        }
        for name in OBJECTIVES
    },
    "length_bias": {
        name: {"longer_chosen": 0.57, "mean_characters_more": 4.5} for name in OBJECTIVES
    },
    "conflict": {
        f"{one}/{other}": {"objectives": [one, other], "opposed": 0.42, "pairs": 310}
        for one, other in (("helpful", "harmless"), ("helpful", "honest"), ("honest", "harmless"))
    },
    "quarantine": {
        reason: {
            "count": count,
            "rows": [
                {
                    "source": "sandbox",
                    "source_file": "",
                    "source_line": 17 + row,
                    "table": "comparisons",
                    "column": "chosen",
                    "reason": reason,
                    "detail": "is '<script>alert(1)</script>'",
                }
                for row in range(min(3, count))
            ],
        }
        for reason, count in {"duplicate": 44, "not_json": 12, "tie": 3}.items()
    },
    "sources": {
        "sandbox": {
            "read": 19442,
            "kept": 19002,
            "quarantined": 440,
            "by_reason": {"tie": 3},
            "by_table": {"prompts": 1384, "comparisons": 10286, "ratings": 5915},
        },
    },
}
"""A report of the stage `prepare`."""
