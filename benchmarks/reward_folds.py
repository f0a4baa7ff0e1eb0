"""Cross-validation of reward heads on human labels, with TF-IDF, author and length baselines.

    python -m benchmarks.reward_folds truthfulqa <folder> <model> --folds 5 --separate [--answers N]
    python -m benchmarks.reward_folds mrbench <MRBench_V2.json> <model> --folds 4
    python -m benchmarks.reward_folds gsm8k <folder> <model> --folds 5
    python -m benchmarks.reward_folds <format> <path> <model>

It reads ratings and pairs in any source format. One probe with a head per objective is fitted to
the training folds. The regularisation of each head, and whether labels enter as given or as pairs,
are chosen on a fifth of the training groups, never on the test fold. Features of the frozen model
are computed once and cached in work/folds. Prints pair accuracy over all folds as Markdown tables,
with 95 % intervals over groups.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.reward_data import Data, load
from benchmarks.reward_judge import WAYS, Fold, Judge, fitted
from concord.annotations import reader
from concord.evaluation.metrics import Interval, mean_interval
from concord.evaluation.rewards import baselines
from concord.evaluation.rewards.picking import picks
from concord.evaluation.rewards.step_quality import clustered_area
from concord.evaluation.rewards.votes import finals
from concord.lm.load import load_tokenizer


def pair_table(judge: Judge, data: Data, fitted_folds: Sequence[Fold], separate: bool) -> list[str]:
    """Pair accuracy of the heads and of the baselines, by objective, over all folds.

    With `separate`, a model per objective is fitted too.
    """
    columns = ["head", "a model each", "longer", "tf_idf", "author"]
    columns += [f"{name}, unseen authors" for name in ("head", "longer", "tf_idf")]
    hits: dict[str, list[pd.DataFrame]] = {column: [] for column in columns}
    authors_known = bool(data.pairs[["chosen_author", "rejected_author"]].notna().all(axis=None))
    for fold in fitted_folds:
        train, test = fold.train, fold.test
        hits["head"].append(_hit(test.pairs, judge.margins(fold.heads, data.names, test.pairs)))
        if separate:
            hits["a model each"].append(_separate_models(judge, train, test, data.names))
        hits["longer"].append(_hit(test.pairs, _longer(test.pairs)))
        hits["tf_idf"].append(_tf_idf(train, test, data.names))
        if authors_known:
            hits["author"].append(_by_author(train, test, data.names))
            for half, other in _halves(data):
                seen, unseen = train.by(half), test.by(other)
                heads = _fitted(judge, seen, data.names)
                hits["head, unseen authors"].append(
                    _hit(unseen.pairs, judge.margins(heads, data.names, unseen.pairs))
                )
                hits["longer, unseen authors"].append(_hit(unseen.pairs, _longer(unseen.pairs)))
                hits["tf_idf, unseen authors"].append(_tf_idf(seen, unseen, data.names))
    tables = {column: pd.concat(parts) for column, parts in hits.items() if parts}
    return [*_rows(tables, data), *_gains(tables, data)]


def _rows(tables: dict[str, pd.DataFrame], data: Data) -> Iterator[str]:
    yield f"| objective | pairs | {' | '.join(tables)} |"
    yield "|" + "---|" * (len(tables) + 2)
    for name in [*data.names, "mean"]:
        cells = [baselines.format_interval(_mean(table, name)) for table in tables.values()]
        count = len(data.pairs) if name == "mean" else int((data.pairs["objective"] == name).sum())
        yield f"| {name} | {count} | {' | '.join(cells)} |"


def _gains(tables: dict[str, pd.DataFrame], data: Data) -> Iterator[str]:
    """Gain of the head over each baseline on the same pairs; the mean weighs objectives equally."""
    for head, others in (
        ("head", ("a model each", "longer", "tf_idf", "author")),
        ("head, unseen authors", ("longer, unseen authors", "tf_idf, unseen authors")),
    ):
        compared = [other for other in others if head in tables and other in tables]
        if compared:
            yield (
                f"\n| {head}, minus | {' | '.join(compared)} |\n"
                + "|---" * (len(compared) + 1)
                + "|"
            )
        for name in [*data.names, "mean"] if compared else []:
            hits = tables[head]["hit"].to_numpy()
            gains = [
                tables[head].assign(hit=hits - tables[other]["hit"].to_numpy())
                for other in compared
            ]
            cells = [baselines.format_interval(_mean(gain, name)) for gain in gains]
            yield f"| {name} | {' | '.join(cells)} |"


def _mean(table: pd.DataFrame, name: str) -> Interval:
    """Mean hit rate of one objective, or (`mean`) over objectives with equal weight."""
    rows = table if name == "mean" else table[table["objective"] == name]
    weight = 1.0 / rows.groupby("objective")["hit"].transform("size")
    values = rows["hit"] * weight * len(rows) / rows["objective"].nunique()
    return mean_interval(
        values.to_numpy(), rows["group_id"].tolist(), baselines.RESAMPLES, baselines.SEED
    )


def _hit(frame: pd.DataFrame, margins: np.ndarray) -> pd.DataFrame:
    return frame[["objective", "group_id"]].assign(hit=np.heaviside(margins, 0.5))


def _longer(frame: pd.DataFrame) -> np.ndarray:
    return np.sign((frame["chosen"].str.len() - frame["rejected"].str.len()).to_numpy())


def _tf_idf(train: Data, test: Data, names: Sequence[str]) -> pd.DataFrame:
    return _linear(train, test, names, baselines.word_features, "chosen", "rejected")


def _by_author(train: Data, test: Data, names: Sequence[str]) -> pd.DataFrame:
    return _linear(train, test, names, baselines.name_features, "chosen_author", "rejected_author")


def _linear(
    train: Data, test: Data, names: Sequence[str], features: Any, better: str, worse: str
) -> pd.DataFrame:
    """Hits of a linear Bradley-Terry model per objective, in the order of the test pairs."""
    return _each(
        train,
        test,
        names,
        lambda name, one: baselines.bradley_terry(one.pairs, features, better, worse),
    )


def _separate_models(judge: Judge, train: Data, test: Data, names: Sequence[str]) -> pd.DataFrame:
    """Hits of a probe per objective, fitted to its labels only, in the order of the test pairs."""

    def fit_one(name: str, one: Data) -> Callable[[pd.DataFrame], np.ndarray]:
        heads = _fitted(judge, one, [name])
        return lambda frame: judge.margins(heads, [name], frame)

    return _each(train, test, names, fit_one)


def _fitted(judge: Judge, data: Data, names: list[str]) -> dict[str, np.ndarray]:
    """Heads with the settings that are chosen within the data."""
    way, choice = judge.chosen(data, names)
    return judge.fit(data, names, way, choice.l2)


def _each(
    train: Data,
    test: Data,
    names: Sequence[str],
    fit: Callable[[str, Data], Callable[[pd.DataFrame], np.ndarray]],
) -> pd.DataFrame:
    """Calls `fit` for every objective; returns the hits in the order of the test pairs."""
    margins = pd.Series(0.0, index=test.pairs.index)
    for name in names:
        one, other = train.on(name), test.on(name).pairs
        if len(one.pairs) and len(other):
            margins.loc[other.index] = fit(name, one)(other)
    return _hit(test.pairs, margins.to_numpy())


def _halves(data: Data) -> Iterator[tuple[set[str], set[str]]]:
    """Splits the authors in two, alternating in alphabetical order; yields (half, other) twice."""
    halves = set(data.authors[::2]), set(data.authors[1::2])
    return iter((halves, halves[::-1]))


def answer_table(judge: Judge, fitted_folds: Sequence[Fold]) -> list[str]:
    """AUC of graded solutions per author, and best-of-n accuracy against the majority vote."""
    from scipy.special import expit  # type: ignore[import-untyped]

    scored = []
    for fold in fitted_folds:
        rated, weight = fold.test.ratings, fold.heads["weight"][0].astype(float)
        rated = rated[rated["author"].notna()]
        scored.append(
            rated.assign(
                score=judge.of(rated, "response").astype(float) @ weight + fold.heads["bias"][0]
            )
        )
    table = pd.concat(scored)
    lines = ["", "| author | solutions | correct | AUC |", "|---|---|---|---|"]
    for author, rows in table.groupby("author"):
        owner = pd.factorize(rows["group_id"])[0]
        right = rows["rating"].to_numpy() > 0
        area = clustered_area(
            rows["score"].to_numpy(), right, owner, baselines.RESAMPLES, baselines.SEED
        )
        cells = [str(len(rows)), f"{right.mean():.3f}", baselines.format_interval(area)]
        lines.append(f"| {author} | {' | '.join(cells)} |")
    table = finals(
        table.assign(problem=table["messages"].map(str), correct=table["rating"]), "math_answer"
    )
    guesses = baselines.pick_baselines(table, table)
    ways = {name: guesses[name] for name in ("random", "majority", "oracle")}
    ways |= baselines.pick_by_scores(table, expit(table["score"].to_numpy()))
    lines += [
        "",
        *(
            f"{name}: {baselines.format_interval(baselines.pick_accuracy(table, picked))}"
            for name, picked in ways.items()
        ),
    ]
    for way in ("reward model", "weighted vote"):
        one, other = (picks(table, ways[name]) for name in (way, "majority"))
        gain = (one["correct"] - other["correct"]).to_numpy()
        interval = mean_interval(
            gain, one["group_id"].tolist(), baselines.RESAMPLES, baselines.SEED
        )
        lines.append(f"{way} minus majority: {baselines.format_interval(interval)}")
    return lines


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", choices=reader.format_names(), metavar="format")
    parser.add_argument("path", help="file or folder to read")
    parser.add_argument("model", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--answers", type=int, help="answers per question (truthfulqa)")
    parser.add_argument("--layers", type=int, nargs="+", default=[15, 22, 30])
    parser.add_argument("--pooling", choices=["last", "mean"], nargs="+", default=["last"])
    parser.add_argument(
        "--separate", action="store_true", help="also fit a separate model per objective"
    )
    parser.add_argument(
        "--ways", choices=WAYS, nargs="+", default=WAYS, help="candidate forms of the labels"
    )
    parser.add_argument(
        "--groups", type=int, help="number of questions or dialogues to use (default: all)"
    )
    parser.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16"],
        default="auto",
        help="dtype of the frozen model",
    )
    arguments = parser.parse_args()
    data = load(arguments.data, arguments.path, load_tokenizer(arguments.model), arguments.answers)
    if arguments.groups:
        data = data.first(arguments.groups)
    cache = (
        Path("work/folds")
        / f"{arguments.data}-{arguments.answers or 'all'}-{arguments.groups or 'all'}"
    )
    judge = Judge(
        arguments.model,
        arguments.layers,
        arguments.pooling,
        arguments.dtype,
        arguments.ways,
        data,
        cache,
    )
    results = list(fitted(judge, data, arguments.folds))
    print("\n".join(pair_table(judge, data, results, arguments.separate)))
    if arguments.data == "gsm8k":
        print("\n".join(answer_table(judge, results)))


if __name__ == "__main__":
    main()
