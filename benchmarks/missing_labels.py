"""What missing labels cost a reward model with a head per objective, on judged pairs of the sandbox's dev world.

    python -m benchmarks.missing_labels [seeds=5] [model=models/base]

Every pair is judged on the three objectives of the values domain; pairs, judgements and what is missing are drawn anew
for each seed. With no label missing, training on masked labels must give what training on the plain table of labels
gives. With MISSING of the labels gone, training on all labels that are left stands beside training on the complete rows
alone, once for as many steps and once for as many passes: few rows are seen very often in as many steps, and steps are
few in as many passes. Accuracy is that on fresh pairs, mean over the objectives, 95 % interval over the seeds (t).
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
    longest,
    loss,
    row_weights,
)
from concord.rewards.outcome.reward_model import FinetunedRewardModel, new_model
from concord.sandbox.annotators import probability
from concord.sandbox.world import World

OBJECTIVES = ("helpful", "honest", "harmless")
PAIRS, FRESH, MISSING = 1200, 600, 0.6
TRAINING = Training(learning_rate=1e-3, steps=60, batch_size=24, micro_batch=12)
RIVALS = ("complete rows, as many steps", "complete rows, as many passes")
Row = dict[str, Any]


def judged(count: int, seed: int, tokenizer: Any) -> tuple[list[list[list[int]]], np.ndarray]:
    """Ids of two answers each to `count` prompts, and the side (0 or 1) that is better on each objective."""
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
    """An example per pair with the labels that are known."""
    ranks = ((1.0, 2.0), (2.0, 1.0))
    return [
        {
            "example": Example(
                pair,
                [Order(head, (0, 1), ranks[sides[head]], 0.0) for head in np.flatnonzero(there)],
                [],
            )
        }
        for pair, sides, there in zip(pairs, better, known, strict=True)
        if there.any()
    ]


def plain(pairs: list[list[list[int]]], better: np.ndarray) -> list[Row]:
    """The rows of a table without gaps."""
    return [
        {"pair": pair, "signs": 1.0 - 2.0 * sides}
        for pair, sides in zip(pairs, better, strict=True)
    ]


def plain_collate(pad: int) -> Callable[[list[Row]], Row]:
    """All answers below each other, and the table of signs (pairs, H)."""

    def batch(rows: list[Row]) -> Row:
        ids = pad_sequences([side for row in rows for side in row["pair"]], pad)
        signs = torch.tensor(np.stack([row["signs"] for row in rows]), dtype=torch.float32)
        return {**ids, "signs": signs, "weight": torch.tensor([row["weight"] for row in rows])}

    return batch


def plain_loss(model: Any, batch: Row) -> tuple[torch.Tensor, dict[str, float]]:
    """Bradley-Terry, summed over the table."""
    scores = model.model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).logits
    margins = (scores[::2] - scores[1::2]) * batch["signs"]
    return -(torch.nn.functional.logsigmoid(margins).sum(dim=1) * batch["weight"]).sum(), {}


class Trained:
    """A model fitted to rows from the same start."""

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
                length=longest,
                weights=weights,
            )

    def margins(self, pairs: list[list[list[int]]]) -> np.ndarray:
        """Score of the first answer less that of the second, (pairs, H)."""
        first, second = (self.reward.score_ids([pair[side] for pair in pairs]) for side in (0, 1))
        return first - second

    def accuracy(self, pairs: list[list[list[int]]], better: np.ndarray) -> float:
        """Share of right orders."""
        return float((self.margins(pairs) * (1 - 2 * better) > 0).mean())


def gain(values: list[float]) -> str:
    """Mean and its 95 % interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    mean = np.mean(values)
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def same_passes(rows: int) -> Training:
    """As many passes over the complete rows as TRAINING makes over `rows`."""
    assert TRAINING.steps is not None
    return replace(TRAINING, steps=None, epochs=TRAINING.steps * TRAINING.batch_size / rows)


def agreement(
    base: Path, pairs: list[list[list[int]]], better: np.ndarray, fresh: list[list[list[int]]]
) -> float:
    """The largest difference of a margin on fresh pairs, masked training from plain, where no label is missing."""
    whole = Trained(base, 0, masked(pairs, better, np.ones_like(better, dtype=bool)), TRAINING)
    return float(
        np.abs(
            whole.margins(fresh) - Trained(base, 0, plain(pairs, better), TRAINING).margins(fresh)
        ).max()
    )


def main(seeds: int, base: Path) -> None:
    """Prints the agreement, and a table of the accuracies."""
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(base)
    found = []
    for seed in range(seeds):
        pairs, better = judged(PAIRS, seed, tokenizer)
        fresh, truth = judged(FRESH, 1000 + seed, tokenizer)
        if seed == 0:
            apart = agreement(base, pairs, better, fresh)
            print(
                f"0 % missing: margins on {FRESH} fresh pairs differ by {apart:.1e} at most, masked from plain"
            )
        known = np.random.default_rng(seed).random(better.shape) >= MISSING
        complete = known & known.all(axis=1, keepdims=True)
        left, whole = masked(pairs, better, known), masked(pairs, better, complete)
        ways = [(left, TRAINING), (whole, TRAINING), (whole, same_passes(len(left)))]
        found.append(
            [Trained(base, seed, rows, training).accuracy(fresh, truth) for rows, training in ways]
        )
        rivals = ", ".join(
            f"{name} {value:.3f}" for name, value in zip(RIVALS, found[-1][1:], strict=True)
        )
        print(
            f"seed {seed}: {known.sum()} labels left {found[-1][0]:.3f}; {len(whole)} rows: {rivals}",
            flush=True,
        )
    for place, name in enumerate(RIVALS, start=1):
        print(
            f"{MISSING:.0%} missing, all labels less {name}: {gain([ways[0] - ways[place] for ways in found])}"
        )


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 5,
        Path(sys.argv[2] if len(sys.argv) > 2 else "models/base"),
    )
