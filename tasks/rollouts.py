"""Samples K responses per training prompt from the SFT model and scores them.

    data/prepared/prompts/train.parquet, models/sft, models/rewards
    -> data/rollouts/train.parquet

    python -m tasks.rollouts

Columns: prompt_id, group_id, domain, messages, reference, sample, response, finished, and
raw.<objective> for every objective, including those outside the reward vector.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.chat import render
from concord.lm.load import load_causal, load_tokenizer
from concord.objectives import Objective, objectives_of
from concord.rewards.vector.reward_vector import RewardVector
from concord.stage import outputs, runtime
from concord.stage import params as parameters
from concord.stage.command import command
from concord.stage.errors import DataError
from concord.stage.finished_parts import kept
from concord.stage.params import FORBID, Runtime
from concord.stage.paths import PREPARED, REWARDS, ROLLOUTS, SFT

if TYPE_CHECKING:
    import pandas as pd

    from concord.lm.types import CausalLM, Tokenizer

PROMPTS = PREPARED / "prompts/train.parquet"
TABLE = ROLLOUTS / "train.parquet"


@dataclass(frozen=True, config=FORBID)
class RolloutsParams:
    """The section `rollouts`."""

    prompts: Annotated[int, Field(ge=1)] = 320
    """Maximum number of training prompts per domain."""
    samples: Annotated[int, Field(ge=2)] = 8
    """K, responses per prompt."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 96
    """Maximum length of a response, in tokens. A response cut at this length is not `finished`."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """Responses sampled at once."""


def run(
    params: RolloutsParams, objectives: dict[str, Objective], settings: Runtime, seed: int
) -> None:
    """Samples the responses, scores them and writes the table."""
    key = [params, objectives, settings, seed]
    with kept("rollouts", key, [PROMPTS, SFT, REWARDS], __file__):
        _run(params, objectives, settings, seed)


def _run(
    params: RolloutsParams, objectives: dict[str, Objective], settings: Runtime, seed: int
) -> None:
    device = runtime.start(settings, seed)
    prompts = select_prompts(outputs.read_table(PROMPTS), objectives, params.prompts)
    frame = repeat_prompts(prompts, params.samples)
    model, tokenizer = load_causal(SFT, device, settings.dtype), load_tokenizer(SFT)
    frame["response"], frame["finished"] = sample_responses(
        model, tokenizer, frame["messages"].tolist(), params, seed
    )
    vector = RewardVector.load(
        {"objectives": {name: asdict(objective) for name, objective in objectives.items()}},
        device=device,
        dtype=settings.dtype,
    )
    columns = {
        column: frame[column].tolist() for column in ("messages", "response", "domain", "reference")
    }
    raw = vector.score_all(
        columns["messages"], columns["response"], columns["domain"], columns["reference"]
    )
    outputs.write_table(
        TABLE, frame.assign(**{f"raw.{name}": values for name, values in raw.items()})
    )


def select_prompts(
    prompts: pd.DataFrame, objectives: dict[str, Objective], count: int
) -> pd.DataFrame:
    """The first `count` prompts of each domain of the reward vector, ordered by `prompt_id`."""
    domains = sorted({objective.domain for objective in objectives.values() if objective.in_vector})
    missing = [domain for domain in domains if domain not in set(prompts["domain"])]
    if missing:
        raise DataError(
            f"{PROMPTS} has no prompts for the domain {', '.join(missing)}, "
            "which has objectives in the reward vector; add prompts to a source"
        )
    candidates = prompts[prompts["domain"].isin(domains)].sort_values("prompt_id")
    return (
        candidates.groupby("domain", sort=True)
        .head(count)
        .sort_values(["domain", "prompt_id"])
        .reset_index(drop=True)
    )


def repeat_prompts(prompts: pd.DataFrame, samples: int) -> pd.DataFrame:
    """Each prompt `samples` times in a row, numbered from 0 in the column `sample`."""
    columns = ["prompt_id", "group_id", "domain", "messages", "reference"]
    frame = prompts[columns].loc[prompts.index.repeat(samples)].reset_index(drop=True)
    frame["sample"] = frame.groupby("prompt_id", sort=False).cumcount()
    return frame


def sample_responses(
    model: CausalLM, tokenizer: Tokenizer, messages: list[Any], params: RolloutsParams, seed: int
) -> tuple[list[str], list[bool]]:
    """The responses, and whether each ended with a stop token."""
    from concord.lm.sample import sample_ids, stop_ids

    ids = sample_ids(
        model,
        tokenizer,
        [render(tokenizer, prompt) for prompt in messages],
        seed=seed,
        label="rollouts",
        max_new_tokens=params.max_new_tokens,
        temperature=params.temperature,
        batch_size=params.batch_size,
    )
    stops = set(stop_ids(model, tokenizer).tolist())
    responses = [tokenizer.decode(row, skip_special_tokens=True) for row in ids]
    return responses, [row[-1] in stops for row in ids]


def main() -> None:
    """Runs the stage."""
    objectives = objectives_of({"objectives": parameters.load(dict, "objectives")})
    settings, seed = parameters.load(Runtime, "runtime"), parameters.load(int, "seeds", "sampling")
    run(parameters.load(RolloutsParams, "rollouts"), objectives, settings, seed)


if __name__ == "__main__":
    command(main)
