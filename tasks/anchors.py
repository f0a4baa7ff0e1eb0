"""Fit the anchors: what every objective scores on the SFT model's own answers to validation prompts.

models/sft, models/rewards, data/prepared/prompts/validation.parquet -> models/anchors.json

    python -m tasks.anchors
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.stage import outputs, runtime
from tasks.stage.errors import ParamsError, command
from tasks.stage.params import FORBID, Runtime, load, objectives, read

if TYPE_CHECKING:
    import pandas as pd

SFT = "models/sft"


@dataclass(frozen=True, config=FORBID)
class Params:
    """The section `anchors`."""

    prompts: Annotated[int, Field(gt=0)]
    """Validation prompts per domain."""
    samples: Annotated[int, Field(gt=0)] = 1
    """Answers per prompt."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of the answers."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 96
    """Longest answer."""
    directions: dict[str, Literal[1, -1]] = field(default_factory=dict)
    """-1 for an objective that is a cost; 1, more is better, for those not named."""


def run(params: Params, everything: Mapping[str, Any], settings: Runtime, seed: int) -> None:
    """Samples, scores on every objective, and writes the anchors."""
    from tasks.rewards.anchors import Anchors
    from tasks.rewards.vector import RewardVector

    unknown = set(params.directions) - set(objectives(everything))
    if unknown:
        allowed = ", ".join(objectives(everything))
        raise ParamsError(f"anchors.directions.{min(unknown)} is no objective; allowed: {allowed}")
    device = runtime.start(settings, seed)
    rows = _prompts(params)
    responses = _answers(rows, params, settings, seed, device)
    vector = RewardVector.load(everything, device=device, dtype=settings.dtype)
    raw = vector.score_all(rows["messages"].tolist(), responses, rows["domain"].tolist(), rows["reference"].tolist())
    Anchors.fit(raw, params.directions).save("models/anchors.json")


def _prompts(params: Params) -> pd.DataFrame:
    """The first `prompts` validation prompts of each domain, each `samples` times."""
    frame = outputs.read_table("data/prepared/prompts/validation.parquet")
    chosen = frame.groupby("domain", sort=False).head(params.prompts)
    return chosen.loc[chosen.index.repeat(params.samples)].reset_index(drop=True)


def _answers(rows: pd.DataFrame, params: Params, settings: Runtime, seed: int, device: Any) -> list[str]:
    from tasks.policies.generate import sample
    from tasks.stage.models import load_causal, load_tokenizer

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
    run(load(Params, "anchors"), read(), load(Runtime, "runtime"), load(int, "seeds", "sampling"))


if __name__ == "__main__":
    command(main)
