"""Effect of missing labels on a reward model with one head per objective, on sandbox pairs.

    python -m benchmarks.missing_labels [seeds=5] [model=models/base]

Every pair is judged on the three objectives of the values domain. Pairs, judgements and the missing
labels are drawn again for each seed. With no label missing, training on masked labels must equal
training on the plain table of labels. With the share MISSING of the labels removed, training on all
remaining labels is compared with training on the complete rows only: once for the same number of
steps (each row is then seen very often), and once for the same number of passes (which is few
steps). Accuracy is measured on new pairs and averaged over the objectives; the 95 % interval is a
t interval over seeds.
"""

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from concord.lm.batches import encode_all, pad_sequences
from concord.lm.load import load_tokenizer
from concord.lm.train import Training, fit
from concord.rewards.outcome.examples import Example, Order, Scales
from concord.rewards.outcome.head_fit import (
    LabelledModel,
    Thresholds,
    collate,
    longest_answer,
    loss,
    row_weights,
)
from concord.rewards.outcome.reward_model import FinetunedRewardModel, new_model
from concord.sandbox.annotators import probability
from concord.sandbox.world import World

OBJECTIVES = ("helpful", "honest", "harmless")
PAIRS, FRESH, MISSING = 1200, 600, 0.6
TRAINING = Training(learning_rate=1e-3, steps=60, batch_size=24, micro_batch=12)
BASELINES = ("complete rows, same steps", "complete rows, same passes")
Row = dict[str, Any]


def judged_pairs(count: int, seed: int, tokenizer: Any) -> tuple[list[list[list[int]]], np.ndarray]:
    """Token ids of two answers to each prompt, and the better side (0 or 1) on each objective."""
    world, rng = World.build("dev", 0), random.Random(f"missing-{seed}")
    pairs, better = [], []
    for prompt in world.prompts("values", count, seed):
        answers = [world.write(prompt.messages, rng) for _ in range(2)]
        gold = [world.gold(prompt.messages, answer) for answer in answers]
        pairs.append(encode_all(tokenizer, [prompt.messages] * 2, answers))
        better.append(
            [
                int(rng.random() > probability(name, gold[0][name], gold[1][name]))
                for name in OBJECTIVES
            ]
        )
    return pairs, np.array(better)


def masked(pairs: list[list[list[int]]], better: np.ndarray, known: np.ndarray) -> list[Row]:
    """One example per pair, with its known labels only."""
    ranks = ((1.0, 2.0), (2.0, 1.0))
    return [
        {
            "example": Example(
                pair,
                [Order(head, (0, 1), ranks[sides[head]], 0.0) for head in np.flatnonzero(judged)],
                [],
            )
        }
        for pair, sides, judged in zip(pairs, better, known, strict=True)
        if judged.any()
    ]


def plain(pairs: list[list[list[int]]], better: np.ndarray) -> list[Row]:
    """Rows of a complete table of labels."""
    return [
        {"pair": pair, "signs": 1.0 - 2.0 * sides}
        for pair, sides in zip(pairs, better, strict=True)
    ]


def plain_collate(pad: int) -> Callable[[list[Row]], Row]:
    """Stacks all answers; `signs` is (pairs, heads)."""

    def batch(rows: list[Row]) -> Row:
        ids = pad_sequences([side for row in rows for side in row["pair"]], pad)
        signs = torch.tensor(np.stack([row["signs"] for row in rows]), dtype=torch.float32)
        return {**ids, "signs": signs, "weight": torch.tensor([row["weight"] for row in rows])}

    return batch


def plain_loss(model: Any, batch: Row) -> tuple[torch.Tensor, dict[str, float]]:
    """Bradley-Terry loss, summed over the table of labels."""
    scores = model.model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).logits
    margins = (scores[::2] - scores[1::2]) * batch["signs"]
    return -(torch.nn.functional.logsigmoid(margins).sum(dim=1) * batch["weight"]).sum(), {}


class Trained:
    """A reward model trained on rows, always from the same initial weights."""

    def __init__(self, base: Path, seed: int, rows: list[Row], training: Training) -> None:
        tokenizer = load_tokenizer(base)
        fresh = new_model(base, OBJECTIVES, tokenizer, "cpu", "float32", seed)
        self.reward = FinetunedRewardModel(fresh, tokenizer)
        model, pad = LabelledModel(fresh, Thresholds(Scales())), tokenizer.pad_token_id
        if "pair" in rows[0]:
            length: Callable[[Row], int] = lambda row: max(map(len, row["pair"]))  # noqa: E731
            fit(model, rows, plain_collate(pad), plain_loss, training, seed=seed, length=length)
        else:
            weights = row_weights([1.0] * len(OBJECTIVES))
            fit(
                model,
                rows,
                collate(pad),
                loss,
                training,
                seed=seed,
                length=longest_answer,
                weights=weights,
            )

    def margins(self, pairs: list[list[list[int]]]) -> np.ndarray:
        """Score of the first answer minus that of the second, (pairs, heads)."""
        first, second = (self.reward.score_ids([pair[side] for pair in pairs]) for side in (0, 1))
        return first - second

    def accuracy(self, pairs: list[list[list[int]]], better: np.ndarray) -> float:
        """Share of pairs that are ordered correctly."""
        return float((self.margins(pairs) * (1 - 2 * better) > 0).mean())


def gain(values: list[float]) -> str:
    """Mean and 95 % interval, as text."""
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    mean = np.mean(values)
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def same_passes(rows: int) -> Training:
    """Returns TRAINING with the number of passes that it makes over `rows` rows."""
    assert TRAINING.steps is not None
    return replace(TRAINING, steps=None, epochs=TRAINING.steps * TRAINING.batch_size / rows)


def agreement(
    base: Path, pairs: list[list[list[int]]], better: np.ndarray, fresh: list[list[list[int]]]
) -> float:
    """Largest difference between margins of masked and plain training, with no label missing."""
    whole = Trained(base, 0, masked(pairs, better, np.ones_like(better, dtype=bool)), TRAINING)
    return float(
        np.abs(
            whole.margins(fresh) - Trained(base, 0, plain(pairs, better), TRAINING).margins(fresh)
        ).max()
    )


def main(seeds: int, base: Path) -> None:
    """Prints the agreement, then the accuracies of every seed and the mean gains."""
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(base)
    accuracies = []
    for seed in range(seeds):
        pairs, better = judged_pairs(PAIRS, seed, tokenizer)
        fresh, truth = judged_pairs(FRESH, 1000 + seed, tokenizer)
        if seed == 0:
            difference = agreement(base, pairs, better, fresh)
            print(
                f"0 % missing: margins of masked and plain training differ by at most "
                f"{difference:.1e} on {FRESH} new pairs"
            )
        known = np.random.default_rng(seed).random(better.shape) >= MISSING
        complete = known & known.all(axis=1, keepdims=True)
        left, whole = masked(pairs, better, known), masked(pairs, better, complete)
        ways = [(left, TRAINING), (whole, TRAINING), (whole, same_passes(len(left)))]
        accuracies.append(
            [Trained(base, seed, rows, training).accuracy(fresh, truth) for rows, training in ways]
        )
        others = ", ".join(
            f"{name} {value:.3f}" for name, value in zip(BASELINES, accuracies[-1][1:], strict=True)
        )
        print(
            f"seed {seed}: {known.sum()} labels left {accuracies[-1][0]:.3f}; "
            f"{len(whole)} complete rows: {others}",
            flush=True,
        )
    for column, name in enumerate(BASELINES, start=1):
        gains = [ways[0] - ways[column] for ways in accuracies]
        print(f"{MISSING:.0%} missing, all labels minus {name}: {gain(gains)}")


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 5,
        Path(sys.argv[2] if len(sys.argv) > 2 else "models/base"),
    )
