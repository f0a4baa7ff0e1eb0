"""Models between two models, in the space of their parameters."""

import copy
from typing import Any

import torch


def interpolated(reference: Any, model: Any, scale: float) -> Any:
    """A copy of `model` with the parameters reference + scale * (model - reference).

    Scale 0 gives the reference, 1 gives `model`, and values in between trade the effect of the
    training for closeness to the reference (Wortsman et al., arXiv 2109.01903; towards the initial
    policy: arXiv 2406.16768). Every policy that was trained from the reference can be moved so,
    whatever its method, and so policies can be compared at equal KL.

    Args:
        reference: the model that training started from.
        model: a model with the same architecture. Its output matrix may be tied or not.
        scale: a finite number, not negative.
    """
    mixed = copy.deepcopy(model)
    start, end = reference.state_dict(), model.state_dict()
    if start.keys() != end.keys():
        different = sorted(start.keys() ^ end.keys())
        raise ValueError(f"the models have different parameters, such as {different[0]}")
    if scale != 1:
        mixed.load_state_dict({name: torch.lerp(start[name], end[name], scale) for name in end})
    return mixed
