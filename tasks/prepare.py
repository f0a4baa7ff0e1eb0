"""Cleans, deduplicates and splits the ingested tables for the stages that follow.

    data/ingested/<source>/*.parquet
    -> data/prepared/sft/{train,validation}.parquet
       data/prepared/prompts/{train,validation,test}.parquet
       data/prepared/rewards/<group>/{labels,train,validation,test}.parquet
       data/prepared/pairs/{train,validation}.parquet
       data/prepared/ratings/{train,validation,test}.parquet
       data/prepared/steps/{train,validation,test}.parquet
       data/prepared/quarantine.parquet
       reports/data.json

    python -m tasks.prepare

The splits are by prompt or dialogue. The stage reads these sections of params.yaml: seeds, model,
sources (names only), objectives, reward_models (objectives and labels of each group), prepare.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations import quarantine, schemas
from concord.lm.load import base_tokenizer
from concord.objectives import Objective, objectives_of
from concord.prepared import labels, leakage, near_duplicates, splits
from concord.prepared import pairs as preferences
from concord.prepared import table_checks as clean
from concord.prepared.agreement import survey
from concord.prepared.token_lengths import Tokens
from concord.stage import outputs
from concord.stage.errors import DataError, ParamsError, command
from concord.stage.params import FORBID, Model, load, read
from concord.stage.paths import REPORTS

Tables = dict[str, pd.DataFrame]
Counts = dict[str, int]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=FORBID)
class PrepareParams:
    """The section `prepare`."""

    validation: Share
    """Share of the groups in the validation split, on which choices are made."""
    test: Share
    """Share of the groups in the test split, on which results are measured."""
    pairs_per_prompt: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of pairs implied by the grades of one annotator for one prompt and objective;
    null for no limit."""
    near_duplicates: Annotated[float, Field(ge=0.5, le=1)] | None = None
    """Jaccard similarity, 0.5 to 1. Prompts at least this similar and with the same numbers are put
    in the same split; null to disable."""

    def __post_init__(self) -> None:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation} and test {self.test} leave no data to train on; "
                "their sum must be below 1"
            )


@plain_dataclass(frozen=True)
class Plan:
    """What to prepare: the sources, the objectives, and the objectives of each reward model."""

    sources: Sequence[str]
    objectives: Mapping[str, Objective]
    groups: Mapping[str, Sequence[str]]
    implied: Collection[str] = ()
    """Reward models that are fitted to implied pairs. The others are fitted to labels of all
    kinds."""

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> "Plan":
        """The names in `params`. Their order there does not matter."""
        groups = {
            name: sorted(entry["objectives"]) for name, entry in params["reward_models"].items()
        }
        implied = {
            name
            for name, entry in params["reward_models"].items()
            if entry.get("labels") == "implied_pairs"
        }
        return cls(sorted(params["sources"]), objectives_of(params), groups, implied)


def run(params: PrepareParams, plan: Plan, model: Model, seed: int, root: Path) -> dict[str, Any]:
    """Prepares all tables under `root`/data/prepared; writes and returns the data report."""
    ingested = root / "data" / "ingested"
    rejected = quarantine.Quarantine()
    tokens = Tokens(base_tokenizer(model), model.max_length)
    tables, unused = _known_objectives(_load(ingested, plan.sources), plan.objectives)
    tables, near, leaked = _grouped(tables, params, plan, str(seed))
    tables = clean.tables(tables, tokens, rejected)
    implied = preferences.from_ratings(tables["ratings"], params.pairs_per_prompt)
    compared = preferences.from_comparisons(tables["comparisons"])
    pairs = pd.concat([compared, implied], ignore_index=True)
    tables["pairs"] = clean.pairs(pairs, tokens, rejected)
    parts = {
        table: splits.divide(frame, str(seed), params.validation, params.test)
        for table, frame in tables.items()
    }
    _require_prompts(parts, plan)
    _require_labels(parts, plan, unused)
    quarantined = pd.concat(
        [_load_one(ingested, name, "quarantine") for name in plan.sources] + [rejected.take()]
    )
    report = {
        "sources": {
            name: outputs.read_json(ingested / name / "report.json") for name in plan.sources
        },
        "tables": {table: _count(frame, "source") for table, frame in tables.items()},
        "splits": {
            table: {split: len(frame) for split, frame in part.items()}
            for table, part in parts.items()
        },
        "objectives": _by_objective(parts, plan.objectives),
        "unused_objectives": unused,
        **survey(tables["pairs"], tables["ratings"], list(plan.objectives)),
        "quarantine": quarantine.samples(quarantined),
        "near_duplicates": near,
        "leakage": leakage.overlap(
            {split: [part[split] for part in parts.values()] for split in splits.SPLITS}
        ),
        "prompts_cut": tokens.count_truncated_prompts(tables["prompts"]),
    }
    for split, count in leaked.items():
        report["leakage"][split]["near_train_before_merging"] = count
    _write(parts, plan.groups, quarantined, root / "data" / "prepared")
    outputs.write_json(root / REPORTS / "data.json", report)
    return report


def _load(ingested: Path, sources: Sequence[str]) -> Tables:
    return {
        table: pd.concat([_load_one(ingested, name, table) for name in sources], ignore_index=True)
        for table in schemas.SCHEMAS
    }


def _load_one(ingested: Path, source: str, table: str) -> pd.DataFrame:
    frame = outputs.read_table(ingested / source / f"{table}.parquet")
    return schemas.typed(table, frame)


def _known_objectives(
    tables: Tables, known: Mapping[str, Objective]
) -> tuple[Tables, dict[str, int]]:
    """The tables without labels of unknown objectives, and how many labels each of these has."""
    unused: dict[str, int] = {}
    kept = dict(tables)
    for table, frame in tables.items():
        if "objective" in frame.columns:
            is_known = frame["objective"].isin(list(known))
            kept[table] = frame[is_known]
            for name, count in frame["objective"][~is_known].value_counts().items():
                unused[str(name)] = unused.get(str(name), 0) + int(count)
    return kept, unused


def _grouped(
    tables: Tables, params: PrepareParams, plan: Plan, salt: str
) -> tuple[Tables, dict[str, Any] | None, Counts]:
    """Merges groups that share a prompt or have near-duplicate prompts.

    Returns the tables, the report on near duplicates, and for each held-out split the number of
    prompts with a near duplicate in train before the merge.
    """
    tables = _regrouped(tables, splits.merge_groups(tables.values(), salt))
    if params.near_duplicates is None:
        return tables, None, {}
    prompts = near_duplicates.prompts(
        tables, {name: objective.domain for name, objective in plan.objectives.items()}
    )
    distinct = prompts.drop_duplicates("prompt")
    group_ids, texts = list(distinct["group_id"]), list(distinct["text"])
    links = near_duplicates.find_links(group_ids, texts, params.near_duplicates)
    singles = [[group] for group in group_ids]
    linked = [[group_ids[link.one], group_ids[link.other]] for link in links]
    groups = splits.join_groups([*singles, *linked], salt)
    near_duplicates.check_group_sizes(prompts, groups, params.near_duplicates)
    before = [splits.split_of(group, salt, params.validation, params.test) for group in group_ids]
    report = near_duplicates.report(texts, links, params.near_duplicates, groups)
    return _regrouped(tables, groups), report, near_duplicates.count_near_train(links, before)


def _regrouped(tables: Tables, groups: Mapping[str, str]) -> Tables:
    return {table: splits.regroup(frame, groups) for table, frame in tables.items()}


def _require_prompts(parts: Mapping[str, Tables], plan: Plan) -> None:
    """Raises DataError if a domain has too few prompts, or if there are no demonstrations."""
    for domain in sorted(
        {objective.domain for objective in plan.objectives.values() if objective.in_vector}
    ):
        counts = {
            split: int((frame["domain"] == domain).sum())
            for split, frame in parts["prompts"].items()
        }
        if not (counts["train"] and counts["validation"]):
            raise DataError(
                f"the domain {domain} has {counts} prompts, but rollouts and anchors need some in "
                f"train and in validation; add rows of kind prompt with domain {domain} to a source"
            )
    if parts["demonstrations"]["train"].empty:
        raise DataError(
            "there are no demonstrations to fine-tune the SFT model on; "
            "add rows of kind demonstration (good answers) to a source"
        )


def _require_labels(parts: Mapping[str, Tables], plan: Plan, unused: Mapping[str, int]) -> None:
    """Raises an error if a head has nothing to be fitted to, or nothing to be evaluated on.

    A head needs pairs in every split if it is fitted to implied pairs, otherwise labels of any
    kind.
    """
    hint = ""
    if unused:
        hint = f" (labels of unknown objectives in the sources: {', '.join(sorted(unused))})"
    for group, names in plan.groups.items():
        what = "pairs" if group in plan.implied else "labels"
        instead = (
            "remove the objective, or set labels: given, which needs no pairs"
            if group in plan.implied
            else "or remove the objective"
        )
        for name in names:
            if name not in plan.objectives:
                raise ParamsError(
                    f"reward_models.{group}.objectives.{name}: unknown objective; "
                    "add it to `objectives`"
                )
            pairs = {split: _rows_of(frame, name) for split, frame in parts["pairs"].items()}
            grades = {split: _grades(frame, name) for split, frame in parts["ratings"].items()}
            counts = {
                split: len(pairs[split]) + (what == "labels") * len(grades[split])
                for split in pairs
            }
            if not all(counts.values()):
                raise DataError(
                    f"reward model {group}: the objective {name} has {counts} {what}, but every "
                    "split needs some; add annotations, raise prepare.validation and prepare.test, "
                    f"{instead}{hint}"
                )
            if pairs["train"].empty and not _differ(grades["train"]):
                raise DataError(
                    f"reward model {group}: all train labels of the objective {name} have the same "
                    "value, so there is nothing to learn; add answers with other labels, or remove "
                    "the objective"
                )


def _rows_of(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    return frame[frame["objective"] == name]


def _grades(ratings: pd.DataFrame, name: str) -> pd.DataFrame:
    """The objective's grades of single answers. A rank means nothing without the other answers."""
    labels_of_objective = _rows_of(ratings, name)
    return labels_of_objective[labels_of_objective["kind"] != "ranking"]


def _differ(grades: pd.DataFrame) -> bool:
    """Whether there are two different grades on the same scale."""
    return bool((grades.groupby(["scale_low", "scale_high"])["rating"].nunique() > 1).any())


def _by_objective(parts: Mapping[str, Tables], known: Mapping[str, Objective]) -> dict[str, Any]:
    shares = _missing(
        pd.concat(parts["pairs"].values()), pd.concat(parts["ratings"].values()), known
    )
    labelled = ("comparisons", "ratings", "steps", "pairs")
    return {
        name: {
            **{
                table: {s: int((f["objective"] == name).sum()) for s, f in parts[table].items()}
                for table in labelled
            },
            "missing_label_share": shares[name],
        }
        for name in known
    }


def _missing(
    pairs: pd.DataFrame, ratings: pd.DataFrame, known: Mapping[str, Objective]
) -> dict[str, float | None]:
    """Objective -> share of the labelled answers in its domain that have no label for it."""
    answers = [ratings.rename(columns={"response": "answer"})]
    answers += [pairs.rename(columns={side: "answer"}) for side in ("chosen", "rejected")]
    judged = pd.concat([frame[["group_id", "answer", "objective"]] for frame in answers])
    answers_by_objective = {
        name: set(zip(rows["group_id"], rows["answer"], strict=True))
        for name, rows in judged.groupby("objective")
    }
    shares: dict[str, float | None] = {}
    for name, objective in known.items():
        in_domain = [
            answers_by_objective.get(other, set())
            for other in known
            if objective.domain in ("all", known[other].domain)
        ]
        total = set().union(*in_domain)
        labelled = answers_by_objective.get(name, set())
        shares[name] = 1 - len(labelled) / len(total) if total else None
    return shares


def _count(frame: pd.DataFrame, column: str) -> dict[str, int]:
    return {str(name): int(count) for name, count in frame[column].value_counts(sort=False).items()}


def _write(
    parts: Mapping[str, Tables],
    groups: Mapping[str, Sequence[str]],
    quarantined: pd.DataFrame,
    out: Path,
) -> None:
    without_test = ("train", "validation")
    for folder, table, names in (
        ("sft", "demonstrations", without_test),
        ("pairs", "pairs", without_test),
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
        Plan.of(read()),
        load(Model, "model"),
        load(int, "seeds", "data"),
        Path("."),
    )
    print(f"rows by table and split: {report['splits']}")


if __name__ == "__main__":
    command(main)
