"""Training of action heads on preference pairs, shared by `mah_dpo` and `dpo`.

The two methods differ only in their heads and in their pairs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.load import load_tokenizer
from concord.lm.lora import Lora, attach, merge
from concord.lm.precision import autocast
from concord.lm.train import Training, fit
from concord.objectives import check_weights
from concord.policies.job import ANNOTATED, RATED, ROLLOUTS, PolicyJob
from concord.stage import outputs, plugins, resume, runtime
from concord.stage.params import FORBID, suggest
from concord.stage.paths import ANCHORS, SFT

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from concord.policies.balanced_batches import PairBatch
    from concord.policies.gradient_conflict import GradientConflict
    from concord.policies.model import MultiHeadCausalLM
    from concord.policies.training_pairs import Pair


@dataclass(frozen=True, config=FORBID, kw_only=True)
class HeadAdapters:
    """A low-rank adapter per head on every linear layer of the backbone."""

    rank: Annotated[int, Field(ge=1)] = 8
    """Rank of each update."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Peak learning rate of the adapters."""


class HeadSettings(Protocol):
    """What decides which parameters of a model with heads are trained, and how fast."""

    @property
    def head_learning_rate(self) -> float | None: ...
    @property
    def head_adapters(self) -> HeadAdapters | None: ...
    @property
    def heads_only(self) -> bool: ...
    @property
    def lora(self) -> Lora | None: ...


@dataclass(frozen=True, config=FORBID, kw_only=True)
class PreferenceParams:
    """The parameters of all methods that train on preference pairs."""

    training: Training
    """Optimisation settings; `batch_size` counts pairs."""
    pairs: Literal["rollouts", "annotations", "both", "ratings"] = "rollouts"
    """Source of the pairs: best and worst samples of the rollouts, human comparisons, or both; or
    best and worst of the answers to a prompt that people rated."""
    min_gap: Annotated[float, Field(ge=0)] = 0.5
    """Smallest difference of a rollout pair, in standard deviations of the reward, or of the
    weighted sum, that chooses it, under the SFT model."""
    pairs_per_prompt: Annotated[int, Field(ge=1)] = 1
    """Largest number of pairs of a prompt and a score: the best and the worst of the K samples,
    then the second best and the second worst, and so on, as long as they differ by `min_gap`."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """Strength of the regularisation towards the reference model."""
    loss: Annotated[str, plugins.named("concord.policies.losses")] = "dpo"
    """A function of concord/policies/losses.py."""
    loss_parameters: dict[str, float] = Field(default_factory=dict)
    """Values for the loss function's arguments that have a default."""
    alpha: dict[str, float] = Field(default_factory=dict)
    """Weight of each objective's loss, normalised to sum to 1. Missing objectives get weight 0; all
    objectives are weighted equally if none is given."""
    head_rank: Annotated[int, Field(ge=1)] | None = None
    """Rank of the difference between a head and the SFT model's output matrix; null: full rank."""
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of the heads; null: the learning rate of `training`. A higher value leaves
    less to the shared backbone, so the weights have more effect at inference."""
    head_adapters: HeadAdapters | None = None
    """Gives each head an adapter on every linear layer, beside its output matrix; null: none."""
    heads_only: bool = False
    """Whether to freeze the backbone, apart from the adapters of the heads."""
    lora: Lora | None = None
    """Trains low-rank adapters instead of the backbone's weights; merged after training."""

    def __post_init__(self) -> None:
        allowed = plugins.defaults("concord.policies.losses", self.loss)
        for name in self.loss_parameters:
            if name not in allowed:
                raise ValueError(
                    f"loss_parameters.{name} is unknown; {suggest(name, list(allowed))}"
                )
        if self.heads_only and self.lora is not None:
            raise ValueError(
                "`heads_only` freezes the backbone and `lora` trains it; give only one of them"
            )


def loss_weights(alpha: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """The loss weight of each objective in `names`, normalised to sum to 1.

    All weights are equal if `alpha` is empty. Raises ParamsError if `alpha` names an objective that
    is not in `names`.

    Examples:
        >>> loss_weights({"helpful": 3.0, "honest": 1.0}, ["helpful", "honest"])
        {'helpful': 0.75, 'honest': 0.25}
        >>> loss_weights({}, ["helpful", "honest"])
        {'helpful': 0.5, 'honest': 0.5}
    """
    check_weights(alpha, dict.fromkeys(names), "alpha")
    given = {name: alpha.get(name, 0.0) if alpha else 1.0 for name in names}
    return {name: value / sum(given.values()) for name, value in given.items()}


def trained_objectives(params: PreferenceParams, vector: Sequence[str]) -> list[str]:
    """The objectives of the reward vector with a positive loss weight."""
    return [name for name in vector if not params.alpha or params.alpha.get(name, 0.0) > 0]


class Trained(Protocol):
    """The parameters of a method that trains on batches."""

    @property
    def training(self) -> Training:
        """Optimisation settings."""
        ...


def batch_size_problems(
    params: Trained, groups: Sequence[str], needed: int | None = None
) -> Iterator[str]:
    """Yields a message if a batch cannot hold one row of each of `groups`.

    `needed` is the smallest batch that can; by default, the number of groups.
    """
    needed = len(groups) if needed is None else needed
    if (size := params.training.batch_size) < needed:
        yield (
            f"training.batch_size: a batch of {size} rows cannot hold one row of each of "
            f"{len(groups)} groups ({', '.join(groups)}); raise it to {needed} or more"
        )


def pairs_by_objective(job: PolicyJob) -> dict[str, list[Pair]]:
    """Objective -> its pairs, from the sources in `job.params.pairs`.

    Covers the objectives of the reward vector with a positive loss weight.
    """
    from concord.policies import training_pairs as pairs
    from concord.policies.scored_answers import scored_answers

    names = [
        name for name, weight in loss_weights(job.params.alpha, job.vector).items() if weight > 0
    ]
    parts = []
    if job.params.pairs != "annotations":
        answers, anchors = scored_answers(job)
        parts.append(
            pairs.by_objective(
                answers,
                job.objectives,
                names,
                anchors,
                job.params.min_gap,
                job.params.pairs_per_prompt,
            )
        )
    if job.params.pairs in ("annotations", "both"):
        parts.append(pairs.from_annotations(outputs.read_table(ANNOTATED), names))
    return pairs.merge_groups(*parts)


def input_files(params: PreferenceParams) -> list[Path]:
    """The files and folders that training with `params.pairs` reads."""
    tables = {
        "rollouts": [ROLLOUTS, ANCHORS],
        "annotations": [ANNOTATED],
        "both": [ROLLOUTS, ANCHORS, ANNOTATED],
        "ratings": [RATED],
    }
    return [SFT, *tables[params.pairs]]


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
        groups: see `train`.
        heads: see `train`.
        training: optimisation settings of this fit.
        untrained: whether `model` is a new one, which then is the reference of the loss. Otherwise
            the SFT model is loaded.
        work: folder of the checkpoints.
        curve: file of the training curve.
        shares: see `train`.
        alpha: see `train`.
        conflict: see `train`.
    """
    from concord.policies.balanced_batches import balance, collate, pair_length
    from concord.policies.reference_logprobs import add_reference, encode_pairs
    from concord.policies.shared_tokens import can_pack

    params, names = job.params, model.head_names
    tokenizer = load_tokenizer(SFT)
    pairs = encode_pairs(groups, heads, names, tokenizer, job.max_length)
    training, steps = epochs_to_steps(training, sum(map(len, pairs.values())))
    rows = balance(
        pairs,
        alpha or loss_weights(params.alpha, sorted(groups)),
        steps=steps,
        batch_size=training.batch_size,
        seed=job.seeds.data,
        shares=shares,
    )
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
    )
    if params.lora is not None:
        merge(model.backbone)


def epochs_to_steps(training: Training, pairs: int) -> tuple[Training, int]:
    """Converts `epochs` to `steps`; returns the updated Training and the step count.

    Examples:
        >>> training = Training(learning_rate=1e-3, batch_size=6, epochs=2.0)
        >>> epochs_to_steps(training, pairs=20)[1]
        7
    """
    steps = training.steps or math.ceil((training.epochs or 0.0) * pairs / training.batch_size)
    return dataclasses.replace(training, steps=steps, epochs=None), steps


def head_learning_rates(model: MultiHeadCausalLM, params: HeadSettings) -> dict[str, float]:
    """Name of a parameter -> its learning rate, if it has its own."""
    from concord.policies import head_adapters

    rate = params.head_learning_rate
    rates = {} if rate is None else dict.fromkeys(("heads", "up", "down"), rate)
    if params.head_adapters is not None:
        adapters = [name for name, _ in head_adapters.named_parameters(model)]
        rates |= dict.fromkeys(adapters, params.head_adapters.learning_rate)
    return rates


def prepare_backbone(model: MultiHeadCausalLM, params: HeadSettings, seed: int) -> None:
    """Freezes the backbone or attaches adapters, as `params` say. The heads always train."""
    if params.heads_only:
        model.backbone.requires_grad_(False)
        for parameter in model.head_parameters():
            parameter.requires_grad_(True)
    elif params.lora is not None:
        attach(model.backbone, params.lora, seed)


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
