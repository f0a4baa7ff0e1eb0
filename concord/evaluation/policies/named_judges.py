"""Judges that `evaluate.judge.judges` names for single objectives, in place of the fitted judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.policies import likelihood
from concord.evaluation.policies.answer_judge import agreement
from concord.objectives import Objective
from concord.rewards.process.judging import Judge, kind_of, load_judge, missing
from concord.stage.params import suggest
from concord.stage.paths import WORK

Judges = Mapping[str, Judge]
"""Objective -> its judge."""
REPLIES = WORK / "judged"
"""Cache of the replies of endpoints; it is kept between runs."""


def load(entries: Mapping[str, Any], device: Any, dtype: str) -> dict[str, Judge]:
    """Objective -> its judge, from the section `evaluate.judge.judges`."""
    return {
        name: load_judge(entry, f"evaluate.judge.judges.{name}", device, dtype, REPLIES)
        for name, entry in entries.items()
    }


def agreements(
    judges: Judges, labels: likelihood.Labels, domain: str, count: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Objective -> how far its judge agrees with people on all held-out labels of a domain.

    The entries are those of `answer_judge.agreement`. Raises DataError if there are no labels.
    """
    if not judges:
        return {}
    labelled = likelihood.labelled_answers(labels, domain, list(judges))
    return agreement(labelled, scores(judges, labelled), count, seed)


def scores(judges: Judges, answers: pd.DataFrame) -> dict[str, np.ndarray]:
    """Objective -> verdicts in [0, 1], `(answers,)`."""
    messages, responses = answers["messages"].tolist(), answers["response"].tolist()
    return {name: judge.verdicts(messages, responses) for name, judge in judges.items()}


def problems(
    objectives: Mapping[str, Objective], params: Mapping[str, Any], root: Path
) -> Iterator[str]:
    """Problems of the named judges, with the path of the key; the sections must be valid."""
    entries = (params["evaluate"].get("judge") or {}).get("judges", {})
    known = [name for name, objective in objectives.items() if objective.in_vector]
    for name, entry in entries.items():
        where = f"evaluate.judge.judges.{name}"
        if name not in known:
            yield f"{where}: unknown objective; {suggest(name, known)}"
        elif objectives[name].verifier is not None:
            yield f"{where}: {name} has a verifier, which judges it exactly; remove the judge"
        elif kind_of(entry) == "head":
            yield from _head_problems(entry, objectives[name], params, where)
        yield from missing(entry, where, root)


def _head_problems(
    entry: Mapping[str, Any], judged: Objective, params: Mapping[str, Any], where: str
) -> Iterator[str]:
    """Problems of a reward head as a judge: other people must have trained what it judges."""
    name, head, models = entry["model"], entry["objective"], params.get("reward_models", {})
    if name not in models:
        yield f"{where}.model: unknown reward model {name!r}; {suggest(name, list(models))}"
        return
    if head not in models[name]["objectives"]:
        hint = suggest(head, list(models[name]["objectives"]))
        yield f"{where}.objective: the reward model {name} has no head {head!r}; {hint}"
    trains = models.get(judged.reward or "", {}).get("annotators")
    judges = models[name].get("annotators")
    if name == judged.reward or not trains or not judges or set(trains) & set(judges):
        yield (
            f"{where}: the reward model {name} must not judge what it trained, or what labels of "
            f"the same people trained; give {name} and {judged.reward} the key `annotators`, "
            "without a person in common"
        )
    for policy, settings in params["policies"].items():
        if settings.get("pairs", "rollouts") != "rollouts":
            yield (
                f"{where}: policies.{policy} trains on the labels of all people, also of those "
                f"that {name} was fitted to; use `pairs: rollouts`, or another kind of judge"
            )


def kinds(names: Sequence[str], entries: Mapping[str, Any]) -> dict[str, str]:
    """Objective -> the kind of its judge; `fitted` for those that `entries` does not name."""
    return {name: kind_of(entries[name]) if name in entries else "fitted" for name in names}
