"""Reward heads on a frozen model: one linear head per objective on hidden states of the response.

The heads are fitted by `concord.rewards.outcome.probe_fit`. The folder of a probe contains the
relative path of its backbone and the hash of the backbone's weights.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from concord.lm.batches import encode_fitting
from concord.lm.chat import Messages, assistant_header
from concord.lm.frozen import check_layers, load_frozen
from concord.lm.load import load_tokenizer
from concord.lm.types import Tokenizer
from concord.stage import outputs
from concord.stage.errors import ModelError
from concord.stage.finished_parts import Keep, part

Pooling = Literal["last", "mean"]
"""How hidden states are pooled.

`last` is the state of the end-of-sequence token, `mean` the mean over the response and this token.
"""


class Probe:
    """A frozen backbone with linear heads on its features.

    Args:
        backbone: a causal language model, a sequence classifier, or the backbone of one.
        tokenizer: its tokenizer.
        layers: the layers whose states are features; 0 stands for the embeddings.
        objectives: the objectives of the heads.
        heads: `weight` `(objectives, features)` and `bias` `(objectives,)`. The number of features
            is layers * poolings * hidden size.
        pooling: how states are pooled, one or more of `last` and `mean`.
    """

    def __init__(
        self,
        backbone: Any,
        tokenizer: Tokenizer,
        layers: Sequence[int],
        objectives: list[str],
        heads: dict[str, np.ndarray],
        pooling: Sequence[Pooling] = ("last",),
    ) -> None:
        self.backbone, self.tokenizer, self.pooling = backbone, tokenizer, pooling
        self._header = assistant_header(tokenizer) if "mean" in pooling else []
        self.layers, self.objectives, self.heads = check_layers(backbone, layers), objectives, heads

    def score(
        self, messages: Sequence[Messages], responses: Sequence[str], batch_size: int = 64
    ) -> np.ndarray:
        """Scores float32 `(n, objectives)`; NaN for a response that is too long.

        Equal responses to one prompt are read once.
        """
        request = [messages, responses]
        return part("scores", request, lambda: self._score(messages, responses, batch_size))

    def _score(
        self, messages: Sequence[Messages], responses: Sequence[str], batch_size: int
    ) -> np.ndarray:
        rows, encoded = encode_fitting(self.tokenizer, messages, responses, steady_cut=True)
        distinct = {ids: index for index, ids in enumerate(dict.fromkeys(map(tuple, encoded)))}
        scores = np.full((len(responses), len(self.objectives)), np.nan, dtype=np.float32)
        features = self.features([list(ids) for ids in distinct], batch_size)
        scores[rows] = self.score_features(features)[[distinct[tuple(ids)] for ids in encoded]]
        return scores

    def score_features(self, features: np.ndarray) -> np.ndarray:
        """Scores float32 `(n, objectives)` from features `(n, features)`."""
        weight = self.heads["weight"].astype(float)
        return np.asarray(features.astype(float) @ weight.T + self.heads["bias"], dtype=np.float32)

    def features(
        self, encoded: Sequence[list[int]], batch_size: int = 64, keep: Keep = part
    ) -> np.ndarray:
        """Features float32 `(n, features)` of sequences of token ids.

        Features are ordered by pooling, then by layer. `keep` is as in
        `concord.lm.shared_prefixes.read`.
        """
        import torch

        from concord.lm.shared_prefixes import States, read

        width = len(self.layers) * len(self.pooling) * self.backbone.config.hidden_size
        table = np.zeros((len(encoded), width), dtype=np.float32)
        model, pad = self.backbone.base_model, self.tokenizer.pad_token_id

        def pooled(rows: list[int], hidden: States) -> np.ndarray:
            states = [hidden.last(layer) for layer in self.layers] if "last" in self.pooling else []
            if "mean" in self.pooling:
                starts = torch.tensor(
                    [answer_start(encoded[row], self._header) for row in rows], device=model.device
                )
                states += [hidden.mean(layer, starts) for layer in self.layers]
            return np.asarray(torch.cat(states, dim=1).cpu())

        for rows, features in read(model, encoded, pad, pooled, batch_size, keep=keep):
            table[rows] = features
        return table

    def save(self, path: Path, backbone: Path, final: Path) -> None:
        """Writes the probe to the folder `path`, which the caller then renames to `final`."""
        entry = {
            "objectives": self.objectives,
            "layers": list(self.layers),
            "pooling": list(self.pooling),
            "dtype": dtype_of(self.backbone),
        }
        save_heads(path, final, backbone, entry, self.heads)
        self.tokenizer.save_pretrained(path)


def dtype_of(backbone: Any) -> str:
    """The name of the data type of a model, for example `bfloat16`."""
    return str(backbone.dtype).removeprefix("torch.")


def save_heads(
    path: Path, final: Path, backbone: Path, entry: dict[str, Any], heads: dict[str, np.ndarray]
) -> None:
    """Writes linear heads to the folder `path`, with what they read.

    The path of the backbone is stored relative to `final`, where the folder will be.
    """
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(value, np.float32) for name, value in heads.items()}
    save_file(contiguous, path / "heads.safetensors")
    relation = {
        "backbone": os.path.relpath(backbone, final),
        "backbone_hash": weights_hash(backbone),
    }
    outputs.write_json(path / "probe.json", {**entry, **relation})


class SavedHeads(NamedTuple):
    """Linear heads that were read from a folder."""

    backbone: Any
    """The frozen backbone, up to the highest layer that the heads read, in their data type."""
    tokenizer: Tokenizer
    entry: dict[str, Any]
    """The content of probe.json."""
    heads: dict[str, np.ndarray]
    """`weight` `(objectives, features)` and `bias` `(objectives,)`."""


def load_heads(path: str | Path, device: Any, dtype: str = "float32") -> SavedHeads:
    """Reads linear heads, and loads their backbone in the data type that they were fitted in.

    `dtype` is for heads that were saved without a data type. Raises ModelError if the weights of
    the backbone have changed since the heads were fitted.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    entry = outputs.read_json(Path(path) / "probe.json")
    backbone = Path(os.path.normpath(Path(path) / entry["backbone"]))
    if weights_hash(backbone) != entry["backbone_hash"]:
        raise ModelError(
            f"the heads in {path} were fitted on other weights than those now in {backbone}, so "
            "their scores would be meaningless; fit them again with `dvc repro`"
        )
    model = load_frozen(backbone, entry["layers"], device, entry.get("dtype", dtype))
    try:
        heads = load_file(Path(path) / "heads.safetensors")
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"the heads in {path} cannot be read: {error}; fit them again with `dvc repro`"
        ) from error
    return SavedHeads(model, load_tokenizer(path), entry, heads)


def load_probe(path: str | Path, device: Any, dtype: str = "float32") -> Probe:
    """Loads a saved probe; see `load_heads`."""
    model, tokenizer, entry, heads = load_heads(path, device, dtype)
    return Probe(model, tokenizer, entry["layers"], entry["objectives"], heads, entry["pooling"])


def answer_start(ids: Sequence[int], header: Sequence[int]) -> int:
    """Index of the first token of the response at the end of `ids`.

    The response starts after the last assistant header; 0 if there is no header.

    Examples:
        >>> answer_start([1, 9, 8, 2, 9, 8, 3, 4], header=[9, 8])
        6
    """
    size = len(header)
    # The last token always belongs to the response, even if it looks like a header.
    for index in range(len(ids) - 1 - size, -1, -1):
        if list(ids[index : index + size]) == list(header):
            return index + size
    return 0


def weights_hash(model: Path) -> str:
    """Hash of the safetensors files in the folder of a model. Raises ModelError without any."""
    digest = hashlib.blake2b(digest_size=16)
    files = sorted(model.glob("*.safetensors"))
    if not files:
        raise ModelError(
            f"there is no safetensors file in {model}; create the model with `dvc repro`"
        )
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return digest.hexdigest()
