"""Tokens and time that it takes to read the answers of a source with a frozen model.

    python -m benchmarks.frozen_reading <format> <path> <model> --layers 12 18 24 [--groups 4]
        [--max-length 512] [--rounds 3]

The source may have ratings, pairs or both. Each step of the table adds one saving to those before
it:

- every answer of every label is read, through all layers, and each prompt is cut to what its answer
  leaves;
- equal answers to one prompt are read once;
- long prompts are cut at the same place for all answers, so more of them is shared;
- the backbone stops after the highest of the layers;
- the data type is the faster one (`concord.lm.fastest_dtype`).

Tokens are those that go through the model if common beginnings are read once. Times are processor
times of the first `--groups` questions or dialogues in the order of a hash; all variants but the
first take turns. The ratios are medians over the rounds; with `--rounds 0`, only tokens are
counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pandas as pd
import torch

from benchmarks.reward_data import Data, load
from concord.annotations import reader
from concord.lm import fastest_dtype
from concord.lm.batches import encode_fitting
from concord.lm.frozen import load_frozen
from concord.lm.load import load_causal, load_tokenizer
from concord.lm.shared_prefixes import read, tokens_read

Sequences = list[list[int]]


class Variant(NamedTuple):
    """A way to read the answers."""

    name: str
    backbone: Any
    sequences: Sequences


def texts(data: Data) -> pd.DataFrame:
    """Prompt and answer of every rating and of both sides of every stated pair."""
    stated = data.pairs[data.pairs["origin"] == "comparisons"]
    frames = [data.ratings.rename(columns={"response": "answer"})]
    frames += [stated.rename(columns={side: "answer"}) for side in ("chosen", "rejected")]
    return pd.concat([frame[["messages", "answer"]] for frame in frames], ignore_index=True)


def distinct(sequences: Sequences) -> Sequences:
    """The sequences without repetitions, in the same order."""
    return [list(ids) for ids in dict.fromkeys(map(tuple, sequences))]


def variants(
    rows: pd.DataFrame, tokenizer: Any, model: Path, layers: list[int]
) -> Iterator[Variant]:
    """The rows of the table, each with one more saving."""
    messages, answers = rows["messages"].tolist(), rows["answer"].tolist()
    exact, steady = (encode_fitting(tokenizer, messages, answers, cut)[1] for cut in (False, True))
    whole = load_causal(model).base_model
    yield Variant("every label, all layers", whole, exact)
    yield Variant("equal answers once", whole, distinct(exact))
    yield Variant("prompts cut at one place", whole, distinct(steady))
    stopped = load_frozen(model, layers, "cpu", "float32")
    yield Variant(f"stops after layer {max(layers)}", stopped, distinct(steady))
    dtype = fastest_dtype.choose("auto", model, "cpu", steady)
    if dtype != "float32":
        yield Variant(f"in {dtype}", load_frozen(model, layers, "cpu", dtype), distinct(steady))


def seconds(variant: Variant, pad: int) -> float:
    """Processor time to read all sequences; other work on the machine hardly changes it."""
    started = time.process_time()
    for _ in read(variant.backbone, variant.sequences, pad, lambda rows, states: len(rows)):
        pass
    return time.process_time() - started


def table(tried: list[Variant], rounds: int, pad: int) -> Iterator[str]:
    """A Markdown table. The first variant only counts tokens, the others take turns."""
    times: list[list[float]] = [[] for _ in tried]
    for number in range(rounds):
        for variant, results in zip(tried[1:], times[1:], strict=True):
            results.append(seconds(variant, pad))
        print(f"round {number}: {', '.join(f'{each[-1]:.1f} s' for each in times[1:])}", flush=True)
    yield "| | sequences | tokens | tokens read | times as fast as the second row |"
    yield "|---|---|---|---|---|"
    for variant, results in zip(tried, times, strict=True):
        ratios = [one / other for one, other in zip(times[1], results, strict=False)]
        counts = [len(variant.sequences), sum(map(len, variant.sequences))]
        cells = [*map(str, [*counts, tokens_read(variant.sequences)])]
        speed = f"{median(ratios):.2f}" if ratios else ""
        yield f"| {variant.name} | {' | '.join(cells)} | {speed} |"


def main() -> None:
    """Prints the token counts of the whole source, and the table of a part of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", choices=reader.format_names(), metavar="format")
    parser.add_argument("path", help="file or folder to read")
    parser.add_argument("model", type=Path)
    parser.add_argument("--layers", type=int, nargs="+", default=[12, 18, 24])
    parser.add_argument("--groups", type=int, default=4, help="questions or dialogues to time")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(arguments.model)
    tokenizer.model_max_length = arguments.max_length
    data = load(arguments.data, arguments.path, tokenizer, None)
    rows = texts(data)
    once = rows[~rows.assign(messages=rows["messages"].map(str)).duplicated()]
    messages, answers = once["messages"].tolist(), once["answer"].tolist()
    for name, cut in (("what each answer leaves", False), ("one place", True)):
        sequences = distinct(encode_fitting(tokenizer, messages, answers, cut)[1])
        print(
            f"prompts cut at {name}: {tokens_read(sequences)} of {sum(map(len, sequences))} tokens "
            f"are read, of {len(sequences)} distinct answers to {len(rows)} labels",
            flush=True,
        )
    if not arguments.rounds:
        return
    part = texts(data.first(arguments.groups))
    tried = list(variants(part, tokenizer, arguments.model, arguments.layers))
    print("\n".join(table(tried, arguments.rounds, tokenizer.pad_token_id)))


if __name__ == "__main__":
    main()
