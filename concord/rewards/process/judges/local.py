"""A local causal model as a judge: the probability that it says yes rather than no.

process_labels:
  judges:
    small: {kind: local, rubric: "Guides ...", model: models/judge}
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.chat import Messages
from concord.rewards.process.judges.rubric import conversation_text, question
from concord.stage import preflight
from concord.stage.errors import ModelError
from concord.stage.params import FORBID
from concord.stage.paths import SFT

YES_OR_NO = "\nDoes the answer do well by the rubric? Reply with yes or no."


@dataclass(frozen=True, config=FORBID)
class LocalJudgeParams:
    """A local model that reads a rubric."""

    rubric: Annotated[str, Field(min_length=1)]
    """What is judged, and what is good."""
    model: str
    """Its folder. An edit of the folder reruns nothing by itself."""
    kind: Literal["local"] = "local"
    """The name of this module."""


PARAMS = LocalJudgeParams


class LocalJudge:
    """A causal model that says yes or no; the verdict is how likely yes is, of the two.

    A question that is longer than the model's context loses the beginning of the conversation, then that of the answer;
    the answer's last paragraph, in which its newest step is, always stays.
    """

    def __init__(self, model: Any, tokenizer: Any, rubric: str, batch_size: int = 16) -> None:
        self.model, self.tokenizer, self.rubric, self.batch_size = (
            model,
            tokenizer,
            rubric,
            batch_size,
        )
        yes, no = (self._words(word) for word in ("yes", "no"))
        self.words = [sorted(yes - no), sorted(no - yes)]
        if not all(self.words):
            raise ModelError(
                "the judge's tokenizer cannot tell yes from no by their first token; take another model"
            )
        positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.context = min(tokenizer.model_max_length, positions or tokenizer.model_max_length)

    def verdicts(self, messages: Sequence[Messages], answers: Sequence[str]) -> np.ndarray:
        """float64 `[n]`. Raises ModelError where the rubric and the last paragraph of an answer do not fit."""
        from concord.lm.batches import in_batches

        asked = [
            self._asked(prompt, answer) for prompt, answer in zip(messages, answers, strict=True)
        ]
        cut = sum(dropped > 0 for _, dropped in asked)
        if cut:
            print(
                f"{cut} of {len(asked)} questions lost their beginning: the judge reads {self.context} tokens"
            )
        return in_batches([ids for ids, _ in asked], self.batch_size, 1, self._sure)[:, 0].astype(
            float
        )

    def _asked(self, messages: Messages, answer: str) -> tuple[list[int], int]:
        """The question as ids, and how many characters it lost, as few as must be."""
        from concord.lm.chat import render

        def ids(dropped: int) -> list[int]:
            text = question(self.rubric, messages, answer, dropped) + YES_OR_NO
            return render(self.tokenizer, [{"role": "user", "content": text}])

        def fits(dropped: int) -> bool:
            return bool(len(ids(dropped)) <= self.context)

        conversation, paragraph = len(conversation_text(messages)), answer.rstrip().rfind("\n\n")
        least = 0
        for most in (0, conversation, conversation + (paragraph + 2 if paragraph >= 0 else 0)):
            least += bisect_left(range(least, most), True, key=fits)
            if fits(least):
                return ids(least), least
        raise ModelError(
            f"the judge reads {self.context} tokens, and its rubric with the last paragraph of an answer alone takes "
            f"{len(ids(least))}, so it cannot be asked; shorten the rubric, or take a judge with a longer context"
        )

    def _words(self, word: str) -> set[int]:
        """First tokens of the word as it may be written."""
        forms = (word, word.capitalize(), f" {word}", f" {word.capitalize()}")
        return {self.tokenizer(form, add_special_tokens=False)["input_ids"][0] for form in forms}

    def _sure(self, sequences: list[list[int]]) -> np.ndarray:
        import torch

        from concord.lm.batches import pad_sequences

        batch = {
            n: v.to(self.model.device)
            for n, v in pad_sequences(sequences, self.tokenizer.pad_token_id).items()
        }
        last = batch["attention_mask"].sum(dim=1) - 1
        with torch.inference_mode():
            states = self.model.base_model(**batch, use_cache=False).last_hidden_state
            logits = self.model.get_output_embeddings()(
                states[torch.arange(len(sequences)), last]
            ).float()
        yes, no = (logits[:, words].logsumexp(dim=1) for words in self.words)
        return np.asarray(torch.sigmoid(yes - no).cpu())[:, None]


def load(params: LocalJudgeParams, device: Any, dtype: str, cache: Path) -> LocalJudge:
    """The judge; `cache` is not used."""
    from concord.lm.load import load_causal, load_tokenizer

    return LocalJudge(
        load_causal(params.model, device, dtype), load_tokenizer(params.model), params.rubric
    )


def missing(params: LocalJudgeParams, where: str, root: Path) -> Iterator[str]:
    """The problem of a model that is not there; models/sft is made by its stage in time."""
    if Path(params.model) != SFT:
        absent = list(preflight.there(params.model, f"{where}.model", root))
        yield from absent or preflight.checkpoint(params.model, f"{where}.model", root)
