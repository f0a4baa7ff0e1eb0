"""Initialises the heads of a process reward model before the whole model is trained.

With a random head, the first updates distort the features of the backbone and hurt generalisation
to unseen prompts (Kumar et al., arXiv 2202.10054). A head is therefore initialised with a linear
fit on the frozen backbone, or with the output vectors of two words that express a good and a bad
verdict.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from concord.lm.load import load_causal
from concord.lm.types import Tokenizer
from concord.rewards.process.process_model import Row, collate, select_head
from concord.stage.errors import ParamsError

STEPS = 20_000
"""Approximate maximum of labelled steps in the linear fit of a head."""
BATCH = 64
"""Rows per forward pass."""


def from_labels(
    model: Any, rows: Sequence[Row], heads: Collection[int], l2: float, pad: int
) -> None:
    """Initialises heads with logistic regressions of their labels on the backbone's states.

    The regression minimises the summed cross-entropy plus l2 ||w||^2 / 2.

    Args:
        model: the process reward model, changed in place.
        rows: training rows with labels in [0, 1] (`training_rows`).
        heads: indices of the heads to initialise.
        l2: strength of the penalty.
        pad: token id of padding.
    """
    from sklearn.linear_model import LogisticRegression

    for head in heads:
        rows_of_head = [select_head(row, head) for row in rows if head in row["heads"]]
        states, labels = _states(model, _subsample(rows_of_head), pad)
        # A label y in (0, 1) becomes a positive example of weight y and a negative one of 1 - y.
        both, weight = np.concatenate([states, states]), np.concatenate([labels, 1 - labels])
        good = np.arange(len(both)) < len(states)
        fitted = LogisticRegression(C=1 / l2, max_iter=1000).fit(both, good, sample_weight=weight)
        with torch.no_grad():
            model.score.weight[head] = torch.from_numpy(fitted.coef_[0]).to(model.score.weight)
            model.score.bias[head] = float(fitted.intercept_[0])


def _subsample(rows: Sequence[Row]) -> list[Row]:
    """Evenly spaced rows with about `STEPS` labelled steps at most."""
    return list(rows[:: 1 + sum(len(row["ends"]) for row in rows) // STEPS])


def _states(model: Any, rows: Sequence[Row], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """The backbone's states `(steps, hidden)` at the labelled steps, and the labels `(steps,)`."""
    states, labels = [], []
    for start in range(0, len(rows), BATCH):
        batch = collate(pad)([{**row, "weight": 0.0} for row in rows[start : start + BATCH]])
        ids, mask = batch["input_ids"].to(model.device), batch["attention_mask"].to(model.device)
        with torch.inference_mode():
            hidden = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        states.append(hidden[batch["row"], batch["end"]].float().cpu().numpy())
        labels.append(batch["label"].numpy())
    return np.concatenate(states), np.concatenate(labels)


def from_words(
    model: Any, words: Mapping[int, tuple[str, str]], sft: str | Path, tokenizer: Tokenizer
) -> None:
    """Initialises heads with the logit difference of two words under the model in `sft`.

    Verdicts as tokens are due to Math-Shepherd (arXiv 2312.08935).

    Args:
        model: the process reward model, changed in place.
        words: index of the head -> the words for a good and for a bad step.
        sft: folder of the SFT model.
        tokenizer: its tokenizer.

    Raises:
        ParamsError: a word is not a single token.
    """
    if not words:
        return
    output = load_causal(sft).get_output_embeddings().weight.detach()  # (vocab, hidden)
    with torch.no_grad():
        for head, (good, bad) in words.items():
            weight = output[_token(tokenizer, good)] - output[_token(tokenizer, bad)]
            model.score.weight[head] = weight.to(model.score.weight)
            model.score.bias[head] = 0.0


def _token(tokenizer: Tokenizer, word: str) -> int:
    ids = tokenizer(word, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise ParamsError(
            f"the verdict {word!r} is {len(ids)} tokens, but it must be one; "
            "give another word, such as ' yes'"
        )
    return int(ids[0])
