"""Mixed precision: parameters in float32, matrix products in the data type of the recipe.

bfloat16 has 8 significant bits. An update of 1e-6 to a weight of 0.02 would be rounded away, so a
model that is trained keeps its parameters in float32, and only its computations use bfloat16
(Micikevicius et al., arXiv 1710.03740).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def autocast(device: Any, dtype: str) -> AbstractContextManager[Any]:
    """A context in which matrix products are computed in `dtype`; float32 changes nothing.

    Only forward passes belong into it. A backward pass uses the data types of its forward pass.
    """
    import torch

    if dtype == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, getattr(torch, dtype))


def kept_share(before: Mapping[str, Tensor], after: Mapping[str, Tensor], dtype: str) -> float:
    """How much of the change between two sets of weights is left after rounding both to `dtype`.

    This is the projection of the rounded change on the change: 1 if rounding loses nothing, 0 if it
    undoes the change. It is 1 if nothing changed.

    Args:
        before: name -> weights.
        after: the same names -> weights of the same shapes.
        dtype: name of a torch data type.
    """
    import torch

    rounded, kept, total = getattr(torch, dtype), 0.0, 0.0
    for name, end in after.items():
        start, end = before[name].float(), end.float()
        change = (end - start).double()
        left = (end.to(rounded).double() - start.to(rounded).double()).mul_(change)
        kept, total = kept + float(left.sum()), total + float(change.square_().sum())
    return kept / total if total else 1.0
