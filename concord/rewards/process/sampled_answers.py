"""Sampled answers whose steps are labelled, with completions of their prefixes if needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from concord.annotations.steps import split as split_steps
from concord.rewards.process import step_labels
from concord.rewards.process.completions import Sampler
from concord.stage.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class AnswerSampler:
    """Samples answers to prompts and splits them into steps."""

    sampler: Sampler
    completions: int
    """Number of completions sampled from each prefix of steps."""

    def answers(
        self, prompts: pd.DataFrame, split: str, domain: str, per_prompt: int, complete: bool
    ) -> list[dict[str, Any]]:
        """Samples for step labelling (`concord.rewards.process.step_labels`).

        Empty answers are left out.

        Args:
            prompts: prompts of the domain.
            split: the split of the prompts.
            domain: the domain, which determines how answers are split into steps.
            per_prompt: answers per prompt.
            complete: whether to sample completions of the prefixes.

        Raises:
            DataError: there are no prompts.
        """
        if prompts.empty:
            raise DataError(
                f"the domain {domain} has no {split} prompts, so no steps can be labelled; "
                "add prompts to a source"
            )
        rows = [
            {str(name): value for name, value in row.items()}
            for row in prompts.to_dict("records")
            for _ in range(per_prompt)
        ]
        longest = self.sampler.sampling["max_new_tokens"]
        print(f"{split}, {domain}: {len(rows)} answers of up to {longest} tokens")
        responses = self.sampler.answers([row["messages"] for row in rows])
        samples = [
            {**row, "steps": split_steps(text, domain)}
            for row, text in zip(rows, responses, strict=True)
            if text.strip()
        ]
        return self._completed(samples, split, domain) if complete else samples

    def _completed(
        self, samples: list[dict[str, Any]], split: str, domain: str
    ) -> list[dict[str, Any]]:
        """The samples with completions of all prefixes."""
        prefixes = sum(len(sample["steps"]) - 1 for sample in samples)
        total = prefixes * self.completions
        print(
            f"{split}, {domain}: {prefixes} prefixes x {self.completions} completions "
            f"= {total} generations"
        )
        completions = step_labels.complete(samples, self.sampler.continuations, self.completions)
        return [
            {**sample, "completed": completed}
            for sample, completed in zip(samples, completions, strict=True)
        ]
