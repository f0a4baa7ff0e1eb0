"""What reward models are judged on: pairs and steps of the locked world with gold, or held-out human labels.

Both protocols give the same four tables: judged pairs of an objective, people's grades of single answers, answers whose
steps are judged, and several answers to one checkable problem, of which a scorer should pick a right one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from concord.annotations import steps as segment
from concord.annotations.interchange import content_hash
from concord.objectives import Objective
from concord.rewards.verifiers import dispatch
from concord.sandbox import annotators
from concord.sandbox.world import DOMAIN, World
from concord.stage import outputs
from concord.stage.paths import PREPARED

KNOWN = frozenset({*DOMAIN, "overall"})
"""Objectives that the sandbox has gold for."""

Sample = Callable[[list[Any]], list[str]]
"""Prompts -> one answer of the SFT model each; a prompt that is given again gets another draw."""


@dataclass(frozen=True)
class Locked:
    """The locked world: annotators' pairs with their own probability, gold of every step of the SFT model's answers."""

    world: World
    seed: int
    prompts: int
    samples: int
    sample: Sample
    answered: dict[str, list[str]] = field(default_factory=dict)
    """By domain: one answer to each of its prompts, once they were asked for."""

    def pairs(self, group: str, objective: str, count: int) -> pd.DataFrame:
        """`count` judged pairs, whichever model is asked about them; of an objective that the world does not know,
        held-out labels."""
        if objective not in KNOWN:
            return HeldOut().pairs(group, objective, count)
        return pd.DataFrame(annotators.comparisons(self.world, objective, count, self.seed))

    def grades(self, objective: str, count: int) -> pd.DataFrame:
        """Held-out grades of an objective that the world does not know; none of the others, which have gold."""
        return HeldOut().grades(objective, 0 if objective in KNOWN else count)

    def steps(self, name: str, objective: Objective) -> pd.DataFrame:
        """Columns messages, steps, gold (per prefix), group_id: one answer per prompt of the objective's domain.

        For a verified objective a prefix is right as long as every step in it is. An objective that the world does not
        know has people's step labels alone.
        """
        if name not in KNOWN:
            return HeldOut().steps(name, objective)
        prompts = self.world.prompts(objective.domain, self.prompts, self.seed)
        if objective.domain not in self.answered:
            self.answered[objective.domain] = self.sample([prompt.messages for prompt in prompts])
        rows = []
        for prompt, answer in zip(prompts, self.answered[objective.domain], strict=True):
            steps = segment.split(answer, objective.domain)
            if not steps:
                continue
            gold = np.asarray(self.world.step_gold(prompt.messages, steps, name), dtype=np.float64)
            gold = np.minimum.accumulate(gold) if objective.verifier else gold
            rows.append(
                {
                    "messages": prompt.messages,
                    "steps": steps,
                    "gold": gold,
                    "group_id": prompt.group_id,
                }
            )
        return pd.DataFrame(rows, columns=["messages", "steps", "gold", "group_id"])

    def graded(self, name: str, objective: Objective) -> pd.DataFrame:
        """Columns messages, response, correct, group_id, problem: `samples` answers to each problem."""
        prompts = [
            p
            for p in self.world.prompts(objective.domain, self.prompts, self.seed)
            for _ in range(self.samples)
        ]
        answers = self.sample([prompt.messages for prompt in prompts])
        assert objective.verifier is not None
        correct = dispatch.score_all(
            objective.verifier, answers, [prompt.reference for prompt in prompts]
        )
        columns = {
            "messages": [p.messages for p in prompts],
            "response": answers,
            "correct": correct,
        }
        problems = np.repeat(np.arange(self.prompts), self.samples)
        return pd.DataFrame(
            {**columns, "group_id": [p.group_id for p in prompts], "problem": problems}
        )


@dataclass(frozen=True)
class HeldOut:
    """The test split of people's annotations."""

    def pairs(self, group: str, objective: str, count: int) -> pd.DataFrame:
        """At most `count` held-out pairs of a reward model's objective, first by the hash of their texts."""
        table = outputs.read_table(PREPARED / f"rewards/{group}/test.parquet")
        table = table[table["objective"] == objective]
        return _first(table, ["chosen", "rejected"], count)

    def grades(self, objective: str, count: int) -> pd.DataFrame:
        """At most `count` held-out grades, a yes or a no among them, of single answers; a rank is no grade."""
        table = outputs.read_table(PREPARED / "ratings/test.parquet")
        table = table[(table["objective"] == objective) & (table["kind"] != "ranking")]
        return _first(table, ["messages", "response"], count)

    def steps(self, name: str, objective: Objective, split: str = "test") -> pd.DataFrame:
        """Answers with people's step labels."""
        table = outputs.read_table(PREPARED / f"steps/{split}.parquet")
        table = table[table["objective"] == name].reset_index(drop=True)
        gold = pd.Series(
            [np.asarray(labels, dtype=np.float64) for labels in table["labels"]], dtype=object
        )
        return table.assign(gold=gold)

    def graded(self, name: str, objective: Objective) -> pd.DataFrame:
        """Graded answers of problems that have equally many, at least two."""
        table = outputs.read_table(PREPARED / "ratings/test.parquet")
        table = table[table["objective"] == name].rename(columns={"rating": "correct"})
        table = table.assign(problem=[content_hash(messages) for messages in table["messages"]])
        sizes = table.groupby("problem")["response"].transform("size")
        usual = sizes.mode().max() if len(sizes) else 0
        return (
            table[(sizes == usual) & (usual > 1)]
            .sort_values("problem", kind="stable")
            .reset_index(drop=True)
        )


def _first(table: pd.DataFrame, columns: list[str], count: int) -> pd.DataFrame:
    """The first `count` rows by the hash of what they say."""
    order = [content_hash(*row) for row in zip(*(table[name] for name in columns), strict=True)]
    return (
        table.assign(order=order)
        .sort_values("order", kind="stable")
        .head(count)
        .reset_index(drop=True)
    )
