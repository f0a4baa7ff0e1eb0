"""Process reward model: after each step of a response, the worth of the answer so far, per objective.

One AutoModelForTokenClassification with a head per objective, read at the last token of each step that is more than
white space: there the model still has the step before it, while after a blank line it is busy with what comes next.
Steps are turned into tokens one by one, so a step's score does not depend on what is written after it. What is too long
is cut from the left: the newest step always stays, and earlier steps are read in windows of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from concord.lm.batches import pad_sequences
from concord.lm.chat import Messages, render
from concord.lm.load import demand_offsets, load_strictly, load_tokenizer
from concord.stage.errors import DataError

Row = dict[str, Any]
ENTRY = ("ends", "heads", "labels", "squared")
"""What a training row says of each of its labels."""


class ProcessRewardModel:
    """Scores the steps of responses."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.objectives = [model.config.id2label[index] for index in range(model.config.num_labels)]

    def score(self, messages: Messages, steps: Sequence[str]) -> np.ndarray:
        """float32 `[steps, H]` in (0, 1), columns in the order of `objectives`."""
        return self.score_all([messages], [steps])[0]

    def score_all(
        self, messages: Sequence[Messages], steps: Sequence[Sequence[str]], batch_size: int = 64
    ) -> list[np.ndarray]:
        """`score` of many responses."""
        results = [np.zeros((len(each), len(self.objectives)), dtype=np.float32) for each in steps]
        pieces = [
            (index, window)
            for index, (prompt, each) in enumerate(zip(messages, steps, strict=True))
            for window in windows(self.tokenizer, prompt, each, self.tokenizer.model_max_length)
        ]
        pieces.sort(key=lambda piece: len(piece[1]["ids"]))
        for start in range(0, len(pieces), batch_size):
            batch = pieces[start : start + batch_size]
            logits = self._logits([window["ids"] for _, window in batch])
            for (index, window), table in zip(batch, logits, strict=True):
                results[index][window["steps"]] = table[window["ends"]].sigmoid().cpu().numpy()
        return results

    def _logits(self, sequences: list[list[int]]) -> torch.Tensor:
        batch = pad_sequences(sequences, self.tokenizer.pad_token_id)
        with torch.inference_mode():
            logits = self.model(
                **{name: value.to(self.model.device) for name, value in batch.items()}
            ).logits
        return cast(torch.Tensor, logits.float())


def load(path: str | Path, device: Any = "cpu", dtype: str = "float32") -> ProcessRewardModel:
    """The process reward model in the folder `path`. Raises ModelError where it does not fit."""
    from transformers import AutoModelForTokenClassification

    return ProcessRewardModel(
        load_strictly(AutoModelForTokenClassification, path, device, dtype), load_tokenizer(path)
    )


def new_model(
    sft: str | Path, objectives: Sequence[str], tokenizer: Any, device: Any, dtype: str, seed: int
) -> Any:
    """The SFT backbone under a fresh head per objective, without dropout."""
    from transformers import AutoModelForTokenClassification

    model = load_strictly(
        AutoModelForTokenClassification,
        sft,
        device,
        dtype,
        new={"score.weight", "score.bias"},
        unused={"lm_head.weight"},
        seed=seed,
        num_labels=len(objectives),
        id2label=dict(enumerate(objectives)),
        label2id={name: index for index, name in enumerate(objectives)},
        pad_token_id=tokenizer.pad_token_id,
    )
    model.dropout = torch.nn.Identity()  # transformers puts a dropout of 0.1 before the heads
    return model


def windows(tokenizer: Any, messages: Messages, steps: Sequence[str], max_length: int) -> list[Row]:
    """Sequences of at most `max_length` ids that hold the token at which each step is read once.

    Each is {"ids", "ends": positions of those tokens, "steps": which steps they end}. The newest steps come first;
    steps whose end was cut off on the left get a window of their own, with as much before them as fits. Raises
    ModelError for a tokenizer without offsets.
    """
    demand_offsets(tokenizer)
    ids, ends = render(tokenizer, messages), []
    for step in steps:
        own = tokenizer(step, add_special_tokens=False, return_offsets_mapping=True)
        ends.append(len(ids) + _last([step[start:stop] for start, stop in own["offset_mapping"]]))
        ids = ids + list(own["input_ids"])
    found: list[Row] = []
    left = len(steps)
    while left:
        stop = ends[left - 1] + 1
        start = max(0, stop - max_length)
        inside = [step for step in range(left) if ends[step] >= start]
        found.append(
            {
                "ids": ids[start:stop],
                "ends": [ends[step] - start for step in inside],
                "steps": inside,
            }
        )
        left = inside[0]
    return found


def _last(tokens: Sequence[str]) -> int:
    """Place of the last token that is more than white space; the last one where all are white space."""
    return next(
        (at for at in range(len(tokens) - 1, -1, -1) if tokens[at].strip()), len(tokens) - 1
    )


class StepLabels(NamedTuple):
    """What one objective says of the steps of a response."""

    head: int
    labels: Sequence[float | None]
    """In [0, 1], one per step; None or NaN where a step is unlabelled."""
    squared: bool
    """Whether they are values, fitted by squared error, rather than verdicts."""


def training_rows(
    tokenizer: Any,
    messages: Messages,
    steps: Sequence[str],
    labelled: Sequence[StepLabels],
    max_length: int,
) -> list[Row]:
    """Windows of a response, read once for all objectives, where one step at least is labelled.

    Each is {"ids"} and one entry per label of {"ends": its place, "heads", "labels", "squared"}. Raises DataError for a
    label outside of [0, 1]: a mark such as -100 would otherwise be learnt as a label.
    """
    for own in labelled:
        _demand_labels(own.labels, len(steps))
    rows = [
        _entries(window, labelled) for window in windows(tokenizer, messages, steps, max_length)
    ]
    return [row for row in rows if row["ends"]]


def _demand_labels(labels: Sequence[float | None], steps: int) -> None:
    if len(labels) != steps:
        raise DataError(
            f"{steps} steps have {len(labels)} labels; give one per step, null where there is none"
        )
    wrong = [label for label in labels if _given(label) and not 0 <= float(label or 0.0) <= 1]
    if wrong:
        raise DataError(f"step label {wrong[0]} is not in [0, 1]; leave an unlabelled step null")


def _given(label: float | None) -> bool:
    return label is not None and not np.isnan(label)


def _entries(window: Row, labelled: Sequence[StepLabels]) -> Row:
    entries = [
        (end, own.head, float(own.labels[step] or 0.0), own.squared)
        for own in labelled
        for end, step in zip(window["ends"], window["steps"], strict=True)
        if _given(own.labels[step])
    ]
    columns = zip(*entries, strict=True) if entries else [()] * len(ENTRY)
    return {
        "ids": window["ids"],
        **{name: list(column) for name, column in zip(ENTRY, columns, strict=True)},
    }


def of_head(row: Row, head: int) -> Row:
    """The row with this head's labels alone."""
    kept = [place for place, own in enumerate(row["heads"]) if own == head]
    return {**row, **{name: [row[name][place] for place in kept] for name in ENTRY}}


def row_weights(batch: list[Row]) -> list[Any]:
    """For each label 1 / (labels of its objective in the batch): L = sum over objectives of the mean over its steps."""
    counts = Counter(head for row in batch for head in row["heads"])
    return [[1.0 / counts[head] for head in row["heads"]] for row in batch]


def collate(pad: int) -> Callable[[list[Row]], dict[str, torch.Tensor]]:
    """Padded ids, and one entry per label: its place (`row`, `end`), `head`, `label`, `squared`, `weight`.

    A row's `weight` is a list as long as its labels, or one number for all of them.
    """

    def batch(rows: list[Row]) -> dict[str, torch.Tensor]:
        counts = [len(row["ends"]) for row in rows]
        weights = [
            weight
            for row, count in zip(rows, counts, strict=True)
            for weight in (
                row["weight"] if isinstance(row["weight"], list) else [row["weight"]] * count
            )
        ]
        columns = {
            "row": [index for index, count in enumerate(counts) for _ in range(count)],
            "end": [end for row in rows for end in row["ends"]],
            "head": [head for row in rows for head in row["heads"]],
            "label": [label for row in rows for label in row["labels"]],
            "squared": [squared for row in rows for squared in row["squared"]],
            "weight": weights,
        }
        return {
            **pad_sequences([row["ids"] for row in rows], pad),
            **{name: torch.tensor(column) for name, column in columns.items()},
        }

    return batch


def loss(
    model: torch.nn.Module, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, dict[str, float]]:
    """The weighted sum over labelled steps: squared error for values (hindsight), cross-entropy for verdicts."""
    logits = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).logits.float()
    own = logits[batch["row"], batch["end"], batch["head"]]  # (steps,)
    squared = (own.sigmoid() - batch["label"]) ** 2
    crossed = binary_cross_entropy_with_logits(own, batch["label"], reduction="none")
    error = squared.mean().sqrt().item()
    return (torch.where(batch["squared"], squared, crossed) * batch["weight"]).sum(), {
        "rmse": error
    }


def errors(
    model: torch.nn.Module,
    rows: Sequence[Row],
    collator: Callable[[list[Row]], Any],
    objectives: Sequence[str],
) -> dict[str, float]:
    """Root mean squared error of each objective's labelled steps, as `validation_<objective>`."""
    squares: dict[int, list[float]] = {}
    device = next(model.parameters()).device
    for start in range(0, len(rows), 64):
        batch = collator([{**row, "weight": 0.0} for row in rows[start : start + 64]])
        batch = {name: value.to(device) for name, value in batch.items()}
        logits = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits.float()
        worth = logits[batch["row"], batch["end"], batch["head"]].sigmoid()
        for head, square in zip(
            batch["head"].tolist(), ((worth - batch["label"]) ** 2).tolist(), strict=True
        ):
            squares.setdefault(head, []).append(square)
    return {
        f"validation_{objectives[head]}": float(np.mean(own) ** 0.5)
        for head, own in sorted(squares.items())
    }
