"""GRPO with one action head per objective: every mix of the heads is trained by its own reward.

For each prompt, weights over the objectives of its domain are drawn. The heads are mixed at these
weights, the mix draws all samples of the prompt, the anchored rewards are combined at the same
weights, and the same mix learns from the result. The policy can then be steered at inference
between all the mixes that it was trained as. With one head, this is `grpo`.

Writes a `MultiHeadCausalLM`. Its `merge` method turns the heads into a stock checkpoint for given
weights.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.objectives import domain_weights
from concord.policies.job import Method, PolicyJob
from concord.policies.moving_weights import WeightTracker
from concord.policies.preference_settings import HeadAdapters
from concord.policies.rl.online import prompts_of
from concord.policies.rl.online import run as run_online
from concord.policies.rl.settings import OnlineParams
from concord.policies.rl.step_prompts import WeightDraws, with_weights
from concord.policies.trained_parameters import head_learning_rates, prepare_backbone
from concord.stage import runtime
from concord.stage.params import FORBID
from concord.stage.paths import SFT


@dataclass(frozen=True, config=FORBID, kw_only=True)
class MahGrpoParams(OnlineParams):
    """The settings that all methods with online sampling share, the heads and their weights."""

    method: Literal["mah_grpo"]
    draws: WeightDraws = Field(default_factory=WeightDraws)
    """How the weights of each prompt are drawn."""
    weights: dict[str, float] = Field(default_factory=dict)
    """The weights of the share `draws.given` of the prompts, normalised to sum to 1 within a
    domain. Missing objectives get weight 0."""
    head_rank: Annotated[int, Field(ge=1)] | None = None
    """Rank of the difference between a head and the SFT model's output matrix; null: full rank."""
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of the heads; null: `learning_rate`."""
    head_adapters: HeadAdapters | None = None
    """Gives each head an adapter on every linear layer, beside its output matrix; null: none."""
    heads_only: bool = False
    """Whether to freeze the backbone, apart from the adapters of the heads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.weights) != (self.draws.given > 0):
            raise ValueError(
                "`weights` are the weights of the share `draws.given` of the prompts; "
                "give both or neither"
            )
        if self.lora is not None and (self.heads_only or self.head_adapters is not None):
            raise ValueError(
                "`lora` trains the backbone, which `heads_only` freezes and `head_adapters` "
                "adapts for each head; give only one of them"
            )
        if self.heads_only and self.cosines_every is not None:
            raise ValueError(
                "`cosines_every` compares gradients on the backbone, and `heads_only` freezes it; "
                "remove one of them"
            )


def run(job: PolicyJob) -> None:
    """Trains the policy and saves it with its heads."""
    from concord.policies.model import MultiHeadCausalLM

    params: MahGrpoParams = job.params
    model = MultiHeadCausalLM.from_sft(
        SFT,
        job.vector,
        params.head_rank,
        params.head_adapters.rank if params.head_adapters else None,
        device=runtime.start(job.runtime, job.seeds.sampling),
    )
    prepare_backbone(model, params, job.seeds.sampling)
    # TRL loads the reference model, with its single head, from this path.
    model.config._name_or_path = str(SFT)
    prompts = with_weights(
        prompts_of(job), params.draws, *_weights(job), job.vector, job.seeds.data
    )
    run_online(
        job,
        model,
        prompts,
        WeightTracker({}),
        __file__,
        rates=head_learning_rates(model, params),
        shared=model.shared_parameters(),
    )


def _weights(
    job: PolicyJob,
) -> tuple[dict[str, list[str]], dict[str, dict[str, float]]]:
    """Domain -> its objectives, and domain -> the given weights."""
    members: dict[str, list[str]] = {}
    for name in job.vector:
        members.setdefault(job.objectives[name].domain, []).append(name)
    if not job.params.weights:
        return members, {}
    given = {
        domain: domain_weights(job.params.weights, job.objectives, domain, f"{job.where}.weights")
        for domain in members
    }
    return members, given


METHOD = Method(MahGrpoParams, heads=True, pairs=False)
