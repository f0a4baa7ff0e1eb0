"""The models that the gates compare: the candidate, the champion and the SFT model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concord.evaluation.policies.protocol import EQUAL
from concord.stage import outputs
from concord.stage.errors import DataError
from concord.stage.paths import CANDIDATE, REPORTS, SAMPLES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

RESULTS, ANSWERS, FRONT, DATA = "results.json", "samples.parquet", "front.parquet", "data.json"
LABELS = "labels.parquet"
"""The files of a candidate, and of the champion: its results, its judged answers, the judged units
of its policy at every weight, the figures of its data, and the keys of its labels."""
PROMPT, GROUP = ["domain", "prompt_id"], ["domain", "group_id"]
LEAST_SHARED = 0.5
"""Share of the champion's prompts that the candidate must have answered, in every domain."""


@dataclass(frozen=True)
class Side:
    """One model."""

    name: str
    conditions: Mapping[str, Any]
    """How it was measured."""
    samples: pd.DataFrame
    """Its judged answers to held-out prompts, at one point per domain."""
    front: pd.DataFrame | None
    """The judged units of its policy at every point, as `front_units` gives them; None if they were
    not kept."""
    data: Mapping[str, Any] | None = None
    """The figures of its data (`concord.prepared.data_figures`); None if they were not kept."""
    constraints: Mapping[str, Any] | None = None
    """`at_least` and `max_kl` of the choice of its weights."""
    labels: np.ndarray | None = None
    """The keys of its labels (`concord.prepared.label_keys`); None if they were not kept."""
    why_no_front: str = f"has no {FRONT}"
    """What is said of the model if its front is None."""


def side(folder: Path) -> Side:
    """A model from its files in `folder`. Raises DataError if its results are not a candidate's."""
    results = outputs.read_json(folder / RESULTS)
    if not isinstance(results, dict) or not {"name", "conditions"} <= results.keys():
        raise DataError(
            f"{folder / RESULTS} is not the result of a candidate; copy all of {CANDIDATE} when "
            "a model is published"
        )
    front, data, labels = folder / FRONT, folder / DATA, folder / LABELS
    return Side(
        results["name"],
        results["conditions"],
        outputs.read_table(folder / ANSWERS),
        outputs.read_table(front) if front.is_file() else None,
        outputs.read_json(data) if data.is_file() else None,
        results.get("constraints"),
        outputs.read_table(labels)["key"].to_numpy() if labels.is_file() else None,
    )


def published(folder: Path) -> Side | None:
    """The champion; None if no model was published. Raises DataError if its files are broken."""
    if not (folder / RESULTS).is_file():
        return None
    try:
        return side(folder)
    except DataError as error:
        raise DataError(
            f"the champion cannot be read: {error}. Restore {folder} from git, or delete its "
            f"{RESULTS} to compare with the SFT model"
        ) from None


def reference(policy: str, domains: Mapping[str, Sequence[str]]) -> Side:
    """The SFT model, from its evaluation. `domains` maps each domain to its objectives."""
    report = outputs.read_json(REPORTS / f"policies/{policy}.json")
    samples = outputs.read_table(SAMPLES / f"{policy}.parquet")
    held_out = samples[samples["split"] != "validation"]
    at_equal = held_out[held_out["point"] == EQUAL]
    return Side(policy, report["conditions"], at_equal, front_units(at_equal, domains))


def front_units(held_out: pd.DataFrame, domains: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The judged units of a policy at every point: what a comparison of fronts needs, and no text.

    Columns: domain, point, group_id and `gold.<objective>`, NaN where it was not judged.
    """
    import pandas as pd

    from concord.evaluation.policies.likelihood import judged_units

    gold = [f"gold.{name}" for names in domains.values() for name in names]
    units = [judged_units(held_out, domain, names) for domain, names in domains.items()]
    table = pd.concat(units, ignore_index=True)
    return table.reindex(columns=["domain", "point", "group_id", *gold])


def differences(one: Side, other: Side) -> list[str]:
    """Why two models were not measured in the same way on the same prompts; empty if they were."""
    reasons = _other_conditions(one, other)
    left, right = _answers(one), _answers(other)
    unshared = len(left.index.symmetric_difference(right.index))
    if unshared or not left.sort_index().equals(right.sort_index()):
        reasons.append(f"{unshared} prompts are answered by only one of them")
    return reasons


def obstacles(candidate: Side, champion: Side) -> list[str]:
    """Why the two cannot be compared on the prompts that both answered; empty if they can.

    The test split grows with the data, so the champion did not answer all prompts of the candidate.
    In every domain, the candidate must have answered `LEAST_SHARED` of the champion's.
    """
    reasons = _other_conditions(candidate, champion)
    new, old = _answers(candidate), _answers(champion)
    for domain, prompts in old.groupby(level="domain"):
        shared = prompts.index.intersection(new.index)
        if len(shared) < LEAST_SHARED * len(prompts):
            reasons.append(
                f"the candidate answered {len(shared)} of its {len(prompts)} prompts of {domain}; "
                "raise evaluate.prompts"
            )
        elif not new[shared].equals(old[shared]):
            reasons.append(f"the numbers of answers to a prompt of {domain} differ")
    return reasons


def on_shared_prompts(candidate: Side, champion: Side) -> tuple[Side, Side]:
    """Both models on the prompts, and for the fronts on the groups, that both have."""
    shared = _answers(candidate).index.intersection(_answers(champion).index)
    sides = [
        replace(side, samples=side.samples[_keys(side.samples, PROMPT).isin(shared)])
        for side in (candidate, champion)
    ]
    if candidate.front is not None and champion.front is not None:
        fronts = [candidate.front, champion.front]
        groups = [_keys(front, GROUP) for front in fronts]
        both = groups[0].intersection(groups[1])
        sides = [
            replace(side, front=front[keys.isin(both)])
            for side, front, keys in zip(sides, fronts, groups, strict=True)
        ]
    return sides[0], sides[1]


def _other_conditions(one: Side, other: Side) -> list[str]:
    return [
        f"{name} is {one.conditions.get(name)}, was {other.conditions.get(name)}"
        for name in sorted({*one.conditions, *other.conditions})
        if one.conditions.get(name) != other.conditions.get(name)
    ]


def _answers(side: Side) -> pd.Series[int]:
    """The number of answers to each prompt."""
    return side.samples[PROMPT].value_counts()


def _keys(table: pd.DataFrame, columns: list[str]) -> pd.MultiIndex:
    import pandas as pd

    return pd.MultiIndex.from_frame(table[columns])
