"""Fitting the heads of a probe: features of all answers, computed once and kept, and L2-regularised heads on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from concord.lm import shared_prefixes as prefixes
from concord.rewards.outcome import probe as probes
from concord.rewards.outcome.examples import Example, Scales
from concord.rewards.outcome.head_fit import Thresholds, gathered, losses
from concord.rewards.outcome.probe import Probe, weights_hash
from concord.stage import outputs
from concord.stage.errors import ModelError


class Features:
    """Features of many sequences, each computed once; kept in a folder, and read from there while all that they were
    computed from stays as it was."""

    def __init__(
        self, probe: Probe, backbone: Path, sequences: Iterable[Sequence[int]], folder: Path
    ) -> None:
        texts = list(dict.fromkeys(tuple(sequence) for sequence in sequences))
        self._place = {text: index for index, text in enumerate(texts)}
        key = _key(backbone, probe, texts)
        found = _kept(folder, key)
        if found is None:
            found = probe.features([list(text) for text in texts])
            _keep(folder, key, found)
        self._table = found

    def of(self, sequences: Iterable[Sequence[int]]) -> np.ndarray:
        """float32 `[n, D]`."""
        return self._table[[self._place[tuple(sequence)] for sequence in sequences]]


def _key(backbone: Path, probe: Probe, texts: Sequence[tuple[int, ...]]) -> str:
    code = [Path(str(module.__file__)).read_bytes() for module in (probes, prefixes)]
    states = f"{list(probe.layers)} {list(probe.pooling)} {probe.backbone.dtype} {probe.backbone.device.type}"
    how = f"{weights_hash(backbone)} {states}"
    digest = hashlib.blake2b(b" ".join([how.encode(), *code]), digest_size=16)
    for text in texts:
        digest.update(np.array([len(text), *text], dtype=np.int64).tobytes())
    return digest.hexdigest()


def _kept(folder: Path, key: str) -> np.ndarray | None:
    from safetensors import safe_open

    file = folder / "features.safetensors"
    if not file.is_file():
        return None
    with safe_open(file, "numpy") as stored:
        same = (stored.metadata() or {}).get("key") == key
        return np.asarray(stored.get_tensor("features")) if same else None


def _keep(folder: Path, key: str, table: np.ndarray) -> None:
    from safetensors.numpy import save_file

    with outputs.directory(folder) as target:
        save_file({"features": table}, target / "features.safetensors", {"key": key})


def fit_heads(
    features: np.ndarray, examples: Sequence[Example], scales: Scales, count: int, l2: float
) -> tuple[dict[str, np.ndarray], Thresholds]:
    """`count` heads, and thresholds of the grades, from the features `[n, D]` of all answers of the examples.

    Features are standardised first, which is folded into the weights again; a response with mean features scores 0.
    Minimises the summed loss of all labels plus l2 ||w||^2 / 2 for each head, which no other head has a share in.
    """
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    mean, std = features.mean(axis=0, dtype=float), features.std(axis=0, dtype=float)
    std[std < 1e-6] = 1.0
    table = torch.from_numpy((features - mean) / std)  # float64
    batch = gathered(examples, [1.0] * len(examples))
    thresholds = Thresholds(scales).double()
    weight = torch.nn.Parameter(torch.zeros(count, table.shape[1], dtype=torch.float64))
    learnt = [weight, *thresholds.parameters()]

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        torch.nn.utils.vector_to_parameters(torch.from_numpy(point), learnt)
        orders, grades = losses(table @ weight.T, thresholds, batch)
        value = orders.sum() + (grades * batch["grade_weight"]).sum() + l2 / 2 * (weight**2).sum()
        gradients = torch.autograd.grad(value, learnt, allow_unused=True, materialize_grads=True)
        return value.item(), torch.cat([gradient.flatten() for gradient in gradients]).numpy()

    start = torch.nn.utils.parameters_to_vector(learnt).detach().numpy()
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    if not np.isfinite(found.fun):
        raise ModelError(
            f"the heads cannot be fitted: {found.message}; look for values that are not finite, or raise l2"
        )
    torch.nn.utils.vector_to_parameters(torch.from_numpy(found.x), learnt)
    heads = weight.detach().numpy() / std
    return {
        "weight": heads.astype(np.float32),
        "bias": (-heads @ mean).astype(np.float32),
    }, thresholds
