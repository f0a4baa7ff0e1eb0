"""How much a frozen model reads again after prompts were added, with kept features.

    python -m benchmarks.appended_features <format> <path> <model> [--layer 2] [--new 0.05]
        [--max-length 512] [--most 2000]

The answers of a source are read without the last `--new` share of its prompts, in the order of a
hash, and then with all of them: with the features that were kept, and with none. Both must give the
same bits. Prints the share of the tokens that are read with kept features, and the ratio of the CPU
times.
"""

import argparse
import hashlib
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.frozen_reading import texts
from benchmarks.reward_data import load
from concord.lm import shared_prefixes
from concord.lm.batches import encode_fitting
from concord.lm.frozen import load_frozen
from concord.lm.load import load_tokenizer
from concord.rewards.outcome.probe import Probe
from concord.rewards.outcome.probe_fit import Features

Sequences = list[list[int]]
Reading = tuple[int, float, bytes]


def sequences(arguments: argparse.Namespace) -> tuple[Sequences, Sequences]:
    """Token ids of the answers to the prompts that were there, and of all answers."""
    tokenizer = load_tokenizer(arguments.model)
    tokenizer.model_max_length = arguments.max_length
    data = load(arguments.format, arguments.path, tokenizer, None)
    table = texts(data).iloc[: arguments.most]
    rows, encoded = encode_fitting(
        tokenizer, table["messages"].tolist(), table["answer"].tolist(), steady_cut=True
    )
    keys = [hashlib.sha256(repr(table["messages"].iloc[row]).encode()).digest() for row in rows]
    last = sorted(set(keys))[int((1 - arguments.new) * len(set(keys))) :]
    return [ids for ids, key in zip(encoded, keys, strict=True) if key < last[0]], encoded


def measured(probe: Probe, model: Path, wanted: Sequences, folder: Path) -> Reading:
    """Tokens that go through the model, CPU seconds, and the features."""
    tokens, states = [0], shared_prefixes.states

    def counted(backbone: object, suffixes: Sequences, prefix: list[int], pad: int) -> object:
        tokens[0] += len(prefix) + sum(map(len, suffixes))
        return states(backbone, suffixes, prefix, pad)

    began = time.process_time()
    with patch.object(shared_prefixes, "states", counted):
        table = Features(probe, model, wanted, folder).lookup(wanted)
    return tokens[0], time.process_time() - began, np.ascontiguousarray(table).tobytes()


def main() -> None:
    """Prints the shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("format")
    parser.add_argument("path")
    parser.add_argument("model", type=Path)
    parser.add_argument("--layer", type=int, default=2)
    parser.add_argument("--new", type=float, default=0.05)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--most", type=int, default=2000, help="answers that are read")
    given = parser.parse_args()
    before, everything = sequences(given)
    backbone = load_frozen(given.model, [given.layer], "cpu", "float32")
    probe = Probe(backbone, load_tokenizer(given.model), [given.layer], ["a"], {})
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "kept")
        measured(probe, given.model, before, kept)
        again, short, features = measured(probe, given.model, everything, kept)
        whole, long, fresh = measured(probe, given.model, everything, Path(folder, "fresh"))
    print(f"{len(everything)} answers, {len(everything) - len(before)} of them new")
    print(f"tokens: {again} of {whole} ({again / whole:.1%}); CPU time: {short / long:.3f}")
    print("the same bits" if features == fresh else "OTHER BITS")


if __name__ == "__main__":
    main()
