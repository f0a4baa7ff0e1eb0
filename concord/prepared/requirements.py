"""Requirements of the later stages on the prepared tables: prompts, demonstrations and labels.

A missing requirement is an error in the stage `prepare`, which can name the objective or domain and
what to add. Otherwise a training stage would fail hours later, or fit a head to nothing.
"""

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from concord.objectives import Objective
from concord.prepared.splits import Parts
from concord.stage.errors import DataError, ParamsError


def require_prompts(parts: Parts, objectives: Mapping[str, Objective]) -> None:
    """Raises DataError if a domain has too few prompts, or if there are no demonstrations."""
    for domain in sorted(
        {objective.domain for objective in objectives.values() if objective.in_vector}
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
            "add rows of kind demonstration (good answers) to a source, or set "
            "prepare.demonstrations: preferred, to imitate the answers that people preferred"
        )


def require_labels(
    parts: Parts,
    objectives: Collection[str],
    groups: Mapping[str, Sequence[str]],
    implied: Collection[str],
) -> None:
    """Raises an error if a head has nothing to be fitted to, or nothing to be evaluated on.

    A head needs pairs in every split if it is fitted to implied pairs, otherwise labels of any
    kind.

    Args:
        parts: the prepared tables, with `pairs` and `ratings`.
        objectives: the known objectives.
        groups: reward model -> its objectives.
        implied: reward models that are fitted to implied pairs.

    Raises:
        ParamsError: a reward model has an unknown objective.
        DataError: labels are missing, or all of them have the same value.
    """
    for group, names in groups.items():
        for name in names:
            if name not in objectives:
                raise ParamsError(
                    f"reward_models.{group}.objectives.{name}: unknown objective; "
                    "add it to `objectives`"
                )
            _require_labels_of_head(parts, group, name, group in implied)


def _require_labels_of_head(parts: Parts, group: str, name: str, implied_pairs: bool) -> None:
    what = "pairs" if implied_pairs else "labels"
    instead = (
        "remove the objective, or set labels: given, which needs no pairs"
        if implied_pairs
        else "or remove the objective"
    )
    pairs = {split: _rows_of(frame, name) for split, frame in parts["pairs"].items()}
    grades = {split: _grades(frame, name) for split, frame in parts["ratings"].items()}
    counts = {
        split: len(pairs[split]) + (0 if implied_pairs else len(grades[split])) for split in pairs
    }
    if not all(counts.values()):
        raise DataError(
            f"reward model {group}: the objective {name} has {counts} {what}, but every "
            "split needs some; add annotations, raise prepare.validation and prepare.test, "
            f"{instead}"
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
