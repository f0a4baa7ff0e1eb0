"""Reward heads on people's labels, held out by fold of questions or dialogues, beside TF-IDF, authors and lengths.

    python -m benchmarks.reward_folds truthfulqa <folder> <model> --folds 5 --apart [--answers N] [--layers 15 22 30]
    python -m benchmarks.reward_folds mrbench <MRBench_V2.json> <model> --folds 4
    python -m benchmarks.reward_folds gsm8k <folder> <model> --folds 5

One probe with a head per objective is fitted to the training folds; what is chosen (how heads are regularised, labels
as given or as pairs) is chosen on a fifth of the training groups, never on the fold that is measured. Features of the
frozen model are computed once and kept under work/folds. Prints a table in Markdown; pairs of all folds together,
95 % intervals by group.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.reward_data import OPTIONS, Data, load
from benchmarks.reward_judge import WAYS, Fold, Judge, fitted
from concord.evaluation.metrics import Interval, mean_interval
from concord.evaluation.rewards import baselines
from concord.evaluation.rewards.picking import picks
from concord.evaluation.rewards.step_quality import clustered_area
from concord.evaluation.rewards.votes import finals
from concord.lm.load import load_tokenizer


def pair_table(judge: Judge, data: Data, found: Sequence[Fold], apart: bool) -> list[str]:
    """Pair accuracy of every objective over all folds; on the same pairs TF-IDF, authors and, where asked for, a model
    for each objective."""
    columns = ["head", "a model each", "longer", "tf_idf", "author"]
    columns += [f"{name}, unseen authors" for name in ("head", "longer", "tf_idf")]
    hits: dict[str, list[pd.DataFrame]] = {column: [] for column in columns}
    written = bool(data.pairs[["chosen_author", "rejected_author"]].notna().all(axis=None))
    for fold in found:
        train, test = fold.train, fold.test
        hits["head"].append(_hit(test.pairs, judge.margins(fold.heads, data.names, test.pairs)))
        if apart:
            hits["a model each"].append(_alone(judge, train, test, data.names))
        hits["longer"].append(_hit(test.pairs, _longer(test.pairs)))
        hits["tf_idf"].append(_words(train, test, data.names))
        if written:
            hits["author"].append(_by_name(train, test, data.names))
            for half, other in _halves(data):
                seen, unseen = train.by(half), test.by(other)
                own = judge.fit(seen, data.names, *judge.chosen(seen, data.names))
                hits["head, unseen authors"].append(
                    _hit(unseen.pairs, judge.margins(own, data.names, unseen.pairs))
                )
                hits["longer, unseen authors"].append(_hit(unseen.pairs, _longer(unseen.pairs)))
                hits["tf_idf, unseen authors"].append(_words(seen, unseen, data.names))
    tables = {column: pd.concat(parts) for column, parts in hits.items() if parts}
    return [*_rows(tables, data), *_gains(tables, data)]


def _rows(tables: dict[str, pd.DataFrame], data: Data) -> Iterator[str]:
    yield f"| objective | pairs | {' | '.join(tables)} |"
    yield "|" + "---|" * (len(tables) + 2)
    for name in [*data.names, "mean"]:
        cells = [baselines.shown(_mean(table, name)) for table in tables.values()]
        pairs_of = (
            len(data.pairs) if name == "mean" else int((data.pairs["objective"] == name).sum())
        )
        yield f"| {name} | {pairs_of} | {' | '.join(cells)} |"


def _gains(tables: dict[str, pd.DataFrame], data: Data) -> Iterator[str]:
    """The head less each rival on the same pairs; in the mean all objectives weigh the same."""
    for head, others in (
        ("head", ("a model each", "longer", "tf_idf", "author")),
        ("head, unseen authors", ("longer, unseen authors", "tf_idf, unseen authors")),
    ):
        rivals = [other for other in others if head in tables and other in tables]
        if rivals:
            yield f"\n| {head}, less | {' | '.join(rivals)} |\n" + "|---" * (len(rivals) + 1) + "|"
        for name in [*data.names, "mean"] if rivals else []:
            hits = tables[head]["hit"].to_numpy()
            gains = [
                tables[head].assign(hit=hits - tables[other]["hit"].to_numpy()) for other in rivals
            ]
            yield f"| {name} | {' | '.join(baselines.shown(_mean(gain, name)) for gain in gains)} |"


def _mean(table: pd.DataFrame, name: str) -> Interval:
    """Mean of hits of one objective, or of all, each objective weighing the same."""
    own = table if name == "mean" else table[table["objective"] == name]
    weight = 1.0 / own.groupby("objective")["hit"].transform("size")
    values = own["hit"] * weight * len(own) / own["objective"].nunique()
    return mean_interval(
        values.to_numpy(), own["group_id"].tolist(), baselines.RESAMPLES, baselines.SEED
    )


def _hit(frame: pd.DataFrame, margins: np.ndarray) -> pd.DataFrame:
    return frame[["objective", "group_id"]].assign(hit=np.heaviside(margins, 0.5))


def _longer(frame: pd.DataFrame) -> np.ndarray:
    return np.sign((frame["chosen"].str.len() - frame["rejected"].str.len()).to_numpy())


def _words(train: Data, test: Data, names: Sequence[str]) -> pd.DataFrame:
    return _linear(train, test, names, baselines.word_features, "chosen", "rejected")


def _by_name(train: Data, test: Data, names: Sequence[str]) -> pd.DataFrame:
    return _linear(train, test, names, baselines.name_features, "chosen_author", "rejected_author")


def _linear(
    train: Data, test: Data, names: Sequence[str], features: Any, better: str, worse: str
) -> pd.DataFrame:
    """Hits of a linear Bradley-Terry score of each objective, in the order of the test pairs."""
    return _each(
        train,
        test,
        names,
        lambda name, one: baselines.bradley_terry(one.pairs, features, better, worse),
    )


def _alone(judge: Judge, train: Data, test: Data, names: Sequence[str]) -> pd.DataFrame:
    """Hits of a model for each objective, fitted to its labels alone, in the order of the test pairs."""

    def alone(name: str, one: Data) -> Callable[[pd.DataFrame], np.ndarray]:
        heads = judge.fit(one, [name], *judge.chosen(one, [name]))
        return lambda frame: judge.margins(heads, [name], frame)

    return _each(train, test, names, alone)


def _each(
    train: Data,
    test: Data,
    names: Sequence[str],
    fit: Callable[[str, Data], Callable[[pd.DataFrame], np.ndarray]],
) -> pd.DataFrame:
    """Hits of what is fitted to each objective alone, in the order of the test pairs."""
    margins = pd.Series(0.0, index=test.pairs.index)
    for name in names:
        one, other = train.on(name), test.on(name).pairs
        if len(one.pairs) and len(other):
            margins.loc[other.index] = fit(name, one)(other)
    return _hit(test.pairs, margins.to_numpy())


def _halves(data: Data) -> Iterator[tuple[set[str], set[str]]]:
    """Halves of the authors, by odd and even places in the alphabet, each with the other."""
    names = sorted(data.ratings["author"].dropna().unique())
    halves = set(names[::2]), set(names[1::2])
    return iter((halves, halves[::-1]))


def answer_table(judge: Judge, found: Sequence[Fold]) -> list[str]:
    """Of graded solutions: AUC within each author, and the best of each problem's against the vote."""
    from scipy.special import expit  # type: ignore[import-untyped]

    scored = []
    for fold in found:
        own, weight = fold.test.ratings, fold.heads["weight"][0].astype(float)
        own = own[own["author"].notna()]
        scored.append(
            own.assign(
                score=judge.of(own, "response").astype(float) @ weight + fold.heads["bias"][0]
            )
        )
    table = pd.concat(scored)
    lines = ["", "| author | solutions | right | AUC |", "|---|---|---|---|"]
    for author, own in table.groupby("author"):
        owner = pd.factorize(own["group_id"])[0]
        right = own["rating"].to_numpy() > 0
        area = clustered_area(
            own["score"].to_numpy(), right, owner, baselines.RESAMPLES, baselines.SEED
        )
        lines.append(f"| {author} | {len(own)} | {right.mean():.3f} | {baselines.shown(area)} |")
    table = finals(
        table.assign(problem=table["messages"].map(str), correct=table["rating"]), "math_answer"
    )
    guesses = baselines.guesses(table, table)
    ways = {name: guesses[name] for name in ("random", "majority", "oracle")}
    ways |= baselines.by_scores(table, expit(table["score"].to_numpy()))
    lines += [
        "",
        *(f"{name}: {baselines.shown(baselines.picked(table, own))}" for name, own in ways.items()),
    ]
    for way in ("reward model", "weighted vote"):
        one, other = (picks(table, ways[name]) for name in (way, "majority"))
        gain = (one["correct"] - other["correct"]).to_numpy()
        interval = mean_interval(
            gain, one["group_id"].tolist(), baselines.RESAMPLES, baselines.SEED
        )
        lines.append(f"{way} less majority: {baselines.shown(interval)}")
    return lines


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", choices=list(OPTIONS))
    parser.add_argument("path")
    parser.add_argument("model", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--answers", type=int, help="answers of each question (truthfulqa)")
    parser.add_argument("--layers", type=int, nargs="+", default=[15, 22, 30])
    parser.add_argument("--pooling", choices=["last", "mean"], nargs="+", default=["last"])
    parser.add_argument(
        "--apart", action="store_true", help="also fit a model for each objective alone"
    )
    parser.add_argument(
        "--ways", choices=WAYS, nargs="+", default=WAYS, help="how labels may enter"
    )
    parser.add_argument(
        "--groups", type=int, help="so many questions or dialogues, the first by hash"
    )
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default="float32", help="of the frozen model"
    )
    given = parser.parse_args()
    data = load(given.data, given.path, load_tokenizer(given.model), given.answers)
    if given.groups:
        data = data.first(given.groups)
    kept = Path("work/folds") / f"{given.data}-{given.answers or 'all'}-{given.groups or 'all'}"
    judge = Judge(given.model, given.layers, given.pooling, given.dtype, given.ways, data, kept)
    found = list(fitted(judge, data, given.folds))
    print("\n".join(pair_table(judge, data, found, given.apart)))
    if given.data == "gsm8k":
        print("\n".join(answer_table(judge, found)))


if __name__ == "__main__":
    main()
