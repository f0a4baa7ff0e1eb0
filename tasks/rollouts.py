"""Sample K responses per training prompt from the SFT model and score them on the reward vector.

data/prepared/prompts/train.parquet, models/sft, models/rewards -> data/rollouts/train.parquet: prompt_id, group_id,
domain, messages, reference, sample, response, finished, and raw.<objective> for each objective, `overall` too

    python -m tasks.rollouts
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.objectives import Objective, objectives_of
from concord.stage import outputs, runtime
from concord.stage import params as parameters
from concord.stage.errors import DataError, command
from concord.stage.params import FORBID, Runtime
from concord.stage.paths import PREPARED, ROLLOUTS, SFT

if TYPE_CHECKING:
    import pandas as pd

PROMPTS = PREPARED / "prompts/train.parquet"
TABLE = ROLLOUTS / "train.parquet"


@dataclass(frozen=True, config=FORBID)
class RolloutsParams:
    """What is sampled."""

    prompts: Annotated[int, Field(ge=1)]
    """Training prompts of each domain, at most."""
    samples: Annotated[int, Field(ge=2)]
    """K, responses per prompt."""
    max_new_tokens: Annotated[int, Field(ge=1)]
    """Longest response in tokens; a longer one counts as unfinished."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature of the draws."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """Responses sampled at a time."""


def run(
    params: RolloutsParams, objectives: dict[str, Objective], settings: Runtime, seed: int
) -> None:
    """Samples, scores and writes."""
    from concord.lm.load import load_causal, load_tokenizer
    from concord.rewards.vector.reward_vector import RewardVector

    device = runtime.start(settings, seed)
    prompts = chosen(outputs.read_table(PROMPTS), objectives, params.prompts)
    frame = repeated(prompts, params.samples)
    model, tokenizer = load_causal(SFT, device, settings.dtype), load_tokenizer(SFT)
    frame["response"], frame["finished"] = sampled(
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


def chosen(prompts: pd.DataFrame, objectives: dict[str, Objective], count: int) -> pd.DataFrame:
    """The first `count` prompts of each domain of the reward vector, in the order of their content hash."""
    domains = sorted({objective.domain for objective in objectives.values() if objective.in_vector})
    absent = [domain for domain in domains if domain not in set(prompts["domain"])]
    if absent:
        raise DataError(
            f"{PROMPTS} has no prompt of domain {', '.join(absent)}, which objectives are judged on"
        )
    own = prompts[prompts["domain"].isin(domains)].sort_values("prompt_id")
    return (
        own.groupby("domain", sort=True)
        .head(count)
        .sort_values(["domain", "prompt_id"])
        .reset_index(drop=True)
    )


def repeated(prompts: pd.DataFrame, samples: int) -> pd.DataFrame:
    """Each prompt `samples` times in a row, numbered in the column `sample`."""
    columns = ["prompt_id", "group_id", "domain", "messages", "reference"]
    frame = prompts[columns].loc[prompts.index.repeat(samples)].reset_index(drop=True)
    frame["sample"] = frame.groupby("prompt_id", sort=False).cumcount()
    return frame


def sampled(
    model: Any, tokenizer: Any, messages: list[Any], params: RolloutsParams, seed: int
) -> tuple[list[str], list[bool]]:
    """Responses, and whether each ended by itself."""
    from concord.lm.chat import render
    from concord.lm.sample import sample_ids, stop_ids

    ids = sample_ids(model, tokenizer, [render(tokenizer, prompt) for prompt in messages], seed=seed, label="rollouts",
                     max_new_tokens=params.max_new_tokens, temperature=params.temperature,
                     batch_size=params.batch_size)  # fmt: skip
    stops = set(stop_ids(model, tokenizer).tolist())
    return [tokenizer.decode(row, skip_special_tokens=True) for row in ids], [
        row[-1] in stops for row in ids
    ]


def main() -> None:
    """Runs the stage."""
    objectives = objectives_of({"objectives": parameters.load(dict, "objectives")})
    settings, seed = parameters.load(Runtime, "runtime"), parameters.load(int, "seeds", "sampling")
    run(parameters.load(RolloutsParams, "rollouts"), objectives, settings, seed)


if __name__ == "__main__":
    command(main)
