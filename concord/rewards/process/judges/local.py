"""A local causal language model as a judge: the probability of yes against no.

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

from concord.lm.batches import pad_sequences, score_in_batches
from concord.lm.chat import Messages, render
from concord.lm.load import load_causal, load_tokenizer
from concord.lm.types import CausalLM, Tokenizer
from concord.rewards.process.judges.rubric import conversation_text, question
from concord.stage import preflight
from concord.stage.errors import ModelError
from concord.stage.params import FORBID
from concord.stage.paths import SFT

YES_OR_NO = "\nDoes the answer do well by the rubric? Reply with yes or no."


@dataclass(frozen=True, config=FORBID)
class LocalJudgeParams:
    """Parameters of a local judge."""

    rubric: Annotated[str, Field(min_length=1)]
    """What to judge, and what a good answer is."""
    model: str
    """Folder of the model. Changing its files does not rerun any stage."""
    kind: Literal["local"] = "local"
    """The name of this module."""


PARAMS = LocalJudgeParams


class LocalJudge:
    """A causal language model that answers yes or no. The verdict is P(yes) / (P(yes) + P(no)).

    Questions longer than the model's context are truncated on the left: conversation first, then
    answer. The last paragraph of the answer, which contains the newest step, is always kept.

    Raises:
        ModelError: the tokenizer starts yes and no with the same token.
    """

    def __init__(
        self, model: CausalLM, tokenizer: Tokenizer, rubric: str, batch_size: int = 16
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.rubric = rubric
        self.batch_size = batch_size
        yes, no = (self._first_tokens(word) for word in ("yes", "no"))
        self.words = [sorted(yes - no), sorted(no - yes)]
        """Token ids of yes, and of no."""
        if not all(self.words):
            raise ModelError(
                "the judge's tokenizer starts yes and no with the same token, so their "
                "probabilities cannot be compared; use another model"
            )
        positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.context = min(tokenizer.model_max_length, positions or tokenizer.model_max_length)

    def verdicts(self, messages: Sequence[Messages], answers: Sequence[str]) -> np.ndarray:
        """Verdicts in [0, 1], float64 `(answers,)`.

        Raises:
            ModelError: the rubric and the last paragraph of an answer exceed the context.
        """

        questions = [
            self._truncated_question(prompt, answer)
            for prompt, answer in zip(messages, answers, strict=True)
        ]
        truncated = sum(dropped > 0 for _, dropped in questions)
        if truncated:
            print(
                f"truncated {truncated} of {len(questions)} questions on the left: "
                f"the judge's context has {self.context} tokens"
            )
        return score_in_batches(
            [ids for ids, _ in questions], self.batch_size, 1, self._yes_probability
        )[:, 0].astype(float)

    def _truncated_question(self, messages: Messages, answer: str) -> tuple[list[int], int]:
        """The token ids of the question, and how many characters were dropped to make it fit.

        As few characters as possible are dropped.
        """

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
            f"the judge's context has {self.context} tokens, but the rubric and the last paragraph "
            f"of an answer alone need {len(ids(least))}; "
            "shorten the rubric or use a judge with a longer context"
        )

    def _first_tokens(self, word: str) -> set[int]:
        """The first token of each spelling of the word."""
        forms = (word, word.capitalize(), f" {word}", f" {word.capitalize()}")
        return {self.tokenizer(form, add_special_tokens=False)["input_ids"][0] for form in forms}

    def _yes_probability(self, sequences: list[list[int]]) -> np.ndarray:
        """P(yes) / (P(yes) + P(no)) after each question, `(batch, 1)`."""
        import torch

        batch = {
            name: tensor.to(self.model.device)
            for name, tensor in pad_sequences(sequences, self.tokenizer.pad_token_id).items()
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
    """The judge. It does not use `cache`."""

    return LocalJudge(
        load_causal(params.model, device, dtype), load_tokenizer(params.model), params.rubric
    )


def missing(params: LocalJudgeParams, where: str, root: Path) -> Iterator[str]:
    """Yields a message if the model is missing or incomplete.

    models/sft is not checked, because its stage creates it.
    """
    if Path(params.model) != SFT:
        absent = list(preflight.path_exists(params.model, f"{where}.model", root))
        yield from absent or preflight.checkpoint(params.model, f"{where}.model", root)
