"""Fits linear heads, and keeps the features that they are fitted to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from concord.lm import shared_prefixes as prefixes
from concord.rewards.outcome import probe as probes
from concord.rewards.outcome.examples import Example, Scales
from concord.rewards.outcome.head_fit import LabelBatch, Thresholds, label_batch, losses
from concord.rewards.outcome.probe import Probe, weights_hash
from concord.stage.errors import ModelError
from concord.stage.kept_results import KeptResults

Strength = float | np.ndarray
"""L2 penalty: one number for all heads, or `(heads,)`."""


class Features:
    """Features of many sequences, kept in a folder (`kept_features`).

    Each distinct sequence is computed once.
    """

    def __init__(
        self, probe: Probe, backbone: Path, sequences: Iterable[Sequence[int]], folder: Path
    ) -> None:
        texts = list(dict.fromkeys(tuple(sequence) for sequence in sequences))
        self._row = {text: row for row, text in enumerate(texts)}
        settings = f"{list(probe.layers)} {list(probe.pooling)}"
        with kept_features(folder, backbone, probe.backbone, settings) as kept:
            self._table = probe.features([list(text) for text in texts], keep=kept.part)

    def lookup(self, sequences: Iterable[Sequence[int]]) -> np.ndarray:
        """Features float32 `(n, features)` of sequences that were given to the constructor."""
        return self._table[[self._row[tuple(sequence)] for sequence in sequences]]


def kept_features(folder: Path, backbone: Path, model: Any, settings: str) -> KeptResults:
    """The features in a folder, for the same backbone, settings, code, libraries and machine setup.

    Args:
        folder: where they are.
        backbone: folder of the backbone.
        model: the backbone.
        settings: what is read of it.
    """
    code = [Path(str(module.__file__)).read_bytes() for module in (probes, prefixes)]
    decisive = [weights_hash(backbone), settings, str(model.dtype), model.device.type]
    decisive += [str(torch.get_num_threads()), torch.__version__, transformers.__version__]
    digest = hashlib.blake2b(b" ".join([" ".join(decisive).encode(), *code]), digest_size=16)
    return KeptResults(folder / "features.sqlite", digest.hexdigest())


class LinearFit:
    """Labels and standardised features, to which linear heads are fitted with any strength.

    The fit minimises the summed loss of all labels plus l2 ||w||^2 / 2 for each head. The heads do
    not depend on each other. A response with mean features has score 0.

    Args:
        features: `(responses, features)`.
        batch: the labels; its members are rows of `features`.
        scales: the scales of the grades.
        count: number of heads.
    """

    def __init__(self, features: np.ndarray, batch: LabelBatch, scales: Scales, count: int) -> None:
        self._mean, self._std = (
            features.mean(axis=0, dtype=float),
            features.std(axis=0, dtype=float),
        )
        self._std[self._std < 1e-6] = 1.0
        self._table = torch.from_numpy((features - self._mean) / self._std)  # float64
        self._batch = batch
        self.thresholds = Thresholds(scales).double()
        """The thresholds of the last fit."""
        self._weight = torch.nn.Parameter(
            torch.zeros(count, self._table.shape[1], dtype=torch.float64)
        )

    def fit(self, l2: Strength) -> dict[str, np.ndarray]:
        """Fits from the solution of the last fit, or from 0.

        Returns `weight` `(heads, features)` and `bias` `(heads,)` in float32, for raw features.
        Raises ModelError if the loss is not finite.
        """
        from scipy.optimize import minimize  # type: ignore[import-untyped]

        parameters = [self._weight, *self.thresholds.parameters()]

        def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
            torch.nn.utils.vector_to_parameters(torch.from_numpy(point), parameters)
            orders, grades = losses(self._table @ self._weight.T, self.thresholds, self._batch)
            value = orders.sum() + (grades * self._batch["grade_weight"]).sum() + self._penalty(l2)
            gradients = torch.autograd.grad(
                value, parameters, allow_unused=True, materialize_grads=True
            )
            return value.item(), torch.cat([gradient.flatten() for gradient in gradients]).numpy()

        start = torch.nn.utils.parameters_to_vector(parameters).detach().numpy()
        result = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
        if not np.isfinite(result.fun):
            raise ModelError(
                f"the heads cannot be fitted: {result.message}; check the features for values that "
                "are not finite, or raise l2"
            )
        torch.nn.utils.vector_to_parameters(torch.from_numpy(result.x), parameters)
        heads = self._weight.detach().numpy() / self._std
        return {
            "weight": heads.astype(np.float32),
            "bias": (-heads @ self._mean).astype(np.float32),
        }

    def _penalty(self, l2: Strength) -> torch.Tensor:
        if isinstance(l2, np.ndarray):
            return (torch.from_numpy(l2 / 2) * (self._weight**2).sum(dim=1)).sum()
        return l2 / 2 * (self._weight**2).sum()


def fit_heads(
    features: np.ndarray, examples: Sequence[Example], scales: Scales, count: int, l2: Strength
) -> tuple[dict[str, np.ndarray], Thresholds]:
    """Fits `count` linear heads and the thresholds of the grades; see `LinearFit`.

    `features` `(responses, features)` has the responses of all examples one after the other.
    """
    fit = LinearFit(features, label_batch(examples, [1.0] * len(examples)), scales, count)
    return fit.fit(l2), fit.thresholds
