"""A MAH-DPO step as published, and here: seconds and peak memory.

    python -m benchmarks.mah_dpo_step [rounds=3]     # about five minutes per round

As published (MAHALO, arXiv 2510.01167, section 3): a forward pass for each side of the pairs, all
heads on all rows, and the reference model in the loop. Here: one forward pass for both sides, each
distinct token once, each row through its own head, reference log-probabilities computed before, and
optionally heads of rank 64. With one head, a training by `concord.lm.train.fit` is compared with
TRL's `DPOTrainer` on the same pairs (AdamW, reference log-probabilities computed before). The last
row compares our step with four heads to that with three, on the same number of pairs.

The model has the shape of SmolLM2-135M with random weights, in float32, on two threads (or as many
as the environment variable `THREADS` says); pairs have 32 + 64 tokens; the optimiser is RMSprop.
Each variant runs in a process of its own, and the variants alternate. Times are CPU seconds of all
threads, medians over steps and rounds, so other processes matter little; with one thread they
matter least. The peak is that of the process.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from statistics import median
from typing import Any

PROMPT, RESPONSE = 32, 64
PAIRS = {1: 6, 3: 6, 4: 6, 7: 7}
"""Heads -> pairs in a step."""
STEPS = 3
"""Timed steps per process, after one that is not timed."""
BETA = 0.1
COMPARISONS = {
    "H=3, full heads": ("published 3", "here 3"),
    "H=3, rank 64": ("published 3", "rank_64 3"),
    "H=7, full heads": ("published 7", "here 7"),
    "H=7, rank 64": ("published 7", "rank_64 7"),
    "H=1, DPOTrainer": ("trl 1", "fit 1"),
    "H=4 after H=3, full heads": ("here 3", "here 4"),
}
"""Row of the table -> the variant that is compared with, and ours."""


def published(heads: int) -> Iterator[None]:
    """Steps of the published way; yields after each."""
    import torch
    from torch import nn

    from benchmarks.chunked_logits import smollm2

    policy, reference = smollm2(), smollm2()
    matrices = [policy.lm_head.weight.detach().clone() for _ in range(heads)]
    projections = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(heads))
    for projection, matrix in zip(projections, matrices, strict=True):
        projection.weight = nn.Parameter(matrix)
    backbone = policy.model
    optimiser = torch.optim.RMSprop([*backbone.parameters(), *projections.parameters()], lr=1e-6)
    sides, prompt = _ids(heads)
    head_of_pair = torch.arange(len(sides[0])) % heads

    def logprobs(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        values = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
        return values[:, prompt - 1 :].sum(dim=1)

    while True:
        optimiser.zero_grad()
        ratios = []
        for ids in sides:
            hidden = backbone(input_ids=ids).last_hidden_state
            by_head = torch.stack([logprobs(head(hidden), ids) for head in projections])
            with torch.no_grad():
                expected = logprobs(reference(input_ids=ids).logits, ids)
            ratios.append(by_head[head_of_pair, torch.arange(len(ids))] - expected)
        margin = BETA * (ratios[0] - ratios[1])
        loss = -nn.functional.logsigmoid(margin).mean()
        loss.backward()
        optimiser.step()
        yield


def ours(heads: int, rank: int | None = None) -> Iterator[None]:
    """Steps of the project's loss; yields after each."""
    import torch

    from concord.policies.balanced_batches import collate
    from concord.policies.preference import make_loss

    model, params = _policy(heads, rank)
    batch = collate(0, share_tokens=True)(_rows(heads))
    loss = make_loss(model.head_names, params)
    optimiser = torch.optim.RMSprop(model.parameters(), lr=1e-6)
    while True:
        optimiser.zero_grad()
        loss(model, batch)[0].backward()
        optimiser.step()
        yield


def fit(heads: int) -> Iterator[None]:
    """Steps of a training by `fit`, all before the first is yielded."""
    from transformers import TrainerCallback

    from concord.lm import trainer
    from concord.lm.train import Training
    from concord.lm.train import fit as train
    from concord.policies.balanced_batches import collate
    from concord.policies.preference import make_loss

    model, params = _policy(heads, None)
    stamps: list[float] = []
    add = trainer.StepTrainer.__init__

    class Stamps(TrainerCallback):
        def on_step_end(self, *unused: Any, **also_unused: Any) -> None:
            stamps.append(time.process_time())

    def with_stamps(self: Any, *given: Any, **named: Any) -> None:
        add(self, *given, **named)
        self.add_callback(Stamps())

    trainer.StepTrainer.__init__ = with_stamps  # type: ignore[method-assign]
    rows = _rows(heads)
    training = Training(learning_rate=1e-6, batch_size=len(rows), steps=STEPS + 2)
    loss = make_loss(model.head_names, params)
    train(model, rows, collate(0, share_tokens=True), loss, training, seed=0, order="given")
    yield from _replay(stamps)


def trl(heads: int) -> Iterator[None]:
    """Steps of TRL's DPOTrainer, all before the first is yielded."""
    import datasets
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    from benchmarks.chunked_logits import smollm2
    from concord.lm.load import load_tokenizer

    class Ready(DPOTrainer):
        """Takes token ids as they are."""

        def _prepare_dataset(self, dataset: Any, *unused: Any) -> Any:
            return dataset

    stamps: list[float] = []

    class Stamps(TrainerCallback):
        def on_step_end(self, *unused: Any, **also_unused: Any) -> None:
            stamps.append(time.process_time())

    made = [
        {
            "prompt_ids": row["chosen"][0][:PROMPT],
            "chosen_ids": row["chosen"][0][PROMPT:],
            "rejected_ids": row["rejected"][0][PROMPT:],
        }
        for row in _rows(heads)
    ]
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=folder, per_device_train_batch_size=len(made), max_steps=STEPS + 2,
            learning_rate=1e-6, beta=BETA, precompute_ref_log_probs=True, report_to="none",
            gradient_checkpointing=False, bf16=False, use_cpu=True, save_strategy="no",
            disable_tqdm=True, logging_steps=1, max_length=None,
        )  # fmt: skip
        trainer = Ready(
            model=smollm2(),
            args=config,
            train_dataset=datasets.Dataset.from_list(made * (STEPS + 2)),
            processing_class=load_tokenizer("models/base"),
            callbacks=[Stamps()],
        )
        trainer.train()
    yield from _replay(stamps)


VARIANTS = {
    "published": published,
    "here": ours,
    "rank_64": lambda heads: ours(heads, 64),
    "fit": fit,
    "trl": trl,
}


def _replay(stamps: list[float]) -> Iterator[None]:
    """Prints the seconds of each recorded step but the first."""
    for before, after in itertools.pairwise(stamps):
        print(f"step {after - before}")
        yield


def _policy(heads: int, rank: int | None) -> Any:
    from benchmarks.chunked_logits import smollm2
    from concord.policies.methods.mah_dpo import MahDpoParams
    from concord.policies.model import from_causal
    from concord.stage.params import section

    training = {"learning_rate": 1e-6, "steps": 1, "batch_size": PAIRS[heads]}
    params = section(MahDpoParams, {"method": "mah_dpo", "training": training}, "policies.x")
    model = from_causal(smollm2(), [f"o{head}" for head in range(heads)], rank)
    return model.train(), params


def _rows(heads: int) -> list[dict[str, Any]]:
    from benchmarks.shared_tokens import rows

    return rows(PAIRS[heads], heads, PROMPT, RESPONSE)


def _ids(heads: int) -> tuple[Any, int]:
    import torch

    made = _rows(heads)
    sides = [torch.tensor([row[side][0] for row in made]) for side in ("chosen", "rejected")]
    return sides, PROMPT


def steps(variant: str, heads: int) -> None:
    """Prints a line per step, and the peak, of one variant."""
    import torch

    from benchmarks.chunked_logits import peak_gb

    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    running = VARIANTS[variant](heads)
    if variant in ("fit", "trl"):
        for _ in running:
            pass
    else:
        next(running)
        for _ in range(STEPS):
            started = time.process_time()
            next(running)
            print(f"step {time.process_time() - started}")
    print(f"peak {peak_gb()}")


def main(rounds: int) -> None:
    """Runs all variants in turn and prints the table."""
    seconds, peaks = defaultdict(list), defaultdict(list)
    names = list(dict.fromkeys(name for pair in COMPARISONS.values() for name in pair))
    for _ in range(rounds):
        for name in names:
            command = [sys.executable, "-m", __spec__.name, *name.split()]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            for line in done.stdout.splitlines():
                if line.startswith(("step ", "peak ")):
                    kind, value = line.split()
                    (seconds if kind == "step" else peaks)[name].append(float(value))
            shown = f"{median(seconds[name]):.2f} s, {median(peaks[name]):.2f} GB"
            print(f"{name}: {shown}", file=sys.stderr)
    print(
        "| step | CPU s, compared with | here | times as fast | GB, compared with | here | ratio |"
    )
    print("|---|---|---|---|---|---|---|")
    for row, pair in COMPARISONS.items():
        (other, here), (other_gb, here_gb) = (
            [median(table[name]) for name in pair] for table in (seconds, peaks)
        )
        print(
            f"| {row} | {other:.2f} | {here:.2f} | {other / here:.2f} "
            f"| {other_gb:.2f} | {here_gb:.2f} | {here_gb / other_gb:.2f} |"
        )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        steps(sys.argv[1], int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
