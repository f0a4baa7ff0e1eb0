"""The stock checkpoint of a policy at chosen weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from concord.lm.load import load_causal, load_tokenizer
from concord.lm.precision import kept_share
from concord.stage.errors import ParamsError
from concord.stage.paths import SFT

SMALLEST_KEPT_SHARE = 0.9
"""Smallest share of what training changed that the data type of a file must keep."""


def write(
    policy: Path, weights: Mapping[str, float], dtype: str, folder: Path, strength: float = 1.0
) -> None:
    """Writes model and tokenizer of `policy`, merged at `weights`, into `folder`.

    A policy that is not steerable is written as it is. Raises ParamsError if `dtype` would round
    away most of what training changed.

    Args:
        policy: folder of the policy.
        weights: objective -> weight; a missing objective gets weight 0.
        dtype: data type of the weights in the file, such as `float32`.
        folder: an existing folder.
        strength: scales the difference from the SFT model (`merge` of the policy).
    """
    from concord.policies.publish import write_checkpoint
    from concord.policies.steerable import Steerable, load

    model = load(policy)
    if isinstance(model, Steerable):
        full = {name: weights.get(name, 0.0) for name in model.head_names}
        model = model.merge(full, strength)
    if dtype != "float32":
        _check_rounding(model, dtype)
    write_checkpoint(model, load_tokenizer(policy), dtype, folder)


def _check_rounding(model: Any, dtype: str) -> None:
    """Raises ParamsError if the difference from the SFT model does not survive rounding."""
    sft = load_causal(SFT)
    output = (each.get_output_embeddings().weight.detach() for each in (model, sft))
    matrices = {"output matrix": tuple({"weight": matrix} for matrix in output)}
    layers = {"layers": (model.base_model.state_dict(), sft.base_model.state_dict())}
    for name, (after, before) in (matrices | layers).items():
        if (share := kept_share(before, after, dtype)) < SMALLEST_KEPT_SHARE:
            raise ParamsError(
                f"export.dtype is {dtype}, which would keep only {share:.0%} of what training "
                f"changed in the {name}; set export.dtype: float32"
            )


def digest(path: Path) -> str:
    """SHA-256 over the names and contents of all files of a folder, or over a single file."""
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            total.update(str(file.relative_to(path)).encode() + b"\0")
            with file.open("rb") as content:
                total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()
