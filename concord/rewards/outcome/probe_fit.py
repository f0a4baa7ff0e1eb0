"""Fits the heads of a probe: caches the features of all responses and fits regularised heads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from concord.lm import shared_prefixes as prefixes
from concord.rewards.outcome import probe as probes
from concord.rewards.outcome.examples import Example, Scales
from concord.rewards.outcome.head_fit import Thresholds, label_batch, losses
from concord.rewards.outcome.probe import Probe, weights_hash
from concord.stage import outputs
from concord.stage.errors import ModelError


class Features:
    """Features of many sequences, cached in a folder.

    The cache is used while backbone, layers, pooling, code and sequences are unchanged. Each
    distinct sequence is computed once.
    """

    def __init__(
        self, probe: Probe, backbone: Path, sequences: Iterable[Sequence[int]], folder: Path
    ) -> None:
        texts = list(dict.fromkeys(tuple(sequence) for sequence in sequences))
        self._row = {text: row for row, text in enumerate(texts)}
        key = _cache_key(backbone, probe, texts)
        table = _read_cache(folder, key)
        if table is None:
            table = probe.features([list(text) for text in texts])
            _write_cache(folder, key, table)
        self._table = table

    def lookup(self, sequences: Iterable[Sequence[int]]) -> np.ndarray:
        """Features float32 `(n, features)` of sequences that were given to the constructor."""
        return self._table[[self._row[tuple(sequence)] for sequence in sequences]]


def _cache_key(backbone: Path, probe: Probe, texts: Sequence[tuple[int, ...]]) -> str:
    """A hash of everything that the features depend on."""
    code = [Path(str(module.__file__)).read_bytes() for module in (probes, prefixes)]
    model = probe.backbone
    states = f"{list(probe.layers)} {list(probe.pooling)} {model.dtype} {model.device.type}"
    settings = f"{weights_hash(backbone)} {states}"
    digest = hashlib.blake2b(b" ".join([settings.encode(), *code]), digest_size=16)
    for text in texts:
        digest.update(np.array([len(text), *text], dtype=np.int64).tobytes())
    return digest.hexdigest()


def _read_cache(folder: Path, key: str) -> np.ndarray | None:
    """The cached features, None if there are none with this key."""
    from safetensors import safe_open

    file = folder / "features.safetensors"
    if not file.is_file():
        return None
    with safe_open(file, "numpy") as stored:
        same = (stored.metadata() or {}).get("key") == key
        return np.asarray(stored.get_tensor("features")) if same else None


def _write_cache(folder: Path, key: str, table: np.ndarray) -> None:
    from safetensors.numpy import save_file

    with outputs.directory(folder) as target:
        save_file({"features": table}, target / "features.safetensors", {"key": key})


def fit_heads(
    features: np.ndarray, examples: Sequence[Example], scales: Scales, count: int, l2: float
) -> tuple[dict[str, np.ndarray], Thresholds]:
    """Fits `count` linear heads and the thresholds of the grades.

    Minimises the summed loss of all labels plus l2 ||w||^2 / 2 for each head, independently of the
    other heads. Features are standardised for the fit; the returned weights apply to raw features.
    A response with mean features has score 0.

    Args:
        features: `(responses, features)`, the responses of all examples one after the other.
        examples: the labels.
        scales: the scales of the grades.
        count: number of heads.
        l2: strength of the regularisation.

    Returns the heads, `weight` `(count, features)` and `bias` `(count,)` in float32, and the
    thresholds. Raises ModelError if the loss is not finite.
    """
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    mean, std = features.mean(axis=0, dtype=float), features.std(axis=0, dtype=float)
    std[std < 1e-6] = 1.0
    table = torch.from_numpy((features - mean) / std)  # float64
    batch = label_batch(examples, [1.0] * len(examples))
    thresholds = Thresholds(scales).double()
    weight = torch.nn.Parameter(torch.zeros(count, table.shape[1], dtype=torch.float64))
    parameters = [weight, *thresholds.parameters()]

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        torch.nn.utils.vector_to_parameters(torch.from_numpy(point), parameters)
        orders, grades = losses(table @ weight.T, thresholds, batch)
        value = orders.sum() + (grades * batch["grade_weight"]).sum() + l2 / 2 * (weight**2).sum()
        gradients = torch.autograd.grad(
            value, parameters, allow_unused=True, materialize_grads=True
        )
        return value.item(), torch.cat([gradient.flatten() for gradient in gradients]).numpy()

    start = torch.nn.utils.parameters_to_vector(parameters).detach().numpy()
    result = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    if not np.isfinite(result.fun):
        raise ModelError(
            f"the heads cannot be fitted: {result.message}; check the features for values that are "
            "not finite, or raise l2"
        )
    torch.nn.utils.vector_to_parameters(torch.from_numpy(result.x), parameters)
    heads = weight.detach().numpy() / std
    return {
        "weight": heads.astype(np.float32),
        "bias": (-heads @ mean).astype(np.float32),
    }, thresholds
