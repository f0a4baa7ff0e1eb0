"""Turns the ingested tables into what each consumer reads: cleaned, deduplicated, and split by prompt or dialogue.

    data/ingested/<source>/*.parquet -> data/prepared/sft/{train,validation}.parquet
                                        data/prepared/prompts/{train,validation,test}.parquet
                                        data/prepared/rewards/<group>/{labels,train,validation,test}.parquet
                                        data/prepared/pairs/{train,validation}.parquet
                                        data/prepared/ratings/{train,validation,test}.parquet
                                        data/prepared/steps/{train,validation,test}.parquet
                                        data/prepared/quarantine.parquet
                                        reports/data.json

Reads of params.yaml: seeds, model, sources (names), objectives, reward_models (objectives and labels of each
group), prepare.

    python -m tasks.prepare
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
    """Share of the groups on which choices are made."""
    test: Share
    """Share of the groups that are kept for measuring."""
    pairs_per_prompt: Annotated[int, Field(ge=1)] | None = None
    """Most pairs that one annotator's grades of one prompt on one objective may imply; null for all of them."""
    near_duplicates: Annotated[float, Field(ge=0.5, le=1)] | None = None
    """Jaccard similarity, 0.5 to 1, from which prompts with the same numbers lie in one split; null leaves them where
    they fall."""

    def __post_init__(self) -> None:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation} and test {self.test} leave nothing to train on"
            )


@plain_dataclass(frozen=True)
class Plan:
    """What is to be prepared, by name: the sources, the objectives, and the objectives of each reward model."""

    sources: Sequence[str]
    objectives: Mapping[str, Objective]
    groups: Mapping[str, Sequence[str]]
    implied: Collection[str] = ()
    """The reward models that are fitted to implied pairs; the others take labels of all kinds."""

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> "Plan":
        """The names in `params`; their order does not matter."""
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
    """Prepares everything under `root`/data/prepared; writes and returns the data report."""
    ingested = root / "data" / "ingested"
    aside = quarantine.Quarantine()
    tokens = Tokens(base_tokenizer(model), model.max_length)
    found, unused = _known(_load(ingested, plan.sources), plan.objectives)
    found, near, leaked = _grouped(found, params, plan, str(seed))
    found = clean.tables(found, tokens, aside)
    implied = preferences.from_ratings(found["ratings"], params.pairs_per_prompt)
    compared = preferences.from_comparisons(found["comparisons"])
    found["pairs"] = clean.pairs(pd.concat([compared, implied], ignore_index=True), tokens, aside)
    parts = {
        table: splits.divide(frame, str(seed), params.validation, params.test)
        for table, frame in found.items()
    }
    _demand_prompts(parts, plan)
    _demand_labels(parts, plan, unused)
    every = pd.concat(
        [_load_one(ingested, name, "quarantine") for name in plan.sources] + [aside.take()]
    )
    report = {
        "sources": {
            name: outputs.read_json(ingested / name / "report.json") for name in plan.sources
        },
        "tables": {table: _count(frame, "source") for table, frame in found.items()},
        "splits": {
            table: {split: len(frame) for split, frame in part.items()}
            for table, part in parts.items()
        },
        "objectives": _by_objective(parts, plan.objectives),
        "unused_objectives": unused,
        **survey(found["pairs"], found["ratings"], list(plan.objectives)),
        "quarantine": quarantine.samples(every),
        "near_duplicates": near,
        "leakage": leakage.overlap(
            {split: [part[split] for part in parts.values()] for split in splits.SPLITS}
        ),
        "prompts_cut": tokens.cut_prompts(found["prompts"]),
    }
    for split, count in leaked.items():
        report["leakage"][split]["near_train_before_merging"] = count
    _write(parts, plan.groups, every, root / "data" / "prepared")
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


def _known(tables: Tables, known: Mapping[str, Objective]) -> tuple[Tables, dict[str, int]]:
    """The tables without labels of objectives that params.yaml does not name, and how many labels each of those has."""
    unused: dict[str, int] = {}
    kept = dict(tables)
    for table, frame in tables.items():
        if "objective" in frame.columns:
            stays = frame["objective"].isin(list(known))
            kept[table] = frame[stays]
            for name, count in frame["objective"][~stays].value_counts().items():
                unused[str(name)] = unused.get(str(name), 0) + int(count)
    return kept, unused


def _grouped(
    tables: Tables, params: PrepareParams, plan: Plan, salt: str
) -> tuple[Tables, dict[str, Any] | None, Counts]:
    """The tables with groups merged that share a prompt or have near duplicates; what to report of the latter, and how
    many held-out prompts had one in train."""
    tables = _regrouped(tables, splits.merge_groups(tables.values(), salt))
    if params.near_duplicates is None:
        return tables, None, {}
    asked = near_duplicates.prompts(
        tables, {name: objective.domain for name, objective in plan.objectives.items()}
    )
    distinct = asked.drop_duplicates("prompt")
    own, texts = list(distinct["group_id"]), list(distinct["text"])
    found = near_duplicates.links(own, texts, params.near_duplicates)
    groups = splits.join(
        [*([group] for group in own), *([own[link.one], own[link.other]] for link in found)], salt
    )
    near_duplicates.demand_variety(asked, groups, params.near_duplicates)
    before = [splits.split_of(group, salt, params.validation, params.test) for group in own]
    report = near_duplicates.report(texts, found, params.near_duplicates, groups)
    return _regrouped(tables, groups), report, near_duplicates.near_train(found, before)


def _regrouped(tables: Tables, groups: Mapping[str, str]) -> Tables:
    return {table: splits.regroup(frame, groups) for table, frame in tables.items()}


def _demand_prompts(parts: Mapping[str, Tables], plan: Plan) -> None:
    """Every domain of the vector has prompts to sample answers to, and there are demonstrations to start from."""
    for domain in sorted(
        {objective.domain for objective in plan.objectives.values() if objective.in_vector}
    ):
        counts = {
            split: int((frame["domain"] == domain).sum())
            for split, frame in parts["prompts"].items()
        }
        if not (counts["train"] and counts["validation"]):
            raise DataError(
                f"the prompts of domain {domain} are {counts}, and rollouts and anchors need some in train and in "
                f"validation; add rows of kind prompt with domain {domain} to a source"
            )
    if parts["demonstrations"]["train"].empty:
        raise DataError(
            "there are no demonstrations to train on, from which the SFT model starts; add rows of kind demonstration "
            "(good answers, from which the policies start) to a source"
        )


def _demand_labels(parts: Mapping[str, Tables], plan: Plan, unused: Mapping[str, int]) -> None:
    """Every head has something to be fitted to and to be judged on: pairs where it is fitted to these, else labels."""
    hint = (
        f" (the sources have labels of {', '.join(sorted(unused))}, which no objective is called)"
        if unused
        else ""
    )
    for group, names in plan.groups.items():
        what = "pairs" if group in plan.implied else "labels"
        instead = (
            "remove it, or take labels: given, which needs none"
            if group in plan.implied
            else "or remove it"
        )
        for name in names:
            if name not in plan.objectives:
                raise ParamsError(
                    f"reward_models.{group}.objectives.{name} is no objective of params.yaml; add it there"
                )
            pairs = {split: _own(frame, name) for split, frame in parts["pairs"].items()}
            grades = {split: _grades(frame, name) for split, frame in parts["ratings"].items()}
            counts = {
                split: len(pairs[split]) + (what == "labels") * len(grades[split])
                for split in pairs
            }
            if not all(counts.values()):
                raise DataError(
                    f"reward model {group}: the {what} of objective {name} are {counts}, and it needs some in each "
                    f"split; add annotations of it, raise prepare.validation and prepare.test, {instead}{hint}"
                )
            if pairs["train"].empty and not _differ(grades["train"]):
                raise DataError(
                    f"reward model {group}: all train labels of objective {name} say the same, so nothing can be "
                    "learnt from them; add answers that were graded otherwise, or remove it"
                )


def _own(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    return frame[frame["objective"] == name]


def _grades(ratings: pd.DataFrame, name: str) -> pd.DataFrame:
    """The objective's labels of single answers; a rank says nothing without the other answers."""
    own = _own(ratings, name)
    return own[own["kind"] != "ranking"]


def _differ(grades: pd.DataFrame) -> bool:
    """Whether two grades on one scale are different."""
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
    """Of the answers that anybody judged on an objective of a domain, the share without a label of this objective."""
    answers = [ratings.rename(columns={"response": "answer"})]
    answers += [pairs.rename(columns={side: "answer"}) for side in ("chosen", "rejected")]
    judged = pd.concat([frame[["group_id", "answer", "objective"]] for frame in answers])
    found = {
        name: set(zip(rows["group_id"], rows["answer"], strict=True))
        for name, rows in judged.groupby("objective")
    }
    shares: dict[str, float | None] = {}
    for name, objective in known.items():
        beside = [
            found.get(other, set())
            for other in known
            if objective.domain in ("all", known[other].domain)
        ]
        total = set().union(*beside)
        shares[name] = 1 - len(found.get(name, set())) / len(total) if total else None
    return shares


def _count(frame: pd.DataFrame, column: str) -> dict[str, int]:
    return {str(name): int(count) for name, count in frame[column].value_counts(sort=False).items()}


def _write(
    parts: Mapping[str, Tables], groups: Mapping[str, Sequence[str]], aside: pd.DataFrame, out: Path
) -> None:
    held_in = ("train", "validation")
    for folder, table, names in (
        ("sft", "demonstrations", held_in),
        ("pairs", "pairs", held_in),
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
                "labels": labels.given(parts["pairs"]["train"], parts["ratings"]["train"]),
            }
            _write_splits(
                target / group,
                {n: frame[frame["objective"].isin(members)] for n, frame in tables.items()},
            )
    outputs.write_table(out / "quarantine.parquet", aside)


def _write_splits(folder: Path, frames: Tables) -> None:
    for name, frame in frames.items():
        outputs.write_table(folder / f"{name}.parquet", frame)


def main() -> None:
    """Runs the stage on params.yaml."""
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
