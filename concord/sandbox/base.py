"""Trains the base model of the sandbox: a small Llama, from scratch, on texts by simulated authors.

Input: the seed. Output: models/base (weights, tokenizer, chat template, figures). The checkpoint is
kept in git because training takes longer than a pipeline run may.

    python -m concord.sandbox.base [--steps 5000] [--seed 0] [--rate 3e-3] [--start <folder>]
                                   [--no-marks] [--out models/base]

The checkpoint in git was trained for 5000, 900 and 4000 steps on earlier corpora: at first with
fewer marks, weighted like other tokens, later without marks on whole answers. It was then trained
for 2400 more steps (`--start`, `--seed 13`, `--rate 2e-3`) on the corpus before authors had a
systematic error (`concord.sandbox.arithmetic`).
"""

import argparse
import itertools
import json
import math
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from concord.lm.load import load_causal, load_tokenizer
from concord.sandbox.corpus import Document, documents
from concord.stage.outputs import directory
from concord.stage.progress import track

TEMPLATE = Path("templates/sandbox.jinja")
SPECIAL = ("<|pad|>", "<|end|>", "<|user|>", "<|assistant|>")
VOCABULARY = 1024
BATCH, CHUNK, WARMUP = 48, 16, 100
MARKS, MARK_WEIGHT = (" right", " wrong"), 6.0
"""The marks, and their weight in the loss: one token in fifty is a mark."""


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the corpus: lossless; a digit, `\\n\\n` and the start of a box are one
    token each.
    """
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n\n|\\boxed\{"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    model.decoder = decoders.ByteLevel()
    texts = (
        "\n".join([*(m["content"] for m in messages), response])
        for messages, response in itertools.islice(documents(seed), 20_000)
    )
    model.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=list(SPECIAL),
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=model,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = TEMPLATE.read_text(encoding="utf-8")
    return wrapped


def network(vocabulary: int, pad: int, end: int, seed: int) -> LlamaForCausalLM:
    """A Llama of about one million parameters; the output matrix is tied to the input embedding."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary,
                hidden_size=128,
                intermediate_size=352,
                num_hidden_layers=4,
                num_attention_heads=4,
                num_key_value_heads=4,
                max_position_embeddings=512,
                tie_word_embeddings=True,
                pad_token_id=pad,
                bos_token_id=None,
                eos_token_id=end,
            )
        )


def batches(
    tokenizer: PreTrainedTokenizerFast, source: Iterator[Document]
) -> Iterator[list[list[int]]]:
    """Batches of documents of similar length, shuffled in chunks of CHUNK batches."""

    def chunk() -> list[list[list[int]]]:
        texts = [
            tokenizer.apply_chat_template(
                [*messages, {"role": "assistant", "content": response}], tokenize=False
            )
            for messages, response in itertools.islice(source, BATCH * CHUNK)
        ]
        rows = sorted(tokenizer(texts, add_special_tokens=False)["input_ids"], key=len)
        groups = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        random.Random(len(texts[0])).shuffle(groups)
        return groups

    return itertools.chain.from_iterable(chunk() for _ in itertools.count())


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    steps: int,
    seed: int,
    peak: float = 3e-3,
    marks: bool = True,
) -> float:
    """Trains on next-token prediction over all tokens, under bfloat16 autocast, with extra weight
    on marks. Without `marks`, the corpus has no marked work. Returns the mean loss of the last
    hundred steps.
    """
    weights = torch.ones(len(tokenizer))
    weights[
        tokenizer(list(MARKS), add_special_tokens=False, return_tensors="pt")["input_ids"].flatten()
    ] = MARK_WEIGHT
    weights[tokenizer.pad_token_id] = 0.0
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.05)
    stream, losses = batches(tokenizer, documents(seed, marks)), []
    for step in track(range(steps), steps, "base"):
        rows = next(stream)
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(row) for row in rows], True, tokenizer.pad_token_id
        )
        rate = (
            peak
            * min(1.0, (step + 1) / WARMUP)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        mask = ids != tokenizer.pad_token_id
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), ids[:, 1:].flatten(), weights
        )
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step % 200 == 199:
            print(f"step {step + 1} loss {sum(losses[-100:]) / 100:.4f}", flush=True)
    return statistics.fmean(losses[-100:])


def main() -> None:
    """Trains the base model and writes it to `--out`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--start",
        help="folder of a base model to continue from, with its tokenizer; default: from scratch",
    )
    parser.add_argument(
        "--no-marks", dest="marks", action="store_false", help="leave out marked work"
    )
    parser.add_argument("--out", default="models/base")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = time.time()
    tokenizer = (
        load_tokenizer(arguments.start) if arguments.start else train_tokenizer(arguments.seed)
    )
    model = network(
        len(tokenizer),
        tokenizer.pad_token_id,
        tokenizer.eos_token_id,
        arguments.seed,
    )
    earlier: list[dict[str, Any]] = []
    if arguments.start:
        model = load_causal(arguments.start).train()
        earlier = json.loads((Path(arguments.start) / "figures.json").read_text(encoding="utf-8"))[
            "trained"
        ]
    loss = train(model, tokenizer, arguments.steps, arguments.seed, arguments.rate, arguments.marks)
    with directory(Path(arguments.out)) as out:
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        run = {
            "steps": arguments.steps,
            "seed": arguments.seed,
            "rate": arguments.rate,
            "loss": round(loss, 4),
            "marks": arguments.marks,
        }
        figures = {"parameters": model.num_parameters(), "trained": [*earlier, run]}
        (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"{arguments.out}: {figures}, {time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
