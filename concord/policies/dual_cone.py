"""Projection onto the dual cone of gradients, for torchjd's UPGrad.

torchjd's own projector needs quadprog, which has the licence GPL. This one needs SciPy.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls  # type: ignore[import-untyped]
from torch import Tensor
from torchjd.linalg import DualConeProjector

REGULARISATION = 1e-4
"""Share of the trace. Losses may rise by this share of sum_i |g_i|^2, times their weight."""


class LeastSquaresProjector(DualConeProjector):
    """Solves min v^T G v with v >= u by non-negative least squares.

    With v = u + x and G = R^T R, it is min |R x + R u| with x >= 0. As in torchjd's projector, a
    share of the trace is added to the diagonal of G. Otherwise, opposed gradients would get huge
    weights, because rounding leaves a small difference between them.
    """

    def __call__(self, U: Tensor, G: Tensor) -> Tensor:  # noqa: N803 (torchjd's names)
        """The weights v of the projections, with the shape of `U`.

        Args:
            U: `(vectors, m)`: the weights u of the vectors to project.
            G: `(m, m)`: the Gramian of the gradients, positive semi-definite.
        """
        values, vectors = np.linalg.eigh((G / G.trace()).double().cpu().numpy())
        root = np.sqrt(values.clip(min=0) + REGULARISATION)[:, None] * vectors.T
        weights = [u + nnls(root, -root @ u)[0] for u in U.double().cpu().numpy()]
        return torch.as_tensor(np.array(weights), dtype=U.dtype, device=U.device)
