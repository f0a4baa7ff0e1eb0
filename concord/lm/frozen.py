"""A frozen backbone that is read up to the highest layer of interest.

The layers above are removed, so they take neither time nor memory. The states of the layers that
are left are those of the whole model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from concord.lm.load import load_causal
from concord.stage.errors import ParamsError


def load_frozen(path: str | Path, layers: Sequence[int], device: Any, dtype: str) -> Any:
    """The backbone of the causal language model at `path`, without layers above all of `layers`.

    Raises ParamsError if `layers` is empty or has a layer that the model does not have.
    """
    backbone = load_causal(path, device, dtype).base_model
    check_layers(backbone, layers)
    stop_after(backbone, max(layers))
    return backbone


def check_layers(backbone: Any, layers: Sequence[int]) -> Sequence[int]:
    """Returns `layers`; raises ParamsError if it is empty or contains an unknown layer."""
    top = backbone.config.num_hidden_layers
    if not layers or not all(0 <= layer <= top for layer in layers):
        raise ParamsError(
            f"layers {list(layers)} cannot be probed; choose one or more from 0 (embeddings) to "
            f"{top} (last)"
        )
    return layers


def stop_after(backbone: Any, layer: int) -> bool:
    """Removes the layers after `layer` (0 stands for the embeddings); returns whether it could.

    A model whose states would change is left whole, and a line says so. At least one layer is kept.
    """
    import torch

    kept, total = max(1, layer), backbone.config.num_hidden_layers
    if kept >= total:
        return False
    before = _states(backbone)[layer]
    stacks = {
        name: module
        for name, module in backbone.named_children()
        if isinstance(module, torch.nn.ModuleList) and len(module) == total
    }
    original = _shorten(backbone.config, kept)
    for name, stack in stacks.items():
        setattr(backbone, name, stack[:kept])
    after = _states(backbone)
    if stacks and len(after) == kept + 1 and torch.equal(after[layer], before):
        return True
    for name, stack in stacks.items():
        setattr(backbone, name, stack)
    for name, value in original.items():
        setattr(backbone.config, name, value)
    print(f"{type(backbone).__name__} cannot be stopped after layer {layer}: all layers are run")
    return False


def _shorten(config: Any, layers: int) -> dict[str, Any]:
    """Sets the number of layers of a configuration; returns the attributes as they were."""
    # Untied, the state of the last layer is the one before the final norm, as in the whole model.
    changed: dict[str, Any] = {"num_hidden_layers": layers, "tie_last_hidden_states": False}
    if getattr(config, "layer_types", None) is not None:
        changed["layer_types"] = list(config.layer_types)[:layers]
    original = {name: getattr(config, name, None) for name in changed}
    for name, value in changed.items():
        setattr(config, name, value)
    return original


def _states(backbone: Any) -> Any:
    """The hidden states of a short sequence, a tensor per layer."""
    import torch

    ids = torch.arange(8, device=backbone.device)[None] % backbone.config.vocab_size
    with torch.inference_mode():
        return backbone(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
