"""Training of action heads on preference pairs, for all methods that have pairs.

The methods differ in their heads and in their pairs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from concord.lm.load import load_tokenizer
from concord.lm.lora import merge
from concord.lm.precision import autocast
from concord.lm.train import Row, Training, fit
from concord.policies.job import PolicyJob
from concord.policies.pair_sources import input_files
from concord.policies.preference_settings import PreferenceParams, loss_weights
from concord.policies.trained_parameters import head_learning_rates, prepare_backbone
from concord.stage import plugins, resume, runtime
from concord.stage.paths import SFT

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from concord.policies.balanced_batches import PairBatch
    from concord.policies.gradient_conflict import GradientConflict
    from concord.policies.model import MultiHeadCausalLM
    from concord.policies.training_pairs import Pair


def train(
    job: PolicyJob,
    groups: Mapping[str, list[Pair]],
    heads: Mapping[str, int],
    names: list[str],
    module_file: str,
    shares: Mapping[str, float] | None = None,
    alpha: Mapping[str, float] | None = None,
    conflict: GradientConflict | None = None,
) -> MultiHeadCausalLM:
    """Trains the SFT model with one head per name on batches balanced over `groups`.

    Args:
        groups: the pairs by group.
        heads: group -> index in `names` of the head that learns from it. Pairs with `weights` are
            learned by that mix of the heads.
        names: the heads.
        module_file: `__file__` of the method; its code is part of the key of the checkpoints.
        shares: group -> its share of each batch; equal if None.
        alpha: group -> its loss weight; from `job.params.alpha` if None.
        conflict: measures the gradients of the heads on the backbone, or combines them; None: plain
            training.
    """
    device = runtime.start(job.runtime, job.seeds.data)
    model = new_model(job.params, names, device)
    fit_pairs(
        job,
        model,
        groups,
        heads,
        training=job.params.training,
        untrained=True,
        work=resume.folder(job.stage, [job, names], input_files(job.params), module_file),
        curve=job.curve,
        shares=shares,
        alpha=alpha,
        conflict=conflict,
    )
    return model


def new_model(params: PreferenceParams, names: Sequence[str], device: Any) -> MultiHeadCausalLM:
    """The SFT model with one head per name, before training."""
    from concord.policies.model import MultiHeadCausalLM

    adapter_rank = params.head_adapters.rank if params.head_adapters else None
    return MultiHeadCausalLM.from_sft(SFT, names, params.head_rank, adapter_rank, device=device)


def new_reference(device: Any) -> MultiHeadCausalLM:
    """The SFT model with one head, as the reference of the loss."""
    from concord.policies.model import MultiHeadCausalLM

    return MultiHeadCausalLM.from_sft(SFT, ["reference"], device=device)


def fit_pairs(
    job: PolicyJob,
    model: MultiHeadCausalLM,
    groups: Mapping[str, list[Pair]],
    heads: Mapping[str, int],
    *,
    training: Training,
    untrained: bool,
    work: Path,
    curve: Path,
    shares: Mapping[str, float] | None = None,
    alpha: Mapping[str, float] | None = None,
    conflict: GradientConflict | None = None,
) -> None:
    """Trains `model` in place on batches balanced over `groups`.

    Args:
        job: the policy to train.
        model: the policy before training.
        training: optimisation settings of this fit.
        untrained: whether `model` is a new one, which then is the reference of the loss. Otherwise
            the SFT model is loaded.
        work: folder of the checkpoints.
        curve: file of the training curve.
        groups, heads, shares, alpha, conflict: see `train`.
    """
    from concord.policies.balanced_batches import collate, pair_length
    from concord.policies.reference_logprobs import add_reference
    from concord.policies.shared_tokens import can_pack

    params, names, tokenizer = job.params, model.head_names, load_tokenizer(SFT)
    rows, training = balanced_rows(job, groups, heads, names, training, shares, alpha)
    with autocast(model.device, job.runtime.dtype):
        reference = model if untrained else new_reference(model.device)
        add_reference(rows, reference, tokenizer.pad_token_id)
        del reference
    batches = collate(
        tokenizer.pad_token_id,
        share_tokens=can_pack(model),
        by_mix=model.config.adapter_rank is not None,
    )
    prepare_backbone(model, params, job.seeds.data)
    if conflict is not None and (newest := resume.newest(work)) is not None:
        conflict.resume_at(resume.step_of(newest))
    fit(
        model,
        rows,
        batches,
        make_loss(names, params, conflict),
        training,
        seed=job.seeds.data,
        work=work,
        curve=curve,
        order="given",
        length=pair_length,
        rates=head_learning_rates(model, params),
        dtype=job.runtime.dtype,
        label=f"policy {job.name}",
        report_to=job.runtime.report_to,
        restart=conflict.restart if conflict is not None else None,
    )
    if params.lora is not None:
        merge(model.backbone)


def balanced_rows(
    job: PolicyJob,
    groups: Mapping[str, list[Pair]],
    heads: Mapping[str, int],
    names: Sequence[str],
    training: Training,
    shares: Mapping[str, float] | None = None,
    alpha: Mapping[str, float] | None = None,
) -> tuple[list[Row], Training]:
    """The rows of all batches, in order, and `training` in steps; arguments as in `train`."""
    from concord.policies.balanced_batches import balance
    from concord.policies.reference_logprobs import encode_pairs

    pairs = encode_pairs(groups, heads, names, load_tokenizer(SFT), job.max_length)
    training, steps = epochs_to_steps(training, sum(map(len, pairs.values())))
    rows = balance(
        pairs,
        alpha or loss_weights(job.params.alpha, sorted(groups)),
        steps=steps,
        batch_size=training.batch_size,
        seed=job.seeds.data,
        shares=shares,
    )
    return rows, training


def epochs_to_steps(training: Training, pairs: int) -> tuple[Training, int]:
    """Converts `epochs` to `steps`; returns the updated Training and the step count.

    Examples:
        >>> training = Training(learning_rate=1e-3, batch_size=6, epochs=2.0)
        >>> epochs_to_steps(training, pairs=20)[1]
        7
    """
    steps = training.steps or math.ceil((training.epochs or 0.0) * pairs / training.batch_size)
    return dataclasses.replace(training, steps=steps, epochs=None), steps


def make_loss(
    names: Sequence[str], params: PreferenceParams, conflict: GradientConflict | None = None
) -> Callable[[Any, PairBatch], tuple[Any, dict[str, float]]]:
    """The loss function for `fit`, which also returns the metrics of the training curve.

    One forward pass covers chosen and rejected responses, each row with its own head. The loss is
    the sum over pairs of weight times loss. The weight of a pair is alpha_i / n_i, where n_i is the
    number of pairs of objective i in the global batch (`row_weights`). The losses of micro-batches
    and processes therefore add up to exactly the loss of the global batch, and an objective without
    pairs contributes exactly 0. `conflict` is as in `train`.
    """
    from concord.policies.losses import PairLogprobs
    from concord.policies.model import IGNORED

    pairwise = plugins.function("concord.policies.losses", params.loss)

    def loss(model: Any, batch: PairBatch) -> tuple[Any, dict[str, float]]:
        whole = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
        inputs: Mapping[str, Any] = batch.get("packed", whole)
        out = model(**inputs, head_weights=batch["head_weights"], use_cache=False)
        chosen, rejected = out.logprobs.chunk(2)
        tokens = (batch["labels"] != IGNORED).sum(dim=1).chunk(2)
        reference_chosen, reference_rejected = batch["reference"]
        required = reference_chosen + batch["margin"]
        pairs = PairLogprobs(chosen, rejected, required, reference_rejected, *tokens)
        beta = params.beta * batch["sharpness"]
        values = batch["weights"] * pairwise(pairs, beta, **params.loss_parameters)
        mix = batch["head_weights"][: len(values)]
        metrics = curve_metrics(pairs.delta, mix, names)
        if conflict is None:
            return values.sum(), metrics
        by_head = {name: (values * mix[:, head]).sum() for head, name in enumerate(names)}
        used = {name: by_head[name] for head, name in enumerate(names) if mix[:, head].any()}
        addend, measured = conflict(model, used)
        return values.sum() + addend, metrics | measured

    return loss


def curve_metrics(delta: Tensor, mix: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Accuracy and mean of `delta` over all pairs and per head; NaN for a head without pairs.

    A pair counts as accurate if its delta is positive. Pairs that are learned by several heads
    count for none of them.

    Args:
        delta: `(pairs,)`, see `PairLogprobs.delta`.
        mix: `(pairs, heads)`, see `PairBatch`.
        names: the heads.
    """
    import torch

    with torch.no_grad():
        result = {"accuracy": float((delta > 0).float().mean()), "delta": float(delta.mean())}
        for head, name in enumerate(names):
            of_head = delta[mix[:, head] == 1]
            result[f"accuracy.{name}"] = float((of_head > 0).float().mean())
            result[f"delta.{name}"] = float(of_head.mean())
    return result
