"""Cheap baselines on the pairs and answers that reward models are judged on, as Markdown tables.

    python -m concord.evaluation.rewards.baselines > baselines.md

Everything is fitted on the training split and measured on the test split of data/prepared
(held-out groups). The 95 % intervals are bootstraps over groups, so the figures are comparable with
those of reports/rewards/<group>.json.

Pair accuracy. `author` and `tf_idf` are Bradley-Terry models with linear scores.

- `longer`: prefers the longer answer
- `author`: knows only who wrote the answers
- `tf_idf`: knows the words and bigrams of the answers
- `unseen authors`: `tf_idf` on pairs by two authors that it was not trained on. The sorted authors
  are split into odd and even positions; the model is trained on each half and tested on the other.

Picking among the answers of several models to one checkable problem:

- `random`: picks any answer
- `majority`: picks one with the most frequent final answer, as the verifier reads it
- `best author`: picks the answer of the author who is most often right in training
- `reward model`: picks the answer with the highest score
- `weighted vote`: picks one whose final answer has the largest sum of scores (as probabilities)
- `oracle`: picks a right answer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from concord.annotations.interchange import content_hash
from concord.evaluation.metrics import Interval, mean_interval
from concord.evaluation.rewards.picking import picks, tally, unread_last
from concord.evaluation.rewards.votes import finals
from concord.objectives import objectives_of
from concord.rewards.outcome.reward_model import complete, load
from concord.stage.outputs import read_table
from concord.stage.params import read
from concord.stage.paths import PREPARED, REWARDS

RESAMPLES, SEED = 1000, 0
L2 = 1.0
FEW = 20
BASELINES = ("longer", "author", "tf_idf", "unseen authors")
PICKS = ("random", "majority", "best author", "reward model", "weighted vote", "oracle")


def main() -> None:
    """Prints both tables for the project in the working directory."""
    params = read()
    print("\n".join([*pair_table(params), "", *answer_table(params)]))


def pair_table(params: Mapping[str, Any]) -> list[str]:
    """Pair accuracy of each objective with a reward model, as lines of Markdown."""
    lines = [
        "| objective | test pairs | longer | author | tf_idf | unseen authors |",
        "|---|---|---|---|---|---|",
    ]
    for group, entry in params.get("reward_models", {}).items():
        for name in entry["objectives"]:
            train, test = (pairs(group, split, name) for split in ("train", "test"))
            cells = [format_interval(interval) for interval in pair_baselines(train, test).values()]
            lines.append(f"| {name} ({group}) | {len(test)} | {' | '.join(cells)} |")
    return lines


def pairs(group: str, split: str, objective: str) -> pd.DataFrame:
    """The prepared pairs of one objective."""
    frame = read_table(PREPARED / f"rewards/{group}/{split}.parquet")
    return frame[frame["objective"] == objective].reset_index(drop=True)


def pair_baselines(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Interval | None]:
    """Accuracy of each baseline with its interval; None if it does not apply to any pair."""
    return {
        name: accuracy_where_known(test, margins)
        for name, margins in pair_margins(train, test).items()
    }


def pair_margins(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, np.ndarray]:
    """Baseline -> margins (pairs,), NaN where it does not apply (unknown or seen authors)."""
    margins = {name: np.full(len(test), np.nan) for name in BASELINES}
    margins["longer"] = np.sign(
        (test["chosen"].str.len() - test["rejected"].str.len()).to_numpy(dtype=float)
    )
    if len(train) and len(test):
        margins["tf_idf"] = bradley_terry(train, word_features, "chosen", "rejected")(test)
    known, rows = train[_authors_known(train)], _authors_known(test)
    if len(known) and rows.any():
        by_name = bradley_terry(known, name_features, "chosen_author", "rejected_author")
        margins["author"][rows] = by_name(test[rows])
        margins["unseen authors"][rows] = unseen_authors(known, test[rows])
    return margins


def _authors_known(frame: pd.DataFrame) -> np.ndarray:
    """Mask, (pairs,), of the pairs with two known authors."""
    sides = ["chosen_author", "rejected_author"]
    if not set(sides) <= set(frame.columns):
        return np.zeros(len(frame), dtype=bool)
    return frame[sides].notna().all(axis=1).to_numpy()


def accuracy_where_known(test: pd.DataFrame, margins: np.ndarray) -> Interval | None:
    """Accuracy over the pairs with a margin; None if there are none."""
    known = ~np.isnan(margins)
    return accuracy(test[known], margins[known]) if known.any() else None


def accuracy(test: pd.DataFrame, margins: np.ndarray) -> Interval:
    """Share of positive margins; ties count one half."""
    return mean_interval(np.heaviside(margins, 0.5), test["group_id"].tolist(), RESAMPLES, SEED)


def bradley_terry(
    train: pd.DataFrame, features: Callable[[Sequence[str]], Any], better: str, worse: str
) -> Callable[[pd.DataFrame], np.ndarray]:
    """Fits a linear Bradley-Terry score on `train`; the result computes margins (pairs,).

    The fit is a logistic regression on differences of features.
    """
    from scipy.sparse import vstack  # type: ignore[import-untyped]
    from sklearn.linear_model import LogisticRegression

    encoder = features([*train[better], *train[worse]])
    differences = encoder.transform(train[better]) - encoder.transform(train[worse])
    model = LogisticRegression(C=1.0 / L2, fit_intercept=False, max_iter=1000)
    model.fit(vstack([differences, -differences]), np.repeat([1, 0], len(train)))
    weight = model.coef_[0]
    return lambda test: (encoder.transform(test[better]) - encoder.transform(test[worse])) @ weight


def word_features(texts: Sequence[str]) -> Any:
    """TF-IDF of words and bigrams."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    least = 2 if len(texts) >= FEW else 1  # a word in a single text carries no signal
    words = TfidfVectorizer(
        ngram_range=(1, 2), min_df=least, sublinear_tf=True, token_pattern=r"\w+|[^\w\s]"
    )
    return words.fit(texts)


def name_features(texts: Sequence[str]) -> Any:
    """One indicator per distinct text."""
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(analyzer=lambda text: [text]).fit(texts)


def unseen_authors(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """TF-IDF margins, (pairs,), of pairs by authors outside of the training half; else NaN."""
    names = sorted(
        {
            *train["chosen_author"],
            *train["rejected_author"],
            *test["chosen_author"],
            *test["rejected_author"],
        }
    )
    margins = pd.Series(np.nan, index=test.index)
    for half in (set(names[::2]), set(names[1::2])):
        inside, outside = within(train, half), within(test, set(names) - half)
        if len(inside) and len(outside):
            margins[outside.index] = bradley_terry(inside, word_features, "chosen", "rejected")(
                outside
            )
    return margins.to_numpy()


def within(frame: pd.DataFrame, names: set[str]) -> pd.DataFrame:
    """The pairs whose authors are both in `names`."""
    return frame[frame["chosen_author"].isin(names) & frame["rejected_author"].isin(names)]


def answer_table(params: Mapping[str, Any]) -> list[str]:
    """Accuracy of picking among several models' answers, for each objective with a verifier."""
    from scipy.special import expit  # type: ignore[import-untyped]

    lines = [
        f"| objective | test problems | {' | '.join(PICKS)} |",
        "|" + "---|" * (len(PICKS) + 2),
    ]
    for name, objective in objectives_of(params).items():
        if objective.verifier is None:
            continue
        train, test = (answers(split, name, objective.verifier) for split in ("train", "test"))
        if train.empty or test.empty or test["author"].isna().any():
            continue
        models = params.get("reward_models", {})
        groups = [group for group, entry in models.items() if name in entry["objectives"]]
        scores = reward_scores(test, groups[0], name) if groups else None
        ways = pick_baselines(train, test) | (
            {} if scores is None else pick_by_scores(test, expit(scores))
        )
        cells = [format_interval(pick_accuracy(test, ways.get(way))) for way in PICKS]
        lines.append(f"| {name} | {test['problem'].nunique()} | {' | '.join(cells)} |")
    return lines


def answers(split: str, objective: str, verifier: str) -> pd.DataFrame:
    """Graded answers in the format of `concord.evaluation.rewards.picking`."""
    frame = read_table(PREPARED / f"ratings/{split}.parquet")
    frame = frame[frame["objective"] == objective].reset_index(drop=True)
    problems = [content_hash(messages) for messages in frame["messages"]]
    return finals(frame.assign(problem=problems, correct=frame["rating"]), verifier)


def pick_baselines(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, np.ndarray]:
    """Scores (answers,) of each way of picking; ties share the pick."""
    best = train.groupby("author")["correct"].mean().idxmax()
    return {
        "random": np.zeros(len(test)),
        "majority": tally(test, np.ones(len(test))),
        "best author": (test["author"] == best).to_numpy(dtype=float),
        "oracle": test["correct"].to_numpy(dtype=float),
    }


def pick_by_scores(test: pd.DataFrame, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Like `pick_baselines`, for the ways that use a model's scores, (answers,), in [0, 1]."""
    return {"reward model": unread_last(test, scores), "weighted vote": tally(test, scores)}


def reward_scores(test: pd.DataFrame, group: str, objective: str) -> np.ndarray | None:
    """Scores of the group's reward model; None if it is not fitted yet."""

    folder = REWARDS / group
    if not folder.is_dir():
        return None
    model = load(folder)
    scores = complete(model, model.score(test["messages"].tolist(), test["response"].tolist()))
    return np.asarray(scores[:, model.objectives.index(objective)], dtype=float)


def pick_accuracy(test: pd.DataFrame, scores: np.ndarray | None) -> Interval | None:
    """Share of problems whose highest-scored answer is right."""
    if scores is None:
        return None
    means = picks(test, scores)
    return mean_interval(means["correct"].to_numpy(), means["group_id"].tolist(), RESAMPLES, SEED)


def format_interval(interval: Interval | None) -> str:
    """An interval as a table cell.

    Examples:
        >>> format_interval(Interval(0.5, 0.4, 0.6))
        '0.500 [0.400, 0.600]'
    """
    return (
        "-"
        if interval is None
        else f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
    )


if __name__ == "__main__":
    main()
