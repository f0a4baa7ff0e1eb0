"""Time to fit several objectives at once, relative to one objective; and time to refit a probe.

    python -m benchmarks.heads [objectives=3]

The sandbox's base model is trained for the same number of steps on the same answers, once with
labels of one objective and once with labels of all. The two alternate, and the median ratio is
printed. Then all heads of a probe are fitted again to cached features.
"""

import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from concord.lm.load import load_tokenizer
from concord.lm.train import Training, fit
from concord.rewards.outcome.examples import Example, Grade, Order, Scale, Scales
from concord.rewards.outcome.head_fit import (
    LabelledModel,
    Thresholds,
    collate,
    longest_answer,
    loss,
    row_weights,
)
from concord.rewards.outcome.probe_fit import fit_heads
from concord.rewards.outcome.reward_model import new_model

BASE = Path("models/base")
ROUNDS, STEPS, BATCH = 5, 12, 24


def random_examples(objectives: int, count: int = 240) -> list[Example]:
    """Pairs of random answers of 60 to 120 tokens, compared and graded on each objective."""
    draw = np.random.default_rng(0)
    examples = []
    for _ in range(count):
        sides = [draw.integers(5, 60, draw.integers(60, 120)).tolist() for _ in range(2)]
        orders = [Order(head, (0, 1), (1, 2), 0.0) for head in range(objectives)]
        grades = [
            Grade(head, side, head, side, 1.0, 0) for head in range(objectives) for side in (0, 1)
        ]
        examples.append(Example(sides, orders, grades))
    return examples


def scales(objectives: int) -> Scales:
    """A two-level scale for each objective."""
    names = [Scale(f"o{head}", 0.0, 1.0) for head in range(objectives)]
    return Scales({key: [0.0, 1.0] for key in names}, {key: [0.5] for key in names}, {})


def seconds(objectives: int) -> float:
    """Duration of one fit."""
    tokenizer = load_tokenizer(BASE)
    names = [f"o{head}" for head in range(objectives)]
    model = LabelledModel(
        new_model(BASE, names, tokenizer, "cpu", "float32", 0), Thresholds(scales(objectives))
    )
    rows = [{"example": example} for example in random_examples(objectives)]
    training = Training(learning_rate=1e-4, steps=STEPS, batch_size=BATCH, micro_batch=6)
    started = time.perf_counter()
    fit(
        model, rows, collate(tokenizer.pad_token_id), loss, training, seed=0, length=longest_answer,
        weights=row_weights([1.0] * objectives),
    )  # fmt: skip
    return time.perf_counter() - started


def refit(objectives: int, examples: int = 2000, width: int = 1728) -> float:
    """Seconds to fit all heads of a probe to given features of `examples` pairs."""
    draw = np.random.default_rng(0)
    features = draw.normal(size=(2 * examples, width)).astype(np.float32)
    started = time.perf_counter()
    fit_heads(
        features, random_examples(objectives, examples), scales(objectives), objectives, 100.0
    )
    return time.perf_counter() - started


def main(objectives: int) -> None:
    """Prints the ratio and the refit time."""
    import torch

    torch.set_num_threads(1)
    times = [(seconds(1), seconds(objectives)) for _ in range(ROUNDS)]
    ratios = [many / one for one, many in times]
    print(
        f"{objectives} objectives take {median(ratios):.3f} times as long as one "
        "on the same examples"
    )
    print(f"ratios of {ROUNDS} rounds: {', '.join(f'{ratio:.3f}' for ratio in sorted(ratios))}")
    print(
        f"refitting {objectives} heads of a probe on 4000 cached features of width 1728: "
        f"{refit(objectives):.1f} s"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
