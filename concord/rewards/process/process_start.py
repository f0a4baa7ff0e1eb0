"""Where the heads of a process reward model start, before all of it is trained.

A random head bends the backbone to itself before it has learnt anything, and what the backbone knew of unseen prompts
is lost (Kumar et al., arXiv 2202.10054). So a head starts from a linear fit on the frozen backbone, or from two words
with which the base model itself would call a step good or bad.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from concord.lm.load import load_causal
from concord.rewards.process.process_model import Row, collate, of_head
from concord.stage.errors import ParamsError

STEPS = 20_000
"""Labelled steps of a head that its linear fit sees at most."""
BATCH = 64


def from_labels(
    model: Any, rows: Sequence[Row], heads: Collection[int], l2: float, pad: int
) -> None:
    """Starts heads from logistic regressions of their labels in [0, 1] on the backbone's states, penalised by
    l2 ||w||^2 / 2 beside the summed cross-entropy."""
    from sklearn.linear_model import LogisticRegression

    for head in heads:
        own = [of_head(row, head) for row in rows if head in row["heads"]]
        states, labels = _states(model, _some(own), pad)
        both, weight = np.concatenate([states, states]), np.concatenate([labels, 1 - labels])
        good = np.arange(len(both)) < len(states)
        fitted = LogisticRegression(C=1 / l2, max_iter=1000).fit(both, good, sample_weight=weight)
        with torch.no_grad():
            model.score.weight[head] = torch.from_numpy(fitted.coef_[0]).to(model.score.weight)
            model.score.bias[head] = float(fitted.intercept_[0])


def _some(rows: Sequence[Row]) -> list[Row]:
    """Rows from all over, with about `STEPS` labelled steps at most."""
    return list(rows[:: 1 + sum(len(row["ends"]) for row in rows) // STEPS])


def _states(model: Any, rows: Sequence[Row], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """The backbone's states `[steps, width]` at the labelled steps, and the labels `[steps]`."""
    states, labels = [], []
    for start in range(0, len(rows), BATCH):
        batch = collate(pad)([{**row, "weight": 0.0} for row in rows[start : start + BATCH]])
        ids, mask = (batch[name].to(model.device) for name in ("input_ids", "attention_mask"))
        with torch.inference_mode():
            found = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        states.append(found[batch["row"], batch["end"]].float().cpu().numpy())
        labels.append(batch["label"].numpy())
    return np.concatenate(states), np.concatenate(labels)


def from_words(
    model: Any, words: Mapping[int, tuple[str, str]], sft: str | Path, tokenizer: Any
) -> None:
    """Starts heads where the model in `sft` would say the first of two words rather than the second.

    A head's score is then the difference of the two words' logits (verdicts as tokens: Math-Shepherd, arXiv
    2312.08935). `words` is by head. Raises ParamsError unless each word is one token.
    """
    if not words:
        return
    output = (
        load_causal(sft, dtype=str(model.dtype).removeprefix("torch."))
        .get_output_embeddings()
        .weight.detach()
    )  # (vocabulary, width)
    with torch.no_grad():
        for head, (good, bad) in words.items():
            weight = output[_token(tokenizer, good)] - output[_token(tokenizer, bad)]
            model.score.weight[head] = weight.to(model.score.weight)
            model.score.bias[head] = 0.0


def _token(tokenizer: Any, word: str) -> int:
    ids = tokenizer(word, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise ParamsError(
            f"the verdict {word!r} is {len(ids)} tokens; give a word that is one, as ' yes' often is"
        )
    return int(ids[0])
