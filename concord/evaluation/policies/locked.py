"""The sandbox protocol: answers to prompts of the locked world, judged by gold that training never
sees.

Validation prompts come from the world that models were tuned on. Their answers have proxies only,
so a choice on validation cannot use gold. All policies and weights answer the same prompts with the
same seed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from concord.annotations.interchange import content_hash
from concord.evaluation.policies.protocol import Point, Sampler
from concord.sandbox import students
from concord.sandbox.world import Prompt, World
from concord.stage.errors import ParamsError
from concord.stage.progress import track

LOCKED, VALIDATION = "locked", "validation"


@dataclass(frozen=True)
class Proxies:
    """The anchored reward vector: the rewards that training used."""

    names: list[str]
    vector: Any
    anchors: Any

    def score(self, frame: pd.DataFrame) -> np.ndarray:
        """Scores, (rows, objectives), in standard deviations of the SFT model's answers; NaN
        outside of a row's domain.
        """
        columns = (frame[name].tolist() for name in ("messages", "response", "domain", "reference"))
        return np.asarray(self.anchors.normalise(self.vector.score(*columns), self.names))


def prompts(world: World, domains: Sequence[str], count: int, seed: int) -> pd.DataFrame:
    """`count` distinct prompts per domain of `world`, one row each. Raises ParamsError if it has
    fewer.
    """
    drawn = [prompt for domain in domains for prompt in _distinct(world, domain, count, seed)]
    fields = ("messages", "domain", "reference", "group_id", "kind")
    frame = pd.DataFrame({name: [getattr(prompt, name) for prompt in drawn] for name in fields})
    return frame.assign(prompt_id=[content_hash(prompt.messages) for prompt in drawn])


def _distinct(world: World, domain: str, count: int, seed: int) -> list[Prompt]:
    """The first `count` distinct prompts of the world."""
    for draws in (count, 4 * count, 16 * count):
        different = {
            json.dumps(prompt.messages): prompt for prompt in world.prompts(domain, draws, seed)
        }
        if len(different) >= count:
            return list(different.values())[:count]
    raise ParamsError(
        f"The {world.name} world has no {count} different prompts in {domain}: {16 * count} draws "
        f"gave {len(different)}. Lower evaluate.prompts to {len(different)} or less."
    )


def validation_prompts(
    table: pd.DataFrame, domains: Sequence[str], count: int, samples: int = 1
) -> pd.DataFrame:
    """At most `count` validation prompts per domain, in the order of their content hash.

    Each is repeated `samples` times, for several answers.
    """
    ordered = table.sort_values("prompt_id", kind="stable")
    chosen = pd.concat(
        [ordered[ordered["domain"] == domain].head(count) for domain in domains], ignore_index=True
    )
    rows = chosen[["messages", "domain", "reference", "group_id", "prompt_id"]].assign(kind=None)
    return pd.concat([rows] * samples, ignore_index=True)


def answers(
    policy: Sampler, table: pd.DataFrame, point: Point, split: str, scale: float = 1.0
) -> pd.DataFrame:
    """Answers of the policy at `point` to the prompts of its domain, with KL in nats per answer,
    lengths in tokens, and log-probabilities under the SFT model.
    """
    frame = table[table["domain"] == point.domain].reset_index(drop=True)
    answered = policy.answers(frame["messages"].tolist(), point.weights, scale)
    return frame.assign(
        split=split,
        point=point.name,
        weights=json.dumps(point.weights, sort_keys=True),
        response=answered.texts,
        kl=answered.kl,
        length=answered.lengths,
        reference_logprob=answered.reference_logprobs,
    )


def judged_answers(
    policy: Sampler,
    table: pd.DataFrame,
    points: Sequence[Point],
    split: str,
    world: World | None,
    proxies: Proxies,
    scale: float = 1.0,
) -> pd.DataFrame:
    """The answers at all points (see `answers`), with gold and proxies (see `judged`)."""
    at = "weights" if scale == 1 else f"scale {scale:g}"
    answered = [
        answers(policy, table, point, split, scale)
        for point in track(points, len(points), f"{at}, {split} prompts")
    ]
    return judged(pd.concat(answered, ignore_index=True), world, proxies)


def judged(frame: pd.DataFrame, world: World | None, proxies: Proxies) -> pd.DataFrame:
    """Adds columns `proxy.<objective>` and `gold.<objective>`; without a world, gold is NaN.

    An answer that several points gave to a prompt is judged once.
    """
    answer = ["prompt_id", "response"]
    distinct = frame.drop_duplicates(answer)
    scores = proxies.score(distinct)
    answered = zip(distinct["messages"], distinct["response"], strict=True)
    gold = [
        {} if world is None else world.gold(messages, response) for messages, response in answered
    ]
    columns: dict[str, Any] = {
        f"proxy.{name}": scores[:, column] for column, name in enumerate(proxies.names)
    }
    columns |= {f"gold.{name}": [row.get(name, np.nan) for row in gold] for name in proxies.names}
    judgements = distinct[answer].assign(
        **{n: np.asarray(values, dtype=np.float64) for n, values in columns.items()}
    )
    return frame.merge(judgements, on=answer, how="left", validate="many_to_one")


def dialogues(
    policy: Sampler,
    world: World,
    table: pd.DataFrame,
    weights: Mapping[str, float],
    turns: int,
    seed: int,
) -> dict[str, float]:
    """Continues the tutoring prompts with the simulated student for at most `turns` tutor turns."""
    messages = table.loc[table["domain"] == "tutoring", "messages"].tolist()
    return students.simulate(
        world, messages, lambda batch: policy.sample(batch, weights), turns, seed
    )
