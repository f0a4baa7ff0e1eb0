"""What cheap guesses reach on the pairs and answers that reward models are judged on, as tables in Markdown.

    python -m tasks.evaluation.baselines > baselines.md

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
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.annotations.interchange import content_hash
from tasks.evaluation.metrics import Interval, mean_interval
from tasks.evaluation.votes import ballots
from tasks.stage.outputs import read_table
from tasks.stage.params import objectives, read

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
    lines = ["| objective | test pairs | longer | author | tf_idf | unseen authors |", "|---|---|---|---|---|---|"]
    for group, entry in params["reward_models"].items():
        for name in entry["objectives"]:
            train, test = (pairs(group, split, name) for split in ("train", "test"))
            cells = [shown(interval) for interval in pair_baselines(train, test).values()]
            lines.append(f"| {name} ({group}) | {len(test)} | {' | '.join(cells)} |")
    return lines


def pairs(group: str, split: str, objective: str) -> pd.DataFrame:
    """The pairs of one objective."""
    frame = read_table(f"data/prepared/rewards/{group}/{split}.parquet")
    return frame[frame["objective"] == objective].reset_index(drop=True)


def pair_baselines(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Interval | None]:
    """Accuracy of each baseline with its interval; None where it cannot be had (no authors known, nothing to
    fit it to, no pair to measure it on)."""
    if test.empty:
        return dict.fromkeys(BASELINES)
    known = _written(train) and _written(test)
    chosen, rejected = (test[side].str.len().to_numpy() for side in ("chosen", "rejected"))
    found: dict[str, Interval | None] = {"longer": measured(test, np.sign(chosen - rejected))}
    by_name = bradley_terry(train, name_features, "chosen_author", "rejected_author") if known else None
    found["author"] = measured(test, by_name(test)) if by_name else None
    by_words = bradley_terry(train, word_features, "chosen", "rejected") if len(train) else None
    found["tf_idf"] = measured(test, by_words(test)) if by_words else None
    found["unseen authors"] = unseen_authors(train, test) if known else None
    return found


def _written(frame: pd.DataFrame) -> bool:
    """Whether it is known who wrote every answer."""
    sides = ["chosen_author", "rejected_author"]
    return len(frame) > 0 and set(sides) <= set(frame.columns) and bool(frame[sides].notna().all(axis=None))


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
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=often, sublinear_tf=True, token_pattern=r"\w+|[^\w\s]")
    return words.fit(texts)


def name_features(texts: Sequence[str]) -> Any:
    """One number per distinct text."""
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(analyzer=lambda text: [text]).fit(texts)


def unseen_authors(train: pd.DataFrame, test: pd.DataFrame) -> Interval | None:
    """TF-IDF on test pairs whose two authors are both of the half that the training pairs are not of."""
    names = sorted(
        {*train["chosen_author"], *train["rejected_author"], *test["chosen_author"], *test["rejected_author"]}
    )
    parts, margins = [], []
    for half in (set(names[::2]), set(names[1::2])):
        inside, outside = within(train, half), within(test, set(names) - half)
        if len(inside) and len(outside):
            parts.append(outside)
            margins.append(bradley_terry(inside, word_features, "chosen", "rejected")(outside))
    return measured(pd.concat(parts), np.concatenate(margins)) if parts else None


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
    for name, objective in objectives(params).items():
        if objective.verifier is None:
            continue
        train, test = (answers(split, name, objective.verifier) for split in ("train", "test"))
        if train.empty or test.empty or test["author"].isna().any():
            continue
        groups = [group for group, entry in params["reward_models"].items() if name in entry["objectives"]]
        scores = rewarded(test, groups[0], name) if groups else None
        weighted = None if scores is None else votes(test, expit(scores))
        ways = {**guesses(train, test), "reward model": scores, "weighted vote": weighted}
        cells = [shown(picked(test, ways[way])) for way in PICKS]
        lines.append(f"| {name} | {test['prompt'].nunique()} | {' | '.join(cells)} |")
    return lines


def answers(split: str, objective: str, verifier: str) -> pd.DataFrame:
    """Graded answers with the columns `prompt` (hash) and `final` (as in `voting`)."""
    frame = read_table(f"data/prepared/ratings/{split}.parquet")
    frame = frame[frame["objective"] == objective].reset_index(drop=True)
    frame["prompt"] = [content_hash(messages) for messages in frame["messages"]]
    return voting(frame, verifier)


def voting(frame: pd.DataFrame, verifier: str) -> pd.DataFrame:
    """With the column `final`: what each answer to its `prompt` votes for, None where none can be read."""
    finals = np.full(len(frame), None, dtype=object)
    for rows in frame.groupby("prompt", sort=False).indices.values():
        finals[rows] = ballots(verifier, frame["response"].iloc[rows].tolist())
    return frame.assign(final=finals)


def guesses(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, np.ndarray]:
    """Scores (answers,) by which each way picks; equal scores share the pick."""
    best = train.groupby("author")["rating"].mean().idxmax()
    return {
        "random": np.zeros(len(test)),
        "majority": votes(test, np.ones(len(test))),
        "best author": (test["author"] == best).to_numpy(dtype=float),
        "oracle": test["rating"].to_numpy(dtype=float),
    }


def votes(test: pd.DataFrame, weights: np.ndarray) -> np.ndarray:
    """For each answer (answers,) the weight of all answers to its problem that say the same, 0 where none is read."""
    sums = test.assign(weight=weights).groupby(["prompt", "final"])["weight"].transform("sum")
    return sums.fillna(0.0).to_numpy(dtype=float)


def rewarded(test: pd.DataFrame, group: str, objective: str) -> np.ndarray | None:
    """Scores by the group's reward model; None where it has not been fitted yet."""
    from tasks.rewards.outcome import load

    folder = Path("models/rewards") / group
    if not folder.is_dir():
        return None
    model = load(folder)
    scores = model.score(test["messages"].tolist(), test["response"].tolist())
    return np.asarray(scores[:, model.objectives.index(objective)], dtype=float)


def picked(test: pd.DataFrame, scores: np.ndarray | None) -> Interval | None:
    """Mean rating of the highest-scored answer of each problem."""
    if scores is None:
        return None
    means = picks(test, scores)
    return mean_interval(means["rating"].to_numpy(), means["group_id"].tolist(), RESAMPLES, SEED)


def picks(test: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """By problem: rating of the highest-scored answer, the mean over ties, and group_id."""
    frame = test.assign(score=scores)
    top = frame[frame["score"] == frame.groupby("prompt")["score"].transform("max")]
    return top.groupby("prompt").agg(rating=("rating", "mean"), group_id=("group_id", "first"))


def shown(found: Interval | None) -> str:
    """A table cell."""
    return "-" if found is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


if __name__ == "__main__":
    main()
