"""Fits the anchors: the score distribution of each objective on answers of the SFT model.

The answers are sampled for validation prompts.

    models/sft, models/rewards, data/prepared/prompts/validation.parquet
    -> models/anchors.json

    python -m tasks.anchors
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.load import load_causal, load_tokenizer
from concord.objectives import objectives_of
from concord.rewards.vector.reward_vector import RewardVector
from concord.stage import outputs, runtime
from concord.stage.command import command
from concord.stage.errors import ParamsError
from concord.stage.finished_parts import kept
from concord.stage.params import FORBID, Runtime, load, read
from concord.stage.paths import ANCHORS, PREPARED, REWARDS, SFT

if TYPE_CHECKING:
    import pandas as pd

PROMPTS = PREPARED / "prompts/validation.parquet"


@dataclass(frozen=True, config=FORBID)
class AnchorsParams:
    """The section `anchors`."""

    prompts: Annotated[int, Field(gt=0)] = 80
    """Validation prompts per domain."""
    samples: Annotated[int, Field(gt=0)] = 1
    """Answers sampled per prompt."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 96
    """Maximum length of an answer, in tokens."""
    directions: dict[str, Literal[1, -1]] = field(default_factory=dict)
    """Objective -> 1 if higher is better (the default), or -1 if it is a cost."""


def run(params: AnchorsParams, all_params: Mapping[str, Any], settings: Runtime, seed: int) -> None:
    """Samples answers, scores them on every objective, and writes the anchors."""
    from concord.rewards.vector.anchors import Anchors

    unknown = set(params.directions) - set(objectives_of(all_params))
    if unknown:
        allowed = ", ".join(objectives_of(all_params))
        raise ParamsError(
            f"anchors.directions.{min(unknown)}: unknown objective; allowed: {allowed}"
        )
    device = runtime.start(settings, seed)
    key = [params, objectives_of(all_params), settings, seed]
    with kept("anchors", key, [PROMPTS, SFT, REWARDS], __file__):
        rows = _prompts(params)
        responses = _answers(rows, params, settings, seed, device)
        vector = RewardVector.load(all_params, device=device, dtype=settings.dtype)
        domains, references = rows["domain"].tolist(), rows["reference"].tolist()
        raw = vector.score_all(rows["messages"].tolist(), responses, domains, references)
        Anchors.fit(raw, params.directions).save(ANCHORS)


def _prompts(params: AnchorsParams) -> pd.DataFrame:
    """The first `params.prompts` validation prompts of each domain, each `params.samples` times."""
    frame = outputs.read_table(PROMPTS)
    first = frame.groupby("domain", sort=False).head(params.prompts)
    return first.loc[first.index.repeat(params.samples)].reset_index(drop=True)


def _answers(
    rows: pd.DataFrame, params: AnchorsParams, settings: Runtime, seed: int, device: Any
) -> list[str]:
    from concord.lm.sample import sample

    return sample(
        load_causal(SFT, device, settings.dtype),
        load_tokenizer(SFT),
        rows["messages"].tolist(),
        max_new_tokens=params.max_new_tokens,
        temperature=params.temperature,
        seed=seed,
    )


def main() -> None:
    """Runs the stage."""
    run(
        load(AnchorsParams, "anchors"),
        read(),
        load(Runtime, "runtime"),
        load(int, "seeds", "sampling"),
    )


if __name__ == "__main__":
    command(main)
