"""Reward heads on a frozen model: states of an answer after some layers, and one linear head per objective.

They are fitted by `concord.rewards.outcome.probe_fit`. The folder names its backbone by a relative path and the hash of its
weights.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from concord.lm.batches import by_length, encode_all
from concord.lm.chat import Messages, assistant_header
from concord.lm.load import load_causal, load_tokenizer
from concord.stage import outputs, progress
from concord.stage.errors import ModelError, ParamsError

Pooling = Literal["last", "mean"]
"""The state of the answer's last token (its end), or the mean over its tokens, the end among them."""


class Probe:
    """A frozen backbone and the heads `weight` [H, D], `bias` [H] on its features [D = layers * pooling * width]."""

    def __init__(
        self,
        backbone: Any,
        tokenizer: Any,
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
        """float32 `[n, H]`."""
        return self.of_features(
            self.features(encode_all(self.tokenizer, messages, responses), batch_size)
        )

    def of_features(self, features: np.ndarray) -> np.ndarray:
        """Scores float32 `[n, H]` from features `[n, D]`."""
        weight = self.heads["weight"].astype(float)
        return np.asarray(features.astype(float) @ weight.T + self.heads["bias"], dtype=np.float32)

    def features(self, encoded: Sequence[list[int]], batch_size: int = 64) -> np.ndarray:
        """float32 `[n, D]`: the states after each of the layers (0: the embeddings), pooled in each way."""
        from concord.lm.shared_prefixes import groups

        reporter = progress.Reporter(len(encoded), "features")
        width = len(self.layers) * len(self.pooling) * self.backbone.config.hidden_size
        found = np.zeros((len(encoded), width), dtype=np.float32)
        done = 0
        on_cpu = self.backbone.device.type == "cpu"
        batches = (
            groups(encoded, batch_size)
            if on_cpu
            else ((rows, 0) for rows in by_length(encoded, batch_size))
        )
        for rows, shared in batches:
            found[rows] = self._states([encoded[row] for row in rows], shared)
            done += len(rows)
            reporter(done)
        return found

    def _states(self, sequences: list[list[int]], shared: int) -> np.ndarray:
        import torch

        from concord.lm.shared_prefixes import states

        ends, beginning = [sequence[shared:] for sequence in sequences], sequences[0][:shared]
        found = states(self.backbone.base_model, ends, beginning, self.tokenizer.pad_token_id)
        parts = [found.last(layer) for layer in self.layers] if "last" in self.pooling else []
        if "mean" in self.pooling:
            starts = torch.tensor(
                [answer_start(ids, self._header) for ids in sequences], device=self.backbone.device
            )
            parts += [found.mean(layer, starts) for layer in self.layers]
        return torch.cat(parts, dim=1).cpu().numpy()

    def save(self, path: Path, backbone: Path, final: Path) -> None:
        """Writes the heads to `path`, to be renamed to `final`: the backbone is named relative to there."""
        from safetensors.numpy import save_file

        save_file({name: np.ascontiguousarray(value, np.float32) for name, value in self.heads.items()},
                  path / "heads.safetensors")  # fmt: skip
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
    """A saved probe. Raises ModelError when its backbone is not the one that it was fitted on."""
    from safetensors.numpy import load_file

    entry = outputs.read_json(Path(path) / "probe.json")
    backbone = Path(os.path.normpath(Path(path) / entry["backbone"]))
    if weights_hash(backbone) != entry["backbone_hash"]:
        raise ModelError(
            f"the heads in {path} were fitted on other weights than {backbone} holds now, so their scores would mean "
            "nothing; fit them again (dvc repro)"
        )
    heads = load_file(Path(path) / "heads.safetensors")
    model = load_causal(backbone, device, dtype)
    return Probe(
        model, load_tokenizer(path), entry["layers"], entry["objectives"], heads, entry["pooling"]
    )


def answer_start(ids: Sequence[int], header: Sequence[int]) -> int:
    """Where the answer at the end of `ids` begins: after the last of the assistant's headers."""
    places = range(len(ids) - 1 - len(header), -1, -1)  # the last token is the answer's
    return next(
        (at + len(header) for at in places if list(ids[at : at + len(header)]) == list(header)), 0
    )


def check_layers(backbone: Any, layers: Sequence[int]) -> Sequence[int]:
    """Raises ParamsError unless every layer is one of the backbone's."""
    top = backbone.config.num_hidden_layers
    if not layers or not all(0 <= layer <= top for layer in layers):
        raise ParamsError(
            f"layers {list(layers)} cannot be probed; give some of 0 (embeddings) to {top} (last)"
        )
    return layers


def weights_hash(model: Path) -> str:
    """Hash over the safetensors files in a model's folder."""
    digest = hashlib.blake2b(digest_size=16)
    files = sorted(model.glob("*.safetensors"))
    if not files:
        raise ModelError(f"no safetensors file in {model}; run the stage that makes it (dvc repro)")
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return digest.hexdigest()
