"""The data type in which a frozen model is read fastest, from a measurement of about a second.

bfloat16 is several times as fast as float32 on processors with instructions for it, and slower on
others. The choice is kept in the working folder, so that reruns use the same type.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from concord.stage import outputs
from concord.stage.paths import WORK

CANDIDATES = ("float32", "bfloat16")
GAIN = 1.2
"""bfloat16 rounds more, so it is used only if it is at least this many times as fast."""
SECONDS = 1.0
"""Duration of the measurement."""
ROUNDS = 40
"""Maximum number of timed passes per type."""
TOKENS = 256
"""Approximate tokens of a timed pass."""
LAYERS, WORDS = 2, 256
"""Layers and vocabulary of the model that is timed."""


def choose(
    given: str, model: Path, device: Any, sequences: Sequence[Sequence[int]], work: Path = WORK
) -> str:
    """The data type `given`; for `auto`, the fastest one.

    Args:
        given: `auto` or the name of a torch data type.
        model: folder of the model.
        device: where it will run.
        sequences: token ids of what will be read. The median length is timed.
        work: where the choice is kept.
    """
    if given != "auto":
        return given
    import torch

    config = (model / "config.json").read_bytes()
    setting = f"{device} {torch.get_num_threads()} {torch.__version__}".encode()
    key = hashlib.blake2b(config + setting, digest_size=8).hexdigest()
    file = work / "frozen_dtype" / f"{key}.json"
    if not file.is_file():
        length = int(median(map(len, sequences))) if sequences else TOKENS
        length = min(max(1, length), 2 * TOKENS)
        measured = tokens_per_second(model, torch.device(device), length)
        outputs.write_json(file, {"dtype": fastest(measured), "tokens_per_second": measured})
    kept = outputs.read_json(file)
    speeds = ", ".join(f"{name} {speed:.0f}" for name, speed in kept["tokens_per_second"].items())
    print(f"frozen model read in {kept['dtype']} (tokens per second of {LAYERS} layers: {speeds})")
    return str(kept["dtype"])


def fastest(speeds: dict[str, float]) -> str:
    """The type with the highest speed; float32 unless another one is clearly faster.

    Examples:
        >>> fastest({"float32": 100.0, "bfloat16": 110.0})
        'float32'
        >>> fastest({"float32": 100.0, "bfloat16": 300.0})
        'bfloat16'
    """
    best = max(speeds, key=lambda name: speeds[name])
    return best if speeds[best] >= GAIN * speeds["float32"] else "float32"


def tokens_per_second(model: Path, device: Any, length: int) -> dict[str, float]:
    """Type -> tokens per second of a model of the same shape with few layers and random weights.

    The types take turns, so other work on the machine slows all of them. The fastest pass counts.
    """
    import torch
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model, trust_remote_code=False).get_text_config()
    models = {name: _small(config, device, name) for name in CANDIDATES}
    shape = (max(1, TOKENS // length), length)
    ids = torch.arange(shape[0] * shape[1], device=device).reshape(shape) % WORDS
    best = dict.fromkeys(models, float("inf"))
    started, rounds = time.perf_counter(), 0
    while rounds < 3 or (rounds < ROUNDS and time.perf_counter() - started < SECONDS):
        for name, small in models.items():
            seconds = _seconds(small, ids)
            if rounds:  # the first pass warms up
                best[name] = min(best[name], seconds)
        rounds += 1
    return {name: ids.numel() / seconds for name, seconds in best.items()}


def _small(config: Any, device: Any, dtype: str) -> Any:
    """A backbone of the shape of `config` with few layers and words, and random weights."""
    import torch
    from transformers import AutoModel

    small = copy.deepcopy(config)
    kept = min(LAYERS, small.num_hidden_layers)
    small.num_hidden_layers, small.vocab_size = kept, WORDS
    small.pad_token_id = small.bos_token_id = small.eos_token_id = None
    if getattr(small, "layer_types", None) is not None:
        small.layer_types = list(small.layer_types)[:kept]
    auto_class: Any = AutoModel
    with torch.random.fork_rng():
        return auto_class.from_config(small).to(device, getattr(torch, dtype)).eval()


def _seconds(model: Any, ids: Any) -> float:
    import torch

    started = time.perf_counter()
    with torch.inference_mode():
        model(input_ids=ids, use_cache=False)
    if ids.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started
