"""Test sets of reward models: the locked world with gold, or held-out human labels.

Both protocols provide the same four tables: judged pairs of an objective, people's grades of single
answers, answers with judged steps, and several answers to one checkable problem, of which a scorer
should pick a right one.
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
"""Objectives with gold in the sandbox."""

Sample = Callable[[list[Any]], list[str]]
"""Prompts -> one SFT answer per prompt; a repeated prompt gets a new draw."""


@dataclass(frozen=True)
class Locked:
    """The locked world: pairs with the annotators' probability, and step gold of the SFT model's
    answers.
    """

    world: World
    seed: int
    prompts: int
    samples: int
    sample: Sample
    answered: dict[str, list[str]] = field(default_factory=dict)
    """Domain -> one answer per prompt, sampled on first use."""

    def pairs(self, group: str, objective: str, count: int) -> pd.DataFrame:
        """`count` judged pairs, the same for all models. Objectives that the world does not know
        use held-out labels.
        """
        if objective not in KNOWN:
            return HeldOut().pairs(group, objective, count)
        return pd.DataFrame(annotators.comparisons(self.world, objective, count, self.seed))

    def grades(self, objective: str, count: int) -> pd.DataFrame:
        """Held-out grades of an objective that the world does not know; the others have gold and no
        grades.
        """
        return HeldOut().grades(objective, 0 if objective in KNOWN else count)

    def steps(self, name: str, objective: Objective) -> pd.DataFrame:
        """Columns messages, steps, gold (per prefix), group_id: one answer per prompt of the
        domain.

        For a verified objective, a prefix is right if every step in it is. Objectives that the
        world does not know use people's step labels.
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
        """Columns messages, response, correct, group_id, problem: `samples` answers per problem."""
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
    """The test split of human annotations."""

    def pairs(self, group: str, objective: str, count: int) -> pd.DataFrame:
        """At most `count` held-out pairs of a reward model's objective, in the order of their
        content hash.
        """
        table = outputs.read_table(PREPARED / f"rewards/{group}/test.parquet")
        table = table[table["objective"] == objective]
        return _first_by_hash(table, ["chosen", "rejected"], count)

    def grades(self, objective: str, count: int) -> pd.DataFrame:
        """At most `count` held-out grades of single answers: ratings and binary labels, no
        rankings.
        """
        table = outputs.read_table(PREPARED / "ratings/test.parquet")
        table = table[(table["objective"] == objective) & (table["kind"] != "ranking")]
        return _first_by_hash(table, ["messages", "response"], count)

    def steps(self, name: str, objective: Objective, split: str = "test") -> pd.DataFrame:
        """Answers with human step labels."""
        table = outputs.read_table(PREPARED / f"steps/{split}.parquet")
        table = table[table["objective"] == name].reset_index(drop=True)
        gold = pd.Series(
            [np.asarray(labels, dtype=np.float64) for labels in table["labels"]], dtype=object
        )
        return table.assign(gold=gold)

    def graded(self, name: str, objective: Objective) -> pd.DataFrame:
        """Graded answers of all problems with the most common number of answers, at least two."""
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


def _first_by_hash(table: pd.DataFrame, columns: list[str], count: int) -> pd.DataFrame:
    """The first `count` rows in the order of the content hash of `columns`."""
    order = [content_hash(*row) for row in zip(*(table[name] for name in columns), strict=True)]
    return (
        table.assign(order=order)
        .sort_values("order", kind="stable")
        .head(count)
        .reset_index(drop=True)
    )
