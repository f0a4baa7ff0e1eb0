"""Time of a MAH-DPO step on whole rows and on packed rows, where each distinct token occurs once.

    python -m benchmarks.shared_tokens [pairs=6] [heads=3] [rounds=5]

The model has the shape of SmolLM2-135M with random weights. A step is a forward and a backward pass
of random pairs with different prompts. The two variants alternate in one process, and the median of
their ratios is printed, with the loss of both. Where `pack` would not pack, it is forced to, so
that the table shows what its rule is worth.
"""

from __future__ import annotations

import os
import sys
import time
from statistics import median
from typing import Any

import torch

from benchmarks.chunked_logits import smollm2
from concord.lm import packing
from concord.policies.balanced_batches import collate
from concord.policies.methods.mah_dpo import MahDpoParams
from concord.policies.model import from_causal
from concord.policies.preference import make_loss
from concord.stage.params import section

SHAPES = [(96, 32), (32, 64), (16, 64)]
"""Tokens of the prompt and of each response."""


def rows(pairs: int, heads: int, prompt: int, response: int) -> list[dict[str, Any]]:
    """Random pairs, each on one head."""
    generator = torch.Generator().manual_seed(1)

    def draw(length: int) -> list[int]:
        return torch.randint(1, 49152, (length,), generator=generator).tolist()

    made = []
    for pair in range(pairs):
        asked = draw(prompt)
        made.append(
            {
                **{s: ([*asked, *draw(response)], prompt) for s in ("chosen", "rejected")},
                "mix": [float(head == pair % heads) for head in range(heads)],
                "reference": (-700.0, -700.0), "weight": 1 / pairs, "margin": 0.0, "sharpness": 1.0,
            }
        )  # fmt: skip
    return made


def main(pairs: int, heads: int, rounds: int) -> None:
    """Prints a line per shape."""
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    worthwhile, packing.WORTHWHILE = packing.WORTHWHILE, 2.0
    names = [f"o{head}" for head in range(heads)]
    model = from_causal(smollm2(), names)
    training = {"learning_rate": 1e-6, "steps": 1, "batch_size": pairs}
    params = section(MahDpoParams, {"method": "mah_dpo", "training": training}, "policies.x")
    loss = make_loss(names, params)
    print("prompt response  tokens  whole s packed s  speed-up  used  |difference of the loss|")
    for prompt, response in SHAPES:
        made = rows(pairs, heads, prompt, response)
        batches = [collate(0, share_tokens=share)(made) for share in (False, True)]
        times, values = [], []
        for _ in range(rounds):
            seconds = []
            for batch in batches:
                started = time.perf_counter()
                value, _ = loss(model, batch)
                value.backward()
                model.zero_grad()
                seconds.append(time.perf_counter() - started)
                values.append(float(value))
            times.append(seconds)
        share = batches[1]["packed"]["input_ids"].numel() / batches[0]["input_ids"].numel()
        whole, packed = (median(column) for column in zip(*times, strict=True))
        ratio = median(one / other for one, other in times)
        print(
            f"{prompt:6} {response:8} {share:7.2f} {whole:8.2f} {packed:8.2f} {ratio:9.2f}  "
            f"{'yes' if share <= worthwhile else 'no':4}  {abs(values[0] - values[1]):.1e}"
        )


if __name__ == "__main__":
    given = [int(value) for value in sys.argv[1:]]
    main(*[*given, *(6, 3, 5)[len(given) :]])
