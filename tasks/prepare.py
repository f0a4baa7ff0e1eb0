"""Cleans, deduplicates and splits the ingested tables for the stages that follow.

    data/ingested/<source>/*.parquet, data/checks.json
    -> data/prepared/sft/{train,validation}.parquet
       data/prepared/prompts/{train,validation,test}.parquet
       data/prepared/rewards/<group>/{labels,train,validation,test}.parquet
       data/prepared/pairs/{train,validation,test}.parquet
       data/prepared/ratings/{train,validation,test}.parquet
       data/prepared/steps/{train,validation,test}.parquet
       data/prepared/checks.parquet
       data/prepared/quarantine.parquet
       reports/data.json, reports/candidate/data.json

    python -m tasks.prepare

The splits are by prompt or dialogue. The comparisons of the checks are in none of them, but in
checks.parquet alone. The stage reads these sections of params.yaml: seeds, model, sources (names
and roles), objectives, reward_models (objectives and labels of each group), checks, prepare,
evaluate (protocol and numbers of prompts: what the protocol cannot judge is an error here, before
anything is trained).

reports/candidate/data.json has the figures that the gate `data` compares with the champion's.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations import quarantine, schemas
from concord.evaluation.policies.judgeable import Judging, require_judged
from concord.lm.load import base_tokenizer
from concord.objectives import Objective, objectives_of
from concord.prepared import check_pairs, labels, splits
from concord.prepared import pairs as preferences
from concord.prepared import table_checks as clean
from concord.prepared.check_params import Check, read_checks
from concord.prepared.data_figures import data_figures
from concord.prepared.data_report import data_report
from concord.prepared.preferred import preferred_answers
from concord.prepared.requirements import require_labels, require_prompts
from concord.prepared.token_lengths import Tokens
from concord.stage import outputs
from concord.stage.command import command
from concord.stage.params import FORBID, Model, load, read
from concord.stage.paths import CANDIDATE, REPORTS

Tables = dict[str, pd.DataFrame]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=FORBID)
class PrepareParams:
    """The section `prepare`."""

    validation: Share = 0.15
    """Share of the groups in the validation split, on which choices are made."""
    test: Share = 0.15
    """Share of the groups in the test split, on which results are measured."""
    pairs_per_prompt: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of pairs implied by the grades of one annotator for one prompt and objective;
    null for no limit."""
    near_duplicates: Annotated[float, Field(ge=0.5, le=1)] | None = None
    """Jaccard similarity, 0.5 to 1. Prompts at least this similar and with the same numbers are put
    in the same split; null to disable."""
    demonstrations: Literal["given", "preferred"] = "given"
    """What the SFT model imitates. `given`: the demonstrations of the sources. `preferred`: also
    the answers that more pairs prefer than reject, for sources without demonstrations."""
    ignore_objectives: list[str] = Field(default_factory=list)
    """Objectives whose labels in the sources are dropped. Labels of any other objective that
    `objectives` does not have are an error."""

    def __post_init__(self) -> None:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation} and test {self.test} leave no data to train on; "
                "their sum must be below 1"
            )


SANDBOX = Judging("sandbox", prompts=1, validation_prompts=1)


@plain_dataclass(frozen=True)
class Plan:
    """What to prepare: the sources, the objectives, and the objectives of each reward model."""

    sources: Sequence[str]
    objectives: Mapping[str, Objective]
    groups: Mapping[str, Sequence[str]]
    implied: Collection[str] = ()
    """Reward models that are fitted to implied pairs. The others are fitted to labels of all
    kinds."""
    judging: Judging = SANDBOX
    """How policies are judged."""
    test_only: Collection[str] = ()
    """Sources whose rows are all in the test split."""
    checks: Mapping[str, Check] = field(default_factory=dict)
    """Comparisons that must hold. Their sources are in no other table."""

    @property
    def checked(self) -> list[str]:
        """The sources that a check names."""
        return sorted({check.source for check in self.checks.values()})

    @property
    def trained(self) -> list[str]:
        """The sources that no check names."""
        return [name for name in self.sources if name not in self.checked]

    @classmethod
    def of(cls, params: Mapping[str, Any], checks: Mapping[str, Check] | None = None) -> "Plan":
        """The names in `params` and in `checks`. Their order there does not matter."""
        models = params.get("reward_models", {})
        groups = {name: sorted(entry["objectives"]) for name, entry in models.items()}
        implied = {name for name in models if models[name].get("labels") == "implied_pairs"}
        judging = Judging.of(params["evaluate"])
        test_only = {
            name for name, source in params["sources"].items() if source.get("role") == "test"
        }
        return cls(
            sources=sorted(params["sources"]),
            objectives=objectives_of(params),
            groups=groups,
            implied=implied,
            judging=judging,
            test_only=test_only,
            checks=checks or {},
        )


def run(params: PrepareParams, plan: Plan, model: Model, seed: int, root: Path) -> dict[str, Any]:
    """Prepares all tables under `root`/data/prepared; writes and returns the data report."""
    ingested = root / "data" / "ingested"
    rejected = quarantine.Quarantine()
    tokens = Tokens(base_tokenizer(model), model.max_length)
    of_checks = {name: _load(ingested, [name]) for name in plan.checked}
    checked = check_pairs.collect(plan.checks, of_checks, tokens, rejected)
    tables, unused = clean.drop_ignored_objectives(
        _load(ingested, plan.trained), plan.objectives, params.ignore_objectives
    )
    tables, near, near_train = _grouped(tables, params, plan, str(seed))
    tables, left_out = check_pairs.hold_out(tables, checked, params.near_duplicates, rejected)
    test_only, held_out = splits.test_only_groups(tables, plan.test_only)
    for name, counts in held_out.items():
        print(
            f"{name} is test-only: {counts['groups']} groups. It shares {counts['shared_groups']} "
            f"of them with other sources, and so holds out {counts['other_rows']} of their rows"
        )
    tables = clean.tables(tables, tokens, rejected)
    implied = preferences.from_ratings(tables["ratings"], params.pairs_per_prompt)
    compared = preferences.from_comparisons(tables["comparisons"])
    pairs = pd.concat([compared, implied], ignore_index=True)
    tables["pairs"] = clean.pairs(pairs, tokens, rejected)
    if params.demonstrations == "preferred":
        liked = preferred_answers(tables["pairs"], plan.objectives)
        tables["demonstrations"] = pd.concat([tables["demonstrations"], liked], ignore_index=True)
    parts = {
        table: splits.divide(frame, str(seed), params.validation, params.test, test_only)
        for table, frame in tables.items()
    }
    require_prompts(parts, plan.objectives)
    require_labels(parts, plan.objectives, plan.groups, plan.implied)
    require_judged(plan.judging, parts, plan.objectives)
    quarantined = pd.concat(
        [_load_one(ingested, name, "quarantine") for name in plan.sources] + [rejected.take()]
    )
    report = {
        "sources": {
            name: outputs.read_json(ingested / name / "report.json") for name in plan.sources
        },
        **data_report(tables, parts, plan.objectives, near_train, (params.validation, params.test)),
        "unused_objectives": unused,
        "quarantine": quarantine.samples(quarantined),
        "near_duplicates": near,
        **({"test_only": held_out} if held_out else {}),
        "prompts_cut": tokens.count_truncated_prompts(tables["prompts"]),
        "checks": check_pairs.report(plan.checks, checked, of_checks),
        "left_out_by_checks": left_out,
    }
    prepared = root / "data" / "prepared"
    _write(parts, plan.groups, quarantined, prepared)
    outputs.write_table(prepared / "checks.parquet", checked)
    outputs.write_json(root / REPORTS / "data.json", report)
    read_rows = {name: int(report["sources"][name]["read"]) for name in plan.sources}
    kept = data_figures(tables, plan.objectives, read_rows, quarantined, near)
    outputs.write_json(root / CANDIDATE / "data.json", kept)
    return report


def _load(ingested: Path, sources: Sequence[str]) -> Tables:
    return {
        table: pd.concat([_load_one(ingested, name, table) for name in sources], ignore_index=True)
        for table in schemas.SCHEMAS
    }


def _load_one(ingested: Path, source: str, table: str) -> pd.DataFrame:
    frame = outputs.read_table(ingested / source / f"{table}.parquet")
    return schemas.typed(table, frame)


def _grouped(
    tables: Tables, params: PrepareParams, plan: Plan, salt: str
) -> tuple[Tables, dict[str, Any] | None, dict[str, int]]:
    """Merges groups that share a prompt, or also those with near duplicates.

    The result is that of `splits.merge_near_duplicates`; the report is None if they are ignored.
    """
    tables = splits.regroup_all(tables, splits.merge_groups(tables.values(), salt))
    if params.near_duplicates is None:
        return tables, None, {}
    domains = {name: objective.domain for name, objective in plan.objectives.items()}
    return splits.merge_near_duplicates(
        tables, domains, params.near_duplicates, salt, params.validation, params.test
    )


def _write(
    parts: Mapping[str, Tables],
    groups: Mapping[str, Sequence[str]],
    quarantined: pd.DataFrame,
    out: Path,
) -> None:
    without_test = ("train", "validation")
    for folder, table, names in (
        ("sft", "demonstrations", without_test),
        ("pairs", "pairs", splits.SPLITS),
        ("prompts", "prompts", splits.SPLITS),
        ("ratings", "ratings", splits.SPLITS),
        ("steps", "steps", splits.SPLITS),
    ):
        with outputs.directory(out / folder) as target:
            _write_splits(target, {name: parts[table][name] for name in names})
    with outputs.directory(out / "rewards") as target:
        for group, members in groups.items():
            tables = {
                **parts["pairs"],
                "labels": labels.collect(parts["pairs"]["train"], parts["ratings"]["train"]),
            }
            _write_splits(
                target / group,
                {n: frame[frame["objective"].isin(members)] for n, frame in tables.items()},
            )
    outputs.write_table(out / "quarantine.parquet", quarantined)


def _write_splits(folder: Path, frames: Tables) -> None:
    for name, frame in frames.items():
        outputs.write_table(folder / f"{name}.parquet", frame)


def main() -> None:
    """Runs the stage."""
    report = run(
        load(PrepareParams, "prepare"),
        Plan.of(read(), read_checks()),
        load(Model, "model"),
        load(int, "seeds", "data"),
        Path("."),
    )
    print(f"rows by table and split: {report['splits']}")
    for line in splits.size_lines(report["split_sizes"]):
        print(line)
    if report["unused_objectives"]:
        print(f"labels dropped by prepare.ignore_objectives: {report['unused_objectives']}")
    for line in check_pairs.lines(report["checks"], report["left_out_by_checks"]):
        print(line)


if __name__ == "__main__":
    command(main)
