"""Make the base model of the sandbox: a small Llama from scratch on the corpus of imperfect authors.

Inputs: nothing but the seed. Outputs: models/base (weights, tokenizer, chat template, figures), kept in git because
training takes longer than a run of the pipeline may.

    python -m tasks.sandbox.base [--steps 4000] [--seed 0] [--out models/base]
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

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tasks.sandbox.corpus import Document, documents
from tasks.stage.outputs import directory
from tasks.stage.progress import track

TEMPLATE = Path("templates/sandbox.jinja")
SPECIAL = ("<|pad|>", "<|end|>", "<|user|>", "<|assistant|>")
VOCABULARY = 1024
BATCH, CHUNK, PEAK_RATE, WARMUP = 48, 16, 3e-3, 100


def tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE over the corpus: lossless, digits single tokens, step separator and box one token each."""
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
    """About one million parameters; the output matrix is tied to the input embedding."""
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


def batches(words: PreTrainedTokenizerFast, source: Iterator[Document]) -> Iterator[list[list[int]]]:
    """Batches of documents of about one length, CHUNK batches shuffled at a time."""

    def chunk() -> list[list[list[int]]]:
        texts = [
            words.apply_chat_template([*messages, {"role": "assistant", "content": response}], tokenize=False)
            for messages, response in itertools.islice(source, BATCH * CHUNK)
        ]
        rows = sorted(words(texts, add_special_tokens=False)["input_ids"], key=len)
        groups = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        random.Random(len(texts[0])).shuffle(groups)
        return groups

    return itertools.chain.from_iterable(chunk() for _ in itertools.count())


def train(model: LlamaForCausalLM, words: PreTrainedTokenizerFast, steps: int, seed: int) -> float:
    """Next-token prediction on all tokens; returns the mean loss of the last hundred steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    stream, losses = batches(words, documents(seed)), []
    for step in track(range(steps), steps, "base"):
        rows = next(stream)
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, words.pad_token_id)
        rate = PEAK_RATE * min(1.0, (step + 1) / WARMUP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        mask = ids != words.pad_token_id
        loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(~mask, -100)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step % 200 == 199:
            print(f"step {step + 1} loss {sum(losses[-100:]) / 100:.4f}", flush=True)
    return statistics.fmean(losses[-100:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default="models/base")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = time.time()
    words = tokenizer(arguments.seed)
    model = network(len(words), words.pad_token_id, words.eos_token_id, arguments.seed)
    loss = train(model, words, arguments.steps, arguments.seed)
    with directory(Path(arguments.out)) as out:
        model.save_pretrained(out)
        words.save_pretrained(out)
        figures = {
            "parameters": model.num_parameters(),
            "steps": arguments.steps,
            "seed": arguments.seed,
            "loss": round(loss, 4),
        }
        (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"{arguments.out}: {figures}, {time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
