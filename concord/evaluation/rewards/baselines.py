"""What cheap guesses reach on the pairs and answers that reward models are judged on, as tables in Markdown.

    python -m concord.evaluation.rewards.baselines > baselines.md

Everything is fitted on the training split and measured on the test split of data/prepared (groups held out), with
95 % intervals from a bootstrap over groups, so that the figures stand beside those of reports/rewards/<group>.json.

Pair accuracy: `longer` takes the longer answer; `author` knows only who wrote it, `tf_idf` its words and pairs of
words, both by Bradley-Terry with linear scores; `unseen authors` is `tf_idf` on pairs by two authors whose answers it
was not trained on, the halves of the authors by odd and even places in the alphabet taking turns. Answers of several
models to one checkable problem: `random` picks one, `majority` one whose final answer, as the verifier reads it, is the
most frequent, `best author` the author that is right most often in training, `reward model` the answer scored highest,
`weighted vote` one whose final answer has the largest sum of scores (as probabilities), `oracle` a right one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from concord.annotations.interchange import content_hash
from concord.evaluation.metrics import Interval, mean_interval
from concord.evaluation.rewards.picking import picks, readable, tally
from concord.evaluation.rewards.votes import finals
from concord.objectives import objectives_of
from concord.stage.outputs import read_table
from concord.stage.params import read
from concord.stage.paths import PREPARED, REWARDS

RESAMPLES, SEED = 1000, 0
L2 = 1.0
FEW = 20
BASELINES = ("longer", "author", "tf_idf", "unseen authors")
PICKS = ("random", "majority", "best author", "reward model", "weighted vote", "oracle")


def main() -> None:
    """Print both tables for the project in the working directory."""
    params = read()
    print("\n".join([*pair_table(params), "", *answer_table(params)]))


def pair_table(params: Mapping[str, Any]) -> list[str]:
    """Pair accuracy of each objective that a reward model scores, as lines of Markdown."""
    lines = [
        "| objective | test pairs | longer | author | tf_idf | unseen authors |",
        "|---|---|---|---|---|---|",
    ]
    for group, entry in params["reward_models"].items():
        for name in entry["objectives"]:
            train, test = (pairs(group, split, name) for split in ("train", "test"))
            cells = [shown(interval) for interval in pair_baselines(train, test).values()]
            lines.append(f"| {name} ({group}) | {len(test)} | {' | '.join(cells)} |")
    return lines


def pairs(group: str, split: str, objective: str) -> pd.DataFrame:
    """The pairs of one objective."""
    frame = read_table(PREPARED / f"rewards/{group}/{split}.parquet")
    return frame[frame["objective"] == objective].reset_index(drop=True)


def pair_baselines(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Interval | None]:
    """Accuracy of each baseline with its interval; None where it cannot be had (no authors known, nothing to
    fit it to, no pair to measure it on)."""
    return {name: of_rows(test, margins) for name, margins in pair_margins(train, test).items()}


def pair_margins(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, np.ndarray]:
    """By baseline the margins (pairs,), NaN where it says nothing: authors unknown, or not unseen."""
    found = {name: np.full(len(test), np.nan) for name in BASELINES}
    found["longer"] = np.sign(
        (test["chosen"].str.len() - test["rejected"].str.len()).to_numpy(dtype=float)
    )
    if len(train) and len(test):
        found["tf_idf"] = bradley_terry(train, word_features, "chosen", "rejected")(test)
    seen, rows = train[_written(train)], _written(test)
    if len(seen) and rows.any():
        by_name = bradley_terry(seen, name_features, "chosen_author", "rejected_author")
        found["author"][rows] = by_name(test[rows])
        found["unseen authors"][rows] = unseen_authors(seen, test[rows])
    return found


def _written(frame: pd.DataFrame) -> np.ndarray:
    """Of which pairs (pairs,) it is known who wrote both answers."""
    sides = ["chosen_author", "rejected_author"]
    if not set(sides) <= set(frame.columns):
        return np.zeros(len(frame), dtype=bool)
    return frame[sides].notna().all(axis=1).to_numpy()


def of_rows(test: pd.DataFrame, margins: np.ndarray) -> Interval | None:
    """Accuracy where the margins are known; None where they never are."""
    known = ~np.isnan(margins)
    return measured(test[known], margins[known]) if known.any() else None


def measured(test: pd.DataFrame, margins: np.ndarray) -> Interval:
    """Share of positive margins, ties one half."""
    return mean_interval(np.heaviside(margins, 0.5), test["group_id"].tolist(), RESAMPLES, SEED)


def bradley_terry(
    train: pd.DataFrame, features: Callable[[Sequence[str]], Any], better: str, worse: str
) -> Callable[[pd.DataFrame], np.ndarray]:
    """Margins (pairs,) of a linear score fitted on `train`: logistic regression on differences of features."""
    from sklearn.linear_model import LogisticRegression

    encoder = features([*train[better], *train[worse]])
    good, bad = train[better].tolist(), train[worse].tolist()
    differences = encoder.transform(good + bad) - encoder.transform(bad + good)
    model = LogisticRegression(C=1.0 / L2, fit_intercept=False, max_iter=1000)
    model.fit(differences, np.repeat([1, 0], len(train)))
    weight = model.coef_[0]
    return lambda test: (encoder.transform(test[better]) - encoder.transform(test[worse])) @ weight


def word_features(texts: Sequence[str]) -> Any:
    """TF-IDF of words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    often = 2 if len(texts) >= FEW else 1  # in how many texts a word stands, or it tells nothing
    words = TfidfVectorizer(
        ngram_range=(1, 2), min_df=often, sublinear_tf=True, token_pattern=r"\w+|[^\w\s]"
    )
    return words.fit(texts)


def name_features(texts: Sequence[str]) -> Any:
    """One number per distinct text."""
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(analyzer=lambda text: [text]).fit(texts)


def unseen_authors(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """TF-IDF's margins (pairs,) where both authors are of the half that the training pairs are not of, else NaN."""
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
    """The pairs whose authors are both among `names`."""
    return frame[frame["chosen_author"].isin(names) & frame["rejected_author"].isin(names)]


def answer_table(params: Mapping[str, Any]) -> list[str]:
    """Picking among several models' answers to one problem, for each objective that a verifier checks."""
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
        groups = [
            group for group, entry in params["reward_models"].items() if name in entry["objectives"]
        ]
        scores = rewarded(test, groups[0], name) if groups else None
        ways = guesses(train, test) | ({} if scores is None else by_scores(test, expit(scores)))
        cells = [shown(picked(test, ways.get(way))) for way in PICKS]
        lines.append(f"| {name} | {test['problem'].nunique()} | {' | '.join(cells)} |")
    return lines


def answers(split: str, objective: str, verifier: str) -> pd.DataFrame:
    """Graded answers as `concord.evaluation.rewards.picking` wants them."""
    frame = read_table(PREPARED / f"ratings/{split}.parquet")
    frame = frame[frame["objective"] == objective].reset_index(drop=True)
    problems = [content_hash(messages) for messages in frame["messages"]]
    return finals(frame.assign(problem=problems, correct=frame["rating"]), verifier)


def guesses(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, np.ndarray]:
    """Scores (answers,) by which each way picks; equal scores share the pick."""
    best = train.groupby("author")["correct"].mean().idxmax()
    return {
        "random": np.zeros(len(test)),
        "majority": tally(test, np.ones(len(test))),
        "best author": (test["author"] == best).to_numpy(dtype=float),
        "oracle": test["correct"].to_numpy(dtype=float),
    }


def by_scores(test: pd.DataFrame, scores: np.ndarray) -> dict[str, np.ndarray]:
    """As `guesses`, with the scores (answers,) of a model, from 0 to 1."""
    return {"reward model": readable(test, scores), "weighted vote": tally(test, scores)}


def rewarded(test: pd.DataFrame, group: str, objective: str) -> np.ndarray | None:
    """Scores by the group's reward model; None where it has not been fitted yet."""
    from concord.rewards.outcome.reward_model import load

    folder = REWARDS / group
    if not folder.is_dir():
        return None
    model = load(folder)
    scores = model.score(test["messages"].tolist(), test["response"].tolist())
    return np.asarray(scores[:, model.objectives.index(objective)], dtype=float)


def picked(test: pd.DataFrame, scores: np.ndarray | None) -> Interval | None:
    """How often the highest-scored answer of a problem is right."""
    if scores is None:
        return None
    means = picks(test, scores)
    return mean_interval(means["correct"].to_numpy(), means["group_id"].tolist(), RESAMPLES, SEED)


def shown(found: Interval | None) -> str:
    """A table cell."""
    return "-" if found is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


if __name__ == "__main__":
    main()
