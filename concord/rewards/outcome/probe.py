"""Reward heads on a frozen model: one linear head per objective on hidden states of the response.

The heads are fitted by `concord.rewards.outcome.probe_fit`. The folder of a probe contains the
relative path of its backbone and the hash of the backbone's weights.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from concord.lm.batches import batches_by_length, encode_all
from concord.lm.chat import Messages, assistant_header
from concord.lm.load import load_causal, load_tokenizer
from concord.lm.types import Tokenizer
from concord.stage import outputs, progress
from concord.stage.errors import ModelError, ParamsError

Pooling = Literal["last", "mean"]
"""How hidden states are pooled.

`last` is the state of the end-of-sequence token, `mean` the mean over the response and this token.
"""


class Probe:
    """A frozen backbone with linear heads on its features.

    Args:
        backbone: a causal language model or a sequence classifier.
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
        """Scores float32 `(n, objectives)`."""
        encoded = encode_all(self.tokenizer, messages, responses)
        return self.score_features(self.features(encoded, batch_size))

    def score_features(self, features: np.ndarray) -> np.ndarray:
        """Scores float32 `(n, objectives)` from features `(n, features)`."""
        weight = self.heads["weight"].astype(float)
        return np.asarray(features.astype(float) @ weight.T + self.heads["bias"], dtype=np.float32)

    def features(self, encoded: Sequence[list[int]], batch_size: int = 64) -> np.ndarray:
        """Features float32 `(n, features)` of sequences of token ids.

        Features are ordered by pooling, then by layer.
        """
        from concord.lm.shared_prefixes import groups

        reporter = progress.Reporter(len(encoded), "features")
        width = len(self.layers) * len(self.pooling) * self.backbone.config.hidden_size
        table = np.zeros((len(encoded), width), dtype=np.float32)
        done = 0
        batches: Iterable[tuple[list[int], int]]
        if self.backbone.device.type == "cpu":
            batches = groups(encoded, batch_size)
        else:
            batches = ((rows, 0) for rows in batches_by_length(encoded, batch_size))
        for rows, shared in batches:
            table[rows] = self._pooled_states([encoded[row] for row in rows], shared)
            done += len(rows)
            reporter(done)
        return table

    def _pooled_states(self, sequences: list[list[int]], shared: int) -> np.ndarray:
        """Features of sequences whose first `shared` ids are equal."""
        import torch

        from concord.lm.shared_prefixes import states

        suffixes, prefix = [sequence[shared:] for sequence in sequences], sequences[0][:shared]
        hidden = states(self.backbone.base_model, suffixes, prefix, self.tokenizer.pad_token_id)
        parts = [hidden.last(layer) for layer in self.layers] if "last" in self.pooling else []
        if "mean" in self.pooling:
            starts = torch.tensor(
                [answer_start(ids, self._header) for ids in sequences], device=self.backbone.device
            )
            parts += [hidden.mean(layer, starts) for layer in self.layers]
        return torch.cat(parts, dim=1).cpu().numpy()

    def save(self, path: Path, backbone: Path, final: Path) -> None:
        """Writes the probe to the folder `path`, which the caller then renames to `final`.

        The path of the backbone is stored relative to `final`.
        """
        from safetensors.numpy import save_file

        heads = {
            name: np.ascontiguousarray(value, np.float32) for name, value in self.heads.items()
        }
        save_file(heads, path / "heads.safetensors")
        entry = {
            "objectives": self.objectives,
            "layers": list(self.layers),
            "pooling": list(self.pooling),
            "backbone": os.path.relpath(backbone, final),
            "backbone_hash": weights_hash(backbone),
        }
        outputs.write_json(path / "probe.json", entry)
        self.tokenizer.save_pretrained(path)


def load_probe(path: str | Path, device: Any, dtype: str = "float32") -> Probe:
    """Loads a saved probe.

    Raises ModelError if the weights of its backbone have changed since the heads were fitted.
    """
    from safetensors.numpy import load_file

    entry = outputs.read_json(Path(path) / "probe.json")
    backbone = Path(os.path.normpath(Path(path) / entry["backbone"]))
    if weights_hash(backbone) != entry["backbone_hash"]:
        raise ModelError(
            f"the heads in {path} were fitted on other weights than those now in {backbone}, so "
            "their scores would be meaningless; fit them again with `dvc repro`"
        )
    heads = load_file(Path(path) / "heads.safetensors")
    model = load_causal(backbone, device, dtype)
    return Probe(
        model, load_tokenizer(path), entry["layers"], entry["objectives"], heads, entry["pooling"]
    )


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


def check_layers(backbone: Any, layers: Sequence[int]) -> Sequence[int]:
    """Returns `layers`; raises ParamsError if it is empty or contains an unknown layer."""
    top = backbone.config.num_hidden_layers
    if not layers or not all(0 <= layer <= top for layer in layers):
        raise ParamsError(
            f"layers {list(layers)} cannot be probed; choose one or more from 0 (embeddings) to "
            f"{top} (last)"
        )
    return layers


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
