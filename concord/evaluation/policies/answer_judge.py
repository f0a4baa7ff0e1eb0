"""A judge of answers that is unlike the policies: ridge regression on features of the texts.

The judge is fitted to held-out ratings, which no reward model and no policy was trained on. It is
cross-fitted: the groups of prompts are divided into folds, and the answers to the prompts of a fold
are judged by the fit to the other folds. So it has never seen a rating of the question that it
judges.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from concord.annotations.interchange import content_hash
from concord.evaluation.metrics import mean_interval
from concord.evaluation.policies import likelihood
from concord.lm import fetch
from concord.stage.errors import DataError
from concord.stage.paths import MINILM

if TYPE_CHECKING:
    from scipy.sparse import spmatrix  # type: ignore[import-untyped]

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts -> unit vectors `(texts, width)`."""
ALPHAS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Strengths of the ridge penalty. One is chosen per fit, by cross-validation over groups."""
INNER_FOLDS = 4
FEW = 20


def fold_of(groups: Collection[str], folds: int) -> dict[str, int]:
    """Group -> its fold. All folds have the same size, up to one group.

    Raises DataError if there are fewer groups than folds.
    """
    if len(set(groups)) < folds:
        raise DataError(
            f"{len(set(groups))} held-out groups of prompts cannot be divided into {folds} folds of"
            " the judge. Lower evaluate.judge.folds, or raise prepare.test."
        )
    ordered = sorted(set(groups), key=content_hash)
    return {group: number % folds for number, group in enumerate(ordered)}


class AnswerJudge:
    """Predicts the rating that people would give to an answer, per objective."""

    def __init__(
        self,
        rated: pd.DataFrame,
        names: Sequence[str],
        folds: dict[str, int],
        embed: Embed | None = None,
    ) -> None:
        """Fits the judge to every fold.

        Args:
            rated: labelled answers with the columns messages, group_id, prompt_id, response and
                `rating.<objective>`, as `likelihood.labelled_answers` gives them.
            names: the objectives.
            folds: group -> fold, also of the prompts that will be judged.
            embed: sentence embeddings; None: TF-IDF only.

        Raises:
            DataError: outside of a fold, all ratings of an objective are equal, or for one group.
        """
        self.rated, self.names, self.folds, self.embed = rated, list(names), folds, embed
        vectors = self._vectors(rated)
        of_row = rated["group_id"].map(folds).to_numpy()
        self._fits = {
            fold: _fit(rated, vectors, of_row != fold, self.names)
            for fold in sorted(set(folds.values()))
        }

    def scores(self, answers: pd.DataFrame) -> dict[str, np.ndarray]:
        """Objective -> predicted ratings in [0, 1], `(answers,)`.

        `answers` has the columns messages, group_id and response. An answer is judged by the fit
        that has not seen its group.
        """
        scores = {name: np.full(len(answers), np.nan) for name in self.names}
        vectors, of_row = self._vectors(answers), answers["group_id"].map(self.folds).to_numpy()
        for fold, fit in self._fits.items():
            rows = np.flatnonzero(of_row == fold)
            if not len(rows):
                continue
            predicted = fit(answers["response"].iloc[rows].tolist(), vectors[rows])
            for name in self.names:
                scores[name][rows] = predicted[name]
        return scores

    def agreement(self, count: int, seed: int) -> dict[str, dict[str, Any]]:
        """Objective -> how often the preferred one of two answers to a prompt is judged better.

        `count` resamples of the groups give the interval. `longer` is the same for preferring the
        longer answer; `pairs` is the number of pairs.
        """
        return agreement(self.rated, self.scores(self.rated), count, seed)

    def _vectors(self, frame: pd.DataFrame) -> np.ndarray:
        """Embedding features `(rows, width)`: of the answer, and of how it relates to the prompt's
        last message; no columns without embeddings.
        """
        if self.embed is None:
            return np.zeros((len(frame), 0))
        answers = self.embed(frame["response"].tolist())
        questions = self.embed([messages[-1]["content"] for messages in frame["messages"]])
        product = answers * questions
        norm = np.linalg.norm(product, axis=1, keepdims=True)
        return np.hstack([answers, product / np.maximum(norm, 1e-9)])


def fitted(
    labels: likelihood.Labels,
    prompts: pd.DataFrame,
    domain: str,
    names: Sequence[str],
    folds: int,
    embed: Embed | None,
) -> AnswerJudge:
    """The judge of a domain, fitted to all held-out labels.

    The folds depend on the groups that have labels or are in `prompts`.
    """
    rated = likelihood.labelled_answers(labels, domain, names)
    groups = {*rated["group_id"], *prompts["group_id"]}
    return AnswerJudge(rated, names, fold_of(groups, min(folds, len(groups))), embed)


def embeddings(wanted: bool) -> Embed | None:
    """The sentence embeddings of the judge; None if they are not wanted.

    Raises ModelError if their model is missing, or another one.
    """
    if not wanted:
        return None
    from concord.lm.sentence_embeddings import SentenceEmbeddings

    model = SentenceEmbeddings(MINILM)
    fetch.verify(MINILM / "model.safetensors", fetch.MINILM_WEIGHTS)
    return model.embed


def agreement(
    rated: pd.DataFrame, scores: Mapping[str, np.ndarray], count: int, seed: int
) -> dict[str, dict[str, Any]]:
    """The agreement of any judge with people, as `AnswerJudge.agreement`.

    Args:
        rated: labelled answers, as `likelihood.labelled_answers` gives them.
        scores: objective -> what the judge says of these answers, `(answers,)`.
        count: resamples of the groups.
        seed: seed of the resamples.
    """
    longer = likelihood.longer_is_better(rated, list(scores))
    figures = {}
    for name, said in scores.items():
        frame = rated.assign(
            split="test", point="judge", weights="{}",
            log_probability=said, kl=np.nan, length=np.nan,
        )  # fmt: skip
        pairs = likelihood.pairs(frame, [name]).dropna(subset=f"gold.{name}")
        right = pairs[f"gold.{name}"].to_numpy()
        accuracy = (
            asdict(mean_interval(right, pairs["group_id"].tolist(), count, seed))
            if len(right)
            else {"value": None, "low": None, "high": None}
        )
        figures[name] = {**accuracy, "pairs": len(right), "longer": longer[name]}
    return figures


Fit = Callable[[Sequence[str], np.ndarray], dict[str, np.ndarray]]
"""Answers and their embedding features -> objective -> predicted ratings."""


def _fit(rated: pd.DataFrame, vectors: np.ndarray, seen: np.ndarray, names: Sequence[str]) -> Fit:
    """A ridge regression per objective on the rows that are `seen`, `(rows,)`."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, GroupKFold

    texts = rated["response"][seen].tolist()
    words = TfidfVectorizer(
        ngram_range=(1, 2),
        min_df=2 if len(texts) >= FEW else 1,  # a word in a single text carries no signal
        sublinear_tf=True,
        token_pattern=r"\w+|[^\w\s]",
    ).fit(texts)
    models = {}
    for name in names:
        ratings = likelihood.grades(rated, name)
        rows = np.flatnonzero(seen & np.isfinite(ratings))
        groups = rated["group_id"].to_numpy()[rows]
        if len(set(ratings[rows])) < 2 or len(set(groups)) < 2:
            raise DataError(
                f"Outside of a fold, the held-out labels of {name} are all equal or are for one "
                "group, so a judge cannot learn from them. Raise prepare.test, or add labels."
            )
        inner = GroupKFold(min(INNER_FOLDS, len(set(groups))))
        search = GridSearchCV(
            Ridge(), {"alpha": ALPHAS}, cv=inner, scoring="neg_mean_squared_error"
        )
        inputs = _features(words, rated["response"].iloc[rows].tolist(), vectors[rows])
        models[name] = search.fit(inputs, ratings[rows], groups=groups).best_estimator_

    def predict(answers: Sequence[str], of_answers: np.ndarray) -> dict[str, np.ndarray]:
        inputs = _features(words, answers, of_answers)
        return {name: np.clip(model.predict(inputs), 0.0, 1.0) for name, model in models.items()}

    return predict


def _features(words: Any, texts: Sequence[str], vectors: np.ndarray) -> spmatrix:
    """TF-IDF and embedding features side by side, `(texts, features)`."""
    from scipy.sparse import csr_matrix, hstack

    counted = words.transform(texts)
    return hstack([counted, csr_matrix(vectors)], format="csr") if vectors.shape[1] else counted
