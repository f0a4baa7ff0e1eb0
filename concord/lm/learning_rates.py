"""Learning rates per parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def separate(
    optimizer: torch.optim.Optimizer, model: torch.nn.Module, rates: Mapping[str, float]
) -> None:
    """Gives parameters with their own learning rate their own groups in `optimizer`, in place.

    `rates` maps a prefix of parameter names to the peak learning rate of these parameters.
    """
    parameters = dict(model.named_parameters())
    by_id = {
        id(parameters[name]): rate
        for prefix, rate in rates.items()
        for name in parameters
        if name.startswith(prefix)
    }
    for group in list(optimizer.param_groups):
        custom = [parameter for parameter in group["params"] if id(parameter) in by_id]
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in by_id]
        for parameter in custom:
            optimizer.add_param_group({**group, "params": [parameter], "lr": by_id[id(parameter)]})
