"""Reward heads on a frozen model: the last token's states of some layers, and one linear head per objective.

The heads are fitted by L2-regularised logistic regression on the differences chosen - rejected, which is Bradley-Terry
with a linear score. The folder names its backbone by a relative path and the hash of its weights.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.rewards.bradley_terry import pad_right
from tasks.rewards.outcome import encode_all, in_batches
from tasks.stage import outputs, progress
from tasks.stage.errors import ModelError, ParamsError
from tasks.stage.models import Messages, load_causal, load_tokenizer

SIDES = ("chosen", "rejected")


class Probe:
    """A frozen backbone and the heads `weight` [H, D], `bias` [H] on its features [D = layers * width]."""

    def __init__(
        self, backbone: Any, tokenizer: Any, layers: Sequence[int], objectives: list[str], heads: dict[str, np.ndarray]
    ) -> None:
        self.backbone, self.tokenizer = backbone, tokenizer
        self.layers, self.objectives, self.heads = check_layers(backbone, layers), objectives, heads

    def score(self, messages: Sequence[Messages], responses: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """float32 `[n, H]`."""
        states = self.features(encode_all(self.tokenizer, messages, responses), batch_size).astype(float)
        return np.asarray(states @ self.heads["weight"].astype(float).T + self.heads["bias"], dtype=np.float32)

    def features(self, encoded: Sequence[list[int]], batch_size: int = 64) -> np.ndarray:
        """float32 `[n, D]`: the states of the last token after each of the layers (0: the embeddings)."""
        reporter = progress.Reporter(len(encoded), "features")
        done = 0

        def report(sequences: list[list[int]]) -> np.ndarray:
            nonlocal done
            done += len(sequences)
            reporter(done)
            return self._states(sequences)

        return in_batches(encoded, batch_size, len(self.layers) * self.backbone.config.hidden_size, report)

    def _states(self, sequences: list[list[int]]) -> np.ndarray:
        import torch

        batch = pad_right(sequences, self.tokenizer.pad_token_id)
        batch = {name: value.to(self.backbone.device) for name, value in batch.items()}
        last = torch.tensor([len(sequence) - 1 for sequence in sequences], device=self.backbone.device)
        with torch.inference_mode():
            states = self.backbone.base_model(**batch, output_hidden_states=True, use_cache=False).hidden_states
        rows = torch.arange(len(sequences), device=last.device)
        return torch.cat([states[layer][rows, last] for layer in self.layers], dim=1).float().cpu().numpy()

    def save(self, path: Path, backbone: Path, final: Path) -> None:
        """Writes the heads to `path`, to be renamed to `final`: the backbone is named relative to there."""
        from safetensors.numpy import save_file

        save_file({name: np.ascontiguousarray(value, np.float32) for name, value in self.heads.items()},
                  path / "heads.safetensors")  # fmt: skip
        entry = {
            "objectives": self.objectives,
            "layers": list(self.layers),
            "backbone": os.path.relpath(backbone, final),
            "backbone_hash": weights_hash(backbone),
        }
        outputs.write_json(path / "probe.json", entry)
        self.tokenizer.save_pretrained(path)


class Differences:
    """Features of every response in some pairs, each computed once."""

    def __init__(self, probe: Probe, rows: Sequence[dict[str, Any]]) -> None:
        texts = list(dict.fromkeys(tuple(row[side]) for row in rows for side in SIDES))
        self._place = {text: index for index, text in enumerate(texts)}
        self._features = probe.features([list(text) for text in texts])

    def of(self, rows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        """Features of chosen less rejected `[n, D]`, and the head `[n]` of each pair."""
        chosen, rejected = ([self._place[tuple(row[side])] for row in rows] for side in SIDES)
        return self._features[chosen] - self._features[rejected], np.array([row["head"] for row in rows], dtype=int)

    def features(self, rows: Sequence[dict[str, Any]]) -> np.ndarray:
        """Features `[m, D]` of the m different responses in `rows`."""
        return self._features[sorted({self._place[tuple(row[side])] for row in rows for side in SIDES})]


def fit_heads(
    differences: np.ndarray, heads: np.ndarray, count: int, features: np.ndarray, l2: float
) -> dict[str, np.ndarray]:
    """Heads from feature differences chosen - rejected `[n, D]`, row r teaching head `heads[r]`.

    Features are standardised over the training responses (`features`) first, which is folded into the weights again;
    a response with mean features scores 0. `l2` is the weight of ||w||^2 / 2 against the summed loss.
    """
    from sklearn.linear_model import LogisticRegression

    mean, std = features.mean(axis=0, dtype=float), features.std(axis=0, dtype=float)
    std[std < 1e-6] = 1.0
    weight = np.zeros((count, differences.shape[1]))
    for head in range(count):
        rows = differences[heads == head] / std
        model = LogisticRegression(C=1.0 / l2, fit_intercept=False, max_iter=1000)
        model.fit(np.concatenate([rows, -rows]), np.repeat([1, 0], len(rows)), np.full(2 * len(rows), 0.5))
        weight[head] = model.coef_[0] / std
    return {"weight": weight.astype(np.float32), "bias": (-weight @ mean).astype(np.float32)}


def pair_accuracy(
    heads: dict[str, np.ndarray], differences: np.ndarray, head: np.ndarray, names: Sequence[str]
) -> dict[str, float]:
    """Share of the pairs of each objective in the right order, as `validation_<objective>`."""
    margins = (differences * heads["weight"][head]).sum(axis=1)
    return {f"validation_{name}": float((margins[head == i] > 0).mean()) for i, name in enumerate(names) if i in head}


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
    return Probe(model, load_tokenizer(path), entry["layers"], entry["objectives"], heads)


def check_layers(backbone: Any, layers: Sequence[int]) -> Sequence[int]:
    """Raises ParamsError unless every layer is one of the backbone's."""
    top = backbone.config.num_hidden_layers
    if not layers or not all(0 <= layer <= top for layer in layers):
        raise ParamsError(f"layers {list(layers)} cannot be probed; give some of 0 (embeddings) to {top} (last)")
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
