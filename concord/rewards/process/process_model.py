"""Process reward model: scores the partial answer after each step, for each objective.

The model is an AutoModelForTokenClassification with one head per objective, or has linear heads on
a frozen model (`concord.rewards.process.step_probe`); `load` detects the kind. A step is read at
its last token that is not white space. There the hidden state still represents the step; after a
blank line it represents what comes next. Steps are tokenised one by one, so the score of a step
does not depend on later text. Long responses are truncated on the left: the newest step is always
kept, and earlier steps are scored in windows of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from concord.lm.batches import pad_sequences
from concord.lm.chat import AS_TEXT, Messages, render
from concord.lm.load import load_strictly, load_tokenizer, require_offsets
from concord.lm.types import Tokenizer
from concord.stage.errors import DataError
from concord.stage.finished_parts import part

Row = dict[str, Any]
"""A window (`windows`) or a training row (`training_rows`)."""
LABEL_FIELDS = ("ends", "heads", "labels", "squared")
"""The fields of a training row with one entry per label."""


class StepBatch(TypedDict):
    """A batch of training rows: padded sequences and a flat list of their labels."""

    input_ids: Tensor
    """int64 `(batch, seq)`, padded on the right."""
    attention_mask: Tensor
    """int64 `(batch, seq)`."""
    row: Tensor
    """int64 `(labels,)`: the sequence of each label."""
    end: Tensor
    """int64 `(labels,)`: the position of the token at which the step is read."""
    head: Tensor
    """int64 `(labels,)`: the head of each label."""
    label: Tensor
    """float32 `(labels,)`, in [0, 1]."""
    squared: Tensor
    """bool `(labels,)`: squared error instead of cross-entropy."""
    weight: Tensor
    """float32 `(labels,)`."""


class ProcessRewardModel:
    """Scores the steps of responses on several objectives."""

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.objectives = [model.config.id2label[index] for index in range(model.config.num_labels)]

    def score(self, messages: Messages, steps: Sequence[str]) -> np.ndarray:
        """Scores in (0, 1), float32 `(steps, objectives)`, columns in the order of `objectives`."""
        return self.score_all([messages], [steps])[0]

    def score_all(
        self, messages: Sequence[Messages], steps: Sequence[Sequence[str]], batch_size: int = 64
    ) -> list[np.ndarray]:
        """The scores of several responses; see `score`."""
        request = [messages, steps]
        return part("scores", request, lambda: self._score_all(messages, steps, batch_size))

    def _score_all(
        self, messages: Sequence[Messages], steps: Sequence[Sequence[str]], batch_size: int
    ) -> list[np.ndarray]:
        results = [
            np.zeros((len(response), len(self.objectives)), dtype=np.float32) for response in steps
        ]
        pieces = [
            (index, window)
            for index, (prompt, response) in enumerate(zip(messages, steps, strict=True))
            for window in windows(self.tokenizer, prompt, response, self.tokenizer.model_max_length)
        ]
        pieces.sort(key=lambda piece: len(piece[1]["ids"]))
        for start in range(0, len(pieces), batch_size):
            batch = pieces[start : start + batch_size]
            rows = [window for _, window in batch]
            tables = part("scores", rows, partial(self._window_scores, rows))
            for (index, window), table in zip(batch, tables, strict=True):
                results[index][window["steps"]] = table
        return results

    def _window_scores(self, rows: Sequence[Row]) -> list[np.ndarray]:
        """Scores `(steps, objectives)` of the steps that each window reads."""
        logits = self._logits([window["ids"] for window in rows])
        return [
            table[window["ends"]].sigmoid().cpu().numpy()
            for window, table in zip(rows, logits, strict=True)
        ]

    def _logits(self, sequences: list[list[int]]) -> Tensor:
        batch = pad_sequences(sequences, self.tokenizer.pad_token_id)
        with torch.inference_mode():
            logits = self.model(
                **{name: value.to(self.model.device) for name, value in batch.items()}
            ).logits
        return cast(Tensor, logits.float())


def load(path: str | Path, device: Any = "cpu", dtype: str = "float32") -> ProcessRewardModel:
    """Loads a process reward model of any architecture.

    Raises ModelError if the checkpoint does not fit the model.
    """
    from transformers import AutoModelForTokenClassification

    if (Path(path) / "probe.json").is_file():
        from concord.rewards.process.step_probe import load_step_probe

        return load_step_probe(path, device, dtype)
    return ProcessRewardModel(
        load_strictly(AutoModelForTokenClassification, path, device, dtype), load_tokenizer(path)
    )


def new_model(
    sft: str | Path,
    objectives: Sequence[str],
    tokenizer: Tokenizer,
    device: Any,
    dtype: str,
    seed: int,
) -> Any:
    """The SFT backbone with one randomly initialised head per objective, without dropout."""
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
    model.dropout = torch.nn.Identity()  # transformers adds a dropout of 0.1 before the heads
    return model


def windows(
    tokenizer: Tokenizer, messages: Messages, steps: Sequence[str], max_length: int
) -> list[Row]:
    """Splits a conversation into sequences in which every step can be read once.

    The first window holds the newest steps. Steps that do not fit get windows of their own, with as
    much preceding text as possible.

    Returns:
        Dicts with the keys ids (at most `max_length` token ids), ends (the positions at which steps
        are read) and steps (the indices of these steps).

    Raises:
        ModelError: the tokenizer does not provide offsets.
    """
    require_offsets(tokenizer)
    ids, ends = render(tokenizer, messages), []
    for step in steps:
        encoded = tokenizer(step, return_offsets_mapping=True, **AS_TEXT)
        tokens = [step[start:stop] for start, stop in encoded["offset_mapping"]]
        ends.append(len(ids) + _last_visible(tokens))
        ids = ids + list(encoded["input_ids"])
    result: list[Row] = []
    remaining = len(steps)
    while remaining:
        stop = ends[remaining - 1] + 1
        start = max(0, stop - max_length)
        inside = [step for step in range(remaining) if ends[step] >= start]
        result.append(
            {
                "ids": ids[start:stop],
                "ends": [ends[step] - start for step in inside],
                "steps": inside,
            }
        )
        remaining = inside[0]
    return result


def _last_visible(tokens: Sequence[str]) -> int:
    """Index of the last token that is not white space; of the last token if all are."""
    return next(
        (index for index in range(len(tokens) - 1, -1, -1) if tokens[index].strip()),
        len(tokens) - 1,
    )


class StepLabels(NamedTuple):
    """The step labels of one objective for a response."""

    head: int
    """Index of the objective's head."""
    labels: Sequence[float | None]
    """In [0, 1], one per step; None or NaN for unlabelled steps."""
    squared: bool
    """Whether the labels are values, fitted with squared error. Verdicts use cross-entropy."""


def training_rows(
    tokenizer: Tokenizer,
    messages: Messages,
    steps: Sequence[str],
    labelled: Sequence[StepLabels],
    max_length: int,
) -> list[Row]:
    """The windows of a response that contain labelled steps. All objectives share a window.

    Returns:
        Dicts with the key ids and, with one entry per label, the keys ends (the positions at which
        steps are read), heads, labels and squared.

    Raises:
        DataError: the number of labels differs from the number of steps, or a label is outside of
            [0, 1]. A placeholder such as -100 would otherwise be trained on.
    """
    for step_labels in labelled:
        _check_labels(step_labels.labels, len(steps))
    rows = [
        _add_labels(window, labelled) for window in windows(tokenizer, messages, steps, max_length)
    ]
    return [row for row in rows if row["ends"]]


def _check_labels(labels: Sequence[float | None], steps: int) -> None:
    if len(labels) != steps:
        raise DataError(
            f"{steps} steps have {len(labels)} labels; give one label per step, null if unlabelled"
        )
    wrong = [label for label in labels if _is_labelled(label) and not 0 <= float(label or 0.0) <= 1]
    if wrong:
        raise DataError(f"step label {wrong[0]} is not in [0, 1]; use null for an unlabelled step")


def _is_labelled(label: float | None) -> bool:
    return label is not None and not np.isnan(label)


def _add_labels(window: Row, labelled: Sequence[StepLabels]) -> Row:
    entries = [
        (
            end,
            step_labels.head,
            float(step_labels.labels[step] or 0.0),
            step_labels.squared,
        )
        for step_labels in labelled
        for end, step in zip(window["ends"], window["steps"], strict=True)
        if _is_labelled(step_labels.labels[step])
    ]
    columns = zip(*entries, strict=True) if entries else [()] * len(LABEL_FIELDS)
    return {
        "ids": window["ids"],
        **{name: list(column) for name, column in zip(LABEL_FIELDS, columns, strict=True)},
    }


def select_head(row: Row, head: int) -> Row:
    """The training row with only the labels of `head`."""
    kept = [index for index, other in enumerate(row["heads"]) if other == head]
    return {**row, **{name: [row[name][index] for index in kept] for name in LABEL_FIELDS}}


def row_weights(batch: list[Row]) -> list[Any]:
    """The weight of each label: 1 / (number of labels of its objective in the batch).

    The weighted sum of losses is then the sum over objectives of the mean loss over steps.

    Examples:
        >>> row_weights([{"heads": [0, 0]}, {"heads": [1]}])
        [[0.5, 0.5], [1.0]]
    """
    counts = Counter(head for row in batch for head in row["heads"])
    return [[1.0 / counts[head] for head in row["heads"]] for row in batch]


def collate(pad: int) -> Callable[[list[Row]], StepBatch]:
    """A collate function that pads rows with the token id `pad`.

    The `weight` of a row is a list with one number per label, or one number for all labels.
    """

    def collate_rows(rows: list[Row]) -> StepBatch:
        counts = [len(row["ends"]) for row in rows]
        weights = [
            weight
            for row, count in zip(rows, counts, strict=True)
            for weight in (
                row["weight"] if isinstance(row["weight"], list) else [row["weight"]] * count
            )
        ]
        sequences = pad_sequences([row["ids"] for row in rows], pad)
        positions = [index for index, count in enumerate(counts) for _ in range(count)]
        return {
            "input_ids": sequences["input_ids"],
            "attention_mask": sequences["attention_mask"],
            "row": torch.tensor(positions),
            "end": torch.tensor([end for row in rows for end in row["ends"]]),
            "head": torch.tensor([head for row in rows for head in row["heads"]]),
            "label": torch.tensor([label for row in rows for label in row["labels"]]),
            "squared": torch.tensor([squared for row in rows for squared in row["squared"]]),
            "weight": torch.tensor(weights),
        }

    return collate_rows


def loss(model: torch.nn.Module, batch: StepBatch) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum over labelled steps, and their unweighted root mean squared error.

    Values (hindsight) use squared error, verdicts use cross-entropy.
    """
    logits = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).logits.float()
    scores = logits[batch["row"], batch["end"], batch["head"]]  # (labels,)
    squared = (scores.sigmoid() - batch["label"]) ** 2
    crossed = binary_cross_entropy_with_logits(scores, batch["label"], reduction="none")
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
    """`validation_<objective>` -> root mean squared error over its labelled steps."""
    squares: dict[int, list[float]] = {}
    device = next(model.parameters()).device
    for start in range(0, len(rows), 64):
        batch = collator([{**row, "weight": 0.0} for row in rows[start : start + 64]])
        batch = {name: value.to(device) for name, value in batch.items()}
        logits = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits.float()
        scores = logits[batch["row"], batch["end"], batch["head"]].sigmoid()
        for head, square in zip(
            batch["head"].tolist(), ((scores - batch["label"]) ** 2).tolist(), strict=True
        ):
            squares.setdefault(head, []).append(square)
    return {
        f"validation_{objectives[head]}": float(np.mean(errors_of_head) ** 0.5)
        for head, errors_of_head in sorted(squares.items())
    }
