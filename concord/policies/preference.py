"""Training action heads on pairs: what `mah_dpo` and `dpo` share. They differ in the heads and in the pairs only."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.lora import Lora, attach, merge
from concord.lm.train import Training, fit
from concord.objectives import check_weights
from concord.policies.job import ANNOTATED, ROLLOUTS, PolicyJob
from concord.stage import outputs, plugins, resume, runtime
from concord.stage.params import FORBID, suggest
from concord.stage.paths import ANCHORS, SFT

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from concord.policies.model import MultiHeadCausalLM
    from concord.policies.training_pairs import Pair


@dataclass(frozen=True, config=FORBID, kw_only=True)
class PreferenceParams:
    """Parameters of every method that learns from pairs."""

    training: Training
    """How it trains; `batch_size` counts pairs."""
    pairs: Literal["rollouts", "annotations", "both"] = "rollouts"
    """Best and worst of the rollouts, people's comparisons, or both."""
    min_gap: Annotated[float, Field(ge=0)] = 0.5
    """Smallest difference of a rollout pair in anchored reward (standard deviations of the SFT model)."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """How strongly the policy is held to the reference."""
    loss: str = "dpo"
    """A function of concord/policies/losses.py."""
    loss_parameters: dict[str, float] = Field(default_factory=dict)
    """Its arguments that have a default, where another value is wanted."""
    alpha: dict[str, float] = Field(default_factory=dict)
    """Weight of each objective's loss, made to sum to 1; an absent one counts 0, and none at all means equal."""
    head_rank: Annotated[int, Field(ge=1)] | None = None
    """Rank of the heads' differences from the SFT output matrix; null: full matrices."""
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of the heads (null: that of `training`): the higher, the less the backbone, which all share,
    takes over, and the more the weights move at inference."""
    heads_only: bool = False
    """Whether the backbone stays as it is."""
    lora: Lora | None = None
    """Adapters to train in the backbone in place of all its weights, merged at the end."""

    def __post_init__(self) -> None:
        plugins.check_name("concord.policies.losses", self.loss, "loss")
        allowed = plugins.defaults("concord.policies.losses", self.loss)
        for name in self.loss_parameters:
            if name not in allowed:
                raise ValueError(
                    f"loss_parameters.{name} is unknown; {suggest(name, list(allowed))}"
                )
        if self.heads_only and self.lora is not None:
            raise ValueError(
                "`heads_only` leaves the backbone as it is and `lora` trains it; give one of them"
            )


def loss_weights(alpha: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """alpha by name, sum 1, equal where none is given. Raises ParamsError for other names."""
    check_weights(alpha, dict.fromkeys(names), "alpha")
    given = {name: alpha.get(name, 0.0) if alpha else 1.0 for name in names}
    return {name: value / sum(given.values()) for name, value in given.items()}


def learned(params: PreferenceParams, vector: Sequence[str]) -> list[str]:
    """The objectives of the vector with an alpha above 0."""
    return [name for name in vector if not params.alpha or params.alpha.get(name, 0.0) > 0]


def small_batch(params: PreferenceParams, groups: Sequence[str]) -> Iterator[str]:
    """The problem of a batch that cannot hold one pair of each of `groups`."""
    if (size := params.training.batch_size) < len(groups):
        yield (
            f"training.batch_size: {size} pairs cannot hold one of each of {len(groups)} objectives "
            f"({', '.join(groups)}); raise it to {len(groups)} or more"
        )


def objective_pairs(job: PolicyJob) -> dict[str, list[Pair]]:
    """Objective of the vector with an alpha above 0 -> its pairs, from where `job.params.pairs` says."""
    from concord.policies import training_pairs as pairs
    from concord.rewards.vector.anchors import Anchors

    names = [
        name for name, weight in loss_weights(job.params.alpha, job.vector).items() if weight > 0
    ]
    parts = []
    if job.params.pairs != "annotations":
        rollouts, anchors = outputs.read_table(ROLLOUTS), Anchors.load(ANCHORS)
        parts.append(
            pairs.by_objective(rollouts, job.objectives, names, anchors, job.params.min_gap)
        )
    if job.params.pairs != "rollouts":
        parts.append(pairs.annotated(outputs.read_table(ANNOTATED), names))
    return pairs.joined(*parts)


def inputs(params: PreferenceParams) -> list[Path]:
    """What training on `params.pairs` reads."""
    tables = {
        "rollouts": [ROLLOUTS, ANCHORS],
        "annotations": [ANNOTATED],
        "both": [ROLLOUTS, ANCHORS, ANNOTATED],
    }
    return [SFT, *tables[params.pairs]]


def train(
    job: PolicyJob,
    groups: Mapping[str, list[Pair]],
    heads: Mapping[str, int],
    names: list[str],
    module_file: str,
) -> MultiHeadCausalLM:
    """The SFT model with a head per name, trained on balanced batches of `groups`.

    `heads` tells which head, by its place in `names`, learns from each group.
    """
    from concord.lm.load import load_tokenizer
    from concord.policies.balanced_batches import balanced, collate, length
    from concord.policies.model import MultiHeadCausalLM
    from concord.policies.reference_logprobs import add_reference, encode_pairs

    params: PreferenceParams = job.params
    device = runtime.start(job.runtime, job.seeds.data)
    tokenizer = load_tokenizer(SFT)
    model = MultiHeadCausalLM.from_sft(
        SFT, names, params.head_rank, device=device, dtype=job.runtime.dtype
    )
    pairs = encode_pairs(groups, heads, tokenizer, job.max_length)
    training, steps = in_steps(params.training, sum(map(len, pairs.values())))
    alpha = loss_weights(params.alpha, sorted(groups))
    rows = balanced(pairs, alpha, steps=steps, batch_size=training.batch_size, seed=job.seeds.data)
    add_reference(rows, model, tokenizer.pad_token_id)
    prepare_backbone(model, params, job.seeds.data)
    fit(
        model,
        rows,
        collate(tokenizer.pad_token_id),
        objective(names, params),
        training,
        seed=job.seeds.data,
        work=resume.folder("policy", [job, names], inputs(params), module_file),
        curve=job.curve,
        order="given",
        length=length,
        rates=head_rates(params),
        label=f"policy {job.name}",
    )
    if params.lora is not None:
        merge(model.backbone)
    return model


def in_steps(training: Training, pairs: int) -> tuple[Training, int]:
    """The training, and its number of steps; where it names epochs, so many that all pairs are seen that often."""
    steps = training.steps or math.ceil((training.epochs or 0.0) * pairs / training.batch_size)
    return dataclasses.replace(training, steps=steps, epochs=None), steps


def head_rates(params: PreferenceParams) -> dict[str, float]:
    """The heads' own learning rate, by the names of their parameters."""
    rate = params.head_learning_rate
    return {} if rate is None else dict.fromkeys(("heads", "up", "down"), rate)


def prepare_backbone(model: MultiHeadCausalLM, params: PreferenceParams, seed: int) -> None:
    """Freezes the backbone or puts adapters on it, as asked; the heads always train."""
    if params.heads_only:
        model.backbone.requires_grad_(False)
    elif params.lora is not None:
        attach(model.backbone, params.lora, seed)


def objective(names: Sequence[str], params: PreferenceParams) -> Any:
    """The loss function of `fit`: one forward over chosen and rejected, each row under its own head.

    It returns the sum over pairs of weight times loss, where weight = alpha_i / n_i with n_i the pairs of objective i
    in the global batch (`row_weights`). So micro-batches and processes add up to exactly the loss of the global batch,
    and an objective without pairs adds exactly 0.
    """
    from concord.policies.losses import PairLogprobs
    from concord.policies.model import IGNORED

    pairwise = plugins.function("concord.policies.losses", params.loss)

    def loss(model: Any, batch: dict[str, Any]) -> tuple[Any, dict[str, float]]:
        inputs = ("input_ids", "attention_mask", "labels", "head_ids")
        chosen, rejected = model(
            **{name: batch[name] for name in inputs}, use_cache=False
        ).logprobs.chunk(2)
        tokens = (batch["labels"] != IGNORED).sum(dim=1).chunk(2)
        pairs = PairLogprobs(chosen, rejected, *batch["reference"], *tokens)
        values = pairwise(pairs, params.beta, **params.loss_parameters)
        heads = batch["head_ids"][: len(values)]
        return (batch["weights"] * values).sum(), figures(pairs.delta, heads, names)

    return loss


def figures(delta: Tensor, heads: Tensor, names: Sequence[str]) -> dict[str, float]:
    """For the curve: share of pairs ranked as asked and mean delta, over all and by name (NaN without a pair)."""
    import torch

    with torch.no_grad():
        result = {"accuracy": float((delta > 0).float().mean()), "delta": float(delta.mean())}
        for head, name in enumerate(names):
            own = delta[heads == head]
            result[f"accuracy.{name}"] = float((own > 0).float().mean())
            result[f"delta.{name}"] = float(own.mean())
    return result
