"""Writes a policy at chosen weights as a whole folder that any engine can serve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from concord.lm.load import load_tokenizer
from concord.lm.usage import FRONT_MATTER, usage
from concord.stage import outputs
from concord.stage.errors import ParamsError
from concord.stage.params import Dtype, suggest

CARD = "README.md"


class Publishable:
    """A policy with `head_names`, `merge`, and `name_or_path`, the folder it was loaded from."""

    name_or_path: Any

    def publish(
        self,
        weights: Mapping[str, float],
        folder: str | Path,
        dtype: Dtype = "float32",
        strength: float = 1.0,
    ) -> None:
        """Writes the model at `weights`, its tokenizer, chat template, generation config and card.

        Args:
            weights: objective -> weight; a missing objective gets weight 0. They are normalised to
                sum to 1.
            folder: a folder that does not exist, or is empty.
            dtype: data type of the weights in the file.
            strength: as for `merge`.

        Raises:
            ParamsError: a weight is for an unknown objective, negative or not finite, no weight is
                positive, or the folder has content.
            ModelError: the policy was not loaded from a folder with a tokenizer, or it is no stock
                model at given weights.
        """
        target = Path(folder)
        if target.is_file() or (target.is_dir() and any(target.iterdir())):
            raise ParamsError(f"{folder} has content already; give a new or an empty folder")
        policy: Any = self
        shares = _shares(weights, policy.head_names)
        model = policy.merge(shares, strength)
        tokenizer = load_tokenizer(self.name_or_path)
        with outputs.directory(target) as partial:
            write_checkpoint(model, tokenizer, dtype, partial)
            card = _card(Path(self.name_or_path), shares, target, tokenizer, model)
            outputs.write_text(partial / CARD, card)


def write_checkpoint(model: Any, tokenizer: Any, dtype: str, folder: Path) -> None:
    """Writes a stock model, its generation config and its tokenizer with the chat template.

    The end of sequence and padding of generation are the tokenizer's, if the model has none.
    """
    import torch

    config = model.generation_config
    if config.eos_token_id is None:
        config.eos_token_id = tokenizer.eos_token_id
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _shares(weights: Mapping[str, float], names: list[str]) -> dict[str, float]:
    """All weights, normalised if their sum is positive and finite; `merge` refuses the others."""
    for name in weights:
        if name not in names:
            raise ParamsError(
                f"weights.{name}: the policy has no head {name}; {suggest(name, names)}"
            )
    total = sum(weights.values())
    scale = total if 0 < total < float("inf") else 1.0
    return {name: weights.get(name, 0.0) / scale for name in names}


def _card(
    policy: Path, weights: Mapping[str, float], folder: Path, tokenizer: Any, model: Any
) -> str:
    rows = "\n".join(f"| {name} | {weight:.4f} |" for name, weight in weights.items())
    return f"""---
{FRONT_MATTER}---

# {policy.name} at chosen weights

A `{type(model).__name__}` that Concord merged from the policy `{policy.as_posix()}` at these \
weights of its objectives:

| objective | weight |
|---|---|
{rows}

It was not evaluated at these weights. The run that trained the policy has its figures at other \
weights in `reports/policies/{policy.name}.json`, and its data in `reports/data.json`.

{usage(folder, tokenizer)}"""
