"""Peak memory and time of a preference step with all logits at once, and in chunks.

    python -m benchmarks.chunked_logits [pairs=6] [heads=3] [rank=0] [prompt=32] [response=64]

The model has the shape of SmolLM2-135M (49,152 tokens) with random weights. Each variant runs in a
process of its own, and the variants alternate. A step is a forward and a backward pass of MAH-DPO,
each pair on one head; the peak is that of the process, without what it held before the step. The
forward pass keeps the logits, or the backward pass computes them again.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from statistics import median
from typing import Any

VARIANTS = {
    "all at once": (2**40, 2**40),
    "2^24, kept (default)": (2**24, 2**26),
    "2^24, again": (2**24, 0),
    "2^22, again": (2**22, 0),
}
"""Variant -> largest number of logits of a block, and of logits that are kept."""
ROUNDS, STEPS = 3, 2


def smollm2() -> Any:
    """A Llama of the shape of SmolLM2-135M, untied, with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=False,
        max_position_embeddings=2048, bos_token_id=None, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def batch(pairs: int, heads: int, prompt: int, response: int) -> dict[str, Any]:
    """The two sides of random pairs with the same prompt, each on one head."""
    import torch

    from concord.policies.model import IGNORED, one_hot

    generator = torch.Generator().manual_seed(1)
    shape = (2 * pairs, prompt + response)
    ids = torch.randint(1, 49152, shape, generator=generator)
    ids[pairs:, :prompt] = ids[:pairs, :prompt]
    labels = ids.clone()
    labels[:, :prompt] = IGNORED
    mix = one_hot([row % pairs % heads for row in range(2 * pairs)], heads)
    mask = torch.ones_like(ids)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "head_weights": mix}


def peak_gb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def steps(
    largest: int, kept: int, pairs: int, heads: int, rank: int, prompt: int, response: int
) -> None:
    """Prints the median seconds of a step and the memory that the steps added, in GB."""
    import torch

    from concord.lm import token_logprobs
    from concord.policies import head_logprobs
    from concord.policies.model import from_causal

    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    token_logprobs.LOGITS, head_logprobs.KEPT = largest, kept
    model = from_causal(smollm2(), [f"o{head}" for head in range(heads)], rank or None)
    inputs, seconds, before = batch(pairs, heads, prompt, response), [], peak_gb()
    for _ in range(STEPS):
        started = time.perf_counter()
        chosen, rejected = model(**inputs, use_cache=False).logprobs.chunk(2)
        torch.nn.functional.softplus(rejected - chosen).sum().backward()
        model.zero_grad()
        seconds.append(time.perf_counter() - started)
    print(median(seconds), peak_gb() - before)


def main(arguments: list[str]) -> None:
    """Prints a line per variant: seconds, memory, and both relative to all logits at once."""
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name, budgets in VARIANTS.items():
            command = [sys.executable, "-m", "benchmarks.chunked_logits", *arguments]
            environment = {**os.environ, "BUDGETS": " ".join(map(str, budgets))}
            done = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            )
            seconds, memory = map(float, done.stdout.split()[-2:])
            results[name].append((seconds, memory))
    first = [median(values) for values in zip(*results["all at once"], strict=True)]
    print(f"{'logits at once':20} {'seconds':>8} {'GB':>6} {'time':>6} {'memory':>6}")
    for name, measured in results.items():
        seconds, memory = (median(values) for values in zip(*measured, strict=True))
        ratios = f"{seconds / first[0]:6.2f} {memory / first[1]:6.2f}"
        print(f"{name:20} {seconds:8.2f} {memory:6.2f} {ratios}")


if __name__ == "__main__":
    if "BUDGETS" in os.environ:
        largest, kept = map(int, os.environ["BUDGETS"].split())
        given = [int(value) for value in sys.argv[1:]]
        steps(largest, kept, *[*given, *(6, 3, 0, 32, 64)[len(given) :]])
    else:
        main(sys.argv[1:])
