"""The policy with action heads (MAHALO, arXiv 2510.01167, section 3.2): one backbone, one output matrix per objective.

Every head is a bias-free linear map of the final normed hidden state, so a mix of the heads' logits is the logits of
the mixed matrix, `sum_i w_i (h W_i^T) = h (sum_i w_i W_i)^T`, and `merge` gives a stock checkpoint for any weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.configuration_utils import SubConfigSpec
from transformers.utils.generic import ModelOutput

from concord.lm.load import load_causal
from concord.stage.errors import ModelError, ParamsError

IGNORED = -100
"""Label of a position whose log-probability is not asked for."""
PROBE_TOLERANCE = 1e-4


class MultiHeadConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """The backbone's own config, the heads' names in order, and their rank (None: full matrices)."""

    model_type = "concord_multi_head"
    sub_configs_defaults: ClassVar = {
        "backbone": SubConfigSpec(config_class=AutoConfig, model_type="llama")
    }

    backbone: PreTrainedConfig | dict[str, Any] | None = None
    head_names: list[str] | None = None
    head_rank: int | None = None
    tie_word_embeddings: bool = False

    def get_text_config(
        self, decoder: bool | None = None, encoder: bool | None = None
    ) -> PreTrainedConfig:
        """The config that describes layers and vocabulary: the backbone's."""
        return self.backbone if isinstance(self.backbone, PreTrainedConfig) else self


@dataclass
class MultiHeadOutput(ModelOutput):
    """`logits` (batch, seq, V), or with labels `logprobs` (batch,) and no logits."""

    logits: Tensor | None = None
    past_key_values: Any = None
    logprobs: Tensor | None = None


class MultiHeadCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]
    """A causal language model with H output heads.

    `heads` (H, V, d); or of low rank: `shared` (V, d), the SFT model's matrix, which is never trained, plus `up`
    (H, V, r) times `down` (H, r, d).

    Calls ask for the heads in one of three ways: `head_ids` (batch,) gives each row its own head, `head_weights` mixes
    all heads for all rows, and neither means equal weights.
    """

    config_class = MultiHeadConfig
    base_model_prefix = "backbone"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: MultiHeadConfig, backbone: nn.Module | None = None) -> None:
        super().__init__(config)
        self.backbone: Any = (
            _architecture(AutoModel, config.backbone) if backbone is None else backbone
        )
        text = config.get_text_config()
        count, vocabulary, width = len(config.head_names or []), text.vocab_size, text.hidden_size
        if config.head_rank is None:
            self.heads = nn.Parameter(torch.zeros(count, vocabulary, width))
        else:
            self.shared = nn.Parameter(torch.zeros(vocabulary, width), requires_grad=False)
            self.up = nn.Parameter(torch.zeros(count, vocabulary, config.head_rank))
            self.down = nn.Parameter(torch.zeros(count, config.head_rank, width))
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_sft(
        cls,
        path: str | Path,
        head_names: Sequence[str],
        head_rank: int | None = None,
        **kwargs: Any,
    ) -> MultiHeadCausalLM:
        """Heads that all start as the loaded output matrix of the checkpoint at `path`, untied from its embedding.

        `kwargs` (device, dtype) go to `load_causal`. Raises ModelError for an architecture whose logits are more than
        an output matrix and a soft-cap (a bias, a scale): heads could not be merged into it.
        """
        return from_causal(load_causal(path, **kwargs), head_names, head_rank)

    @property
    def head_names(self) -> list[str]:
        """The objectives of the heads, in order."""
        return list(self.config.head_names)

    def get_input_embeddings(self) -> Any:
        return self.backbone.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.backbone.set_input_embeddings(value)

    def get_output_embeddings(self) -> None:
        """None: there is no single output matrix to tie or to resize."""
        return None

    def head_parameters(self) -> list[nn.Parameter]:
        """What belongs to the heads and not to the backbone."""
        return [
            parameter
            for name, parameter in self.named_parameters()
            if not name.startswith("backbone.")
        ]

    def _init_weights(self, module: nn.Module) -> None:
        """Every weight comes from a checkpoint, so none is drawn."""

    def forward(
        self,
        input_ids: Tensor | None = None,  # (batch, seq)
        attention_mask: Tensor | None = None,  # (batch, seq)
        head_ids: Tensor | None = None,  # (batch,)
        head_weights: Mapping[str, float] | Tensor | None = None,  # (H,)
        labels: Tensor | None = None,  # (batch, seq)
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> MultiHeadOutput:
        """Logits of the asked heads; or with `labels`, the float32 sum of the labels' log-probabilities per row.

        With labels, hidden states meet an output matrix only where a label stands (elsewhere: -100).
        """
        if head_ids is not None and head_weights is not None:
            raise ModelError(
                "both `head_ids` and `head_weights` were given; a row has its own head or a mix: give one"
            )
        kwargs.pop("return_dict", None)
        out = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        hidden = out.last_hidden_state  # (batch, seq, d)
        if labels is not None:
            return MultiHeadOutput(
                logprobs=self._label_logprobs(hidden, labels, head_ids, head_weights)
            )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.project(hidden[:, kept], head_ids, head_weights)
        return MultiHeadOutput(logits=logits, past_key_values=out.get("past_key_values"))

    def merge(self, weights: Mapping[str, float]) -> Any:
        """A stock model of the backbone's own class whose logits are the heads' logits mixed by `weights`.

        `weights` names every head; they are made to sum to 1.
        """
        matrix = self.matrix(self.weight_vector(weights)).detach()
        config = copy.deepcopy(self.config.get_text_config())
        config.tie_word_embeddings = False
        with torch.device("meta"):
            stock = _architecture(AutoModelForCausalLM, config, dtype=matrix.dtype)
        setattr(stock, stock.base_model_prefix, copy.deepcopy(self.backbone))
        output = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, device="meta")
        output.weight = nn.Parameter(matrix.clone())
        stock.set_output_embeddings(output)
        stock.base_model.config = config
        stock.generation_config = copy.deepcopy(self.generation_config)
        return stock.eval()

    def weight_vector(self, weights: Mapping[str, float]) -> Tensor:
        """(H,) in the order of the heads, summing to 1. Raises ParamsError for other names or impossible numbers."""
        if set(weights) != set(self.head_names):
            raise ParamsError(
                f"head weights are given for {sorted(weights)}, but the heads are {self.head_names}; name each once"
            )
        vector = torch.tensor(
            [float(weights[name]) for name in self.head_names], dtype=torch.float64
        )
        if (
            not bool(torch.isfinite(vector).all())
            or bool((vector < 0).any())
            or not float(vector.sum()) > 0
        ):
            raise ParamsError(
                f"head weights {dict(weights)} must be finite, not negative, and one of them positive"
            )
        return (vector / vector.sum()).float()

    def matrix(self, weights: Tensor) -> Tensor:
        """The output matrix (V, d) of a mix of heads; sums in float32."""
        mix = weights.to(self.device)
        if self.config.head_rank is None:
            return torch.einsum("h,hvd->vd", mix, self.heads.float()).to(self.dtype)
        delta = torch.einsum("h,hvr,hrd->vd", mix, self.up.float(), self.down.float())
        return (mix.sum() * self.shared.float() + delta).to(self.dtype)

    def _linear_heads(self) -> list[Callable[[Tensor], Tensor]]:
        """One map from states (..., d) to logits (..., V) per head; a low-rank product is never written out.

        `unbind` has one gradient for all heads, where indexing had one each.
        """
        linear = nn.functional.linear
        if self.config.head_rank is None:
            return [partial(linear, weight=matrix) for matrix in self.heads.unbind(0)]

        def low_rank(up: Tensor, down: Tensor, hidden: Tensor) -> Tensor:
            return linear(hidden, self.shared) + linear(linear(hidden, down), up)

        pairs = zip(self.up.unbind(0), self.down.unbind(0), strict=True)
        return [partial(low_rank, up, down) for up, down in pairs]

    def project(
        self,
        hidden: Tensor,
        head_ids: Tensor | None,
        head_weights: Mapping[str, float] | Tensor | None,
    ) -> Tensor:
        """Logits (rows, ..., V) of hidden states (rows, ..., d); with `head_ids` a row meets its own head only."""
        if head_ids is None:
            return self._cap(nn.functional.linear(hidden, self.matrix(self._mix(head_weights))))
        logits = hidden.new_zeros(*hidden.shape[:-1], self.config.get_text_config().vocab_size)
        for head, linear in enumerate(self._linear_heads()):
            rows = (head_ids == head).nonzero().squeeze(1)
            if len(rows):
                logits = logits.index_copy(0, rows, linear(hidden[rows]))
        return self._cap(logits)

    def project_at(self, hidden: Tensor, vectors: Tensor) -> Iterator[Tensor]:
        """Logits (rows, V) of hidden states (rows, d) at each weight vector of `vectors` (points, H) in turn.

        Every head that any vector weighs is applied once, since a mix of heads gives the same mix of their logits.
        """
        used = [head for head in range(len(self.head_names)) if vectors[:, head].any()]
        heads = self._linear_heads()
        each = [heads[head](hidden) for head in used]
        for vector in vectors:
            yield self._cap(
                sum(vector[head] * logits for head, logits in zip(used, each, strict=True))
            )

    def _mix(self, head_weights: Mapping[str, float] | Tensor | None) -> Tensor:
        if isinstance(head_weights, Tensor):
            return head_weights
        return self.weight_vector(head_weights or dict.fromkeys(self.head_names, 1.0))

    def _cap(self, logits: Tensor) -> Tensor:
        cap = getattr(self.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _label_logprobs(
        self,
        hidden: Tensor,
        labels: Tensor,
        head_ids: Tensor | None,
        head_weights: Mapping[str, float] | Tensor | None,
    ) -> Tensor:
        """Sums (batch,) over labelled tokens; the hidden state at t - 1 predicts the token at t."""
        targets = labels[:, 1:]
        rows, columns = (targets != IGNORED).nonzero(as_tuple=True)  # (N,), (N,)
        states, tokens = hidden[rows, columns], targets[rows, columns]  # (N, d), (N,)
        if head_ids is None:
            logits = nn.functional.linear(states, self.matrix(self._mix(head_weights)))
            values = self._token_logprobs(logits, tokens)
            return values.new_zeros(len(labels)).index_add(0, rows, values)
        total = torch.zeros(len(labels), dtype=torch.float32, device=hidden.device)
        for head, linear in enumerate(self._linear_heads()):
            own = (head_ids[rows] == head).nonzero().squeeze(1)
            if len(own):
                total = total.index_add(
                    0, rows[own], self._token_logprobs(linear(states[own]), tokens[own])
                )
        return total

    def _token_logprobs(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Log-probability (N,) of each token from logits (N, V), in float32 whatever the type of the model."""
        return -nn.functional.cross_entropy(self._cap(logits).float(), tokens, reduction="none")


def from_causal(
    stock: Any, head_names: Sequence[str], head_rank: int | None = None
) -> MultiHeadCausalLM:
    """The multi-head model over a loaded stock model, which gives up its backbone. See `MultiHeadCausalLM.from_sft`."""
    if not head_names or len(set(head_names)) != len(head_names):
        raise ParamsError(
            f"head names {list(head_names)} must be different from each other, and at least one"
        )
    matrix = stock.get_output_embeddings().weight.detach()  # V comes from here, not from the config
    rows = stock.get_input_embeddings().weight.shape[0]
    if rows != matrix.shape[0]:
        raise ModelError(
            f"the embedding has {rows} tokens and the output matrix {matrix.shape[0]}, so no config describes both; "
            "resize them to the same number"
        )
    own = copy.deepcopy(stock.config)
    own.vocab_size = matrix.shape[0]
    config = MultiHeadConfig(
        backbone=own, head_names=list(head_names), head_rank=head_rank, dtype=matrix.dtype
    )
    with torch.device("meta"):
        model = MultiHeadCausalLM(config, backbone=nn.Identity())
    model.backbone = stock.base_model
    _fill_heads(model, matrix, len(head_names), head_rank)
    model.generation_config = copy.deepcopy(stock.generation_config)
    _demand_same_logits(model, stock)
    model.train(False)
    return model


def _architecture(auto_class: Any, config: Any, **kwargs: Any) -> Any:
    """A model of `config` whose weights are to be filled in; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        return auto_class.from_config(config, **kwargs)


def _fill_heads(model: MultiHeadCausalLM, matrix: Tensor, count: int, rank: int | None) -> None:
    """Every head becomes `matrix`; low-rank deltas start at 0 through `up`, with a `down` that gradients can pass."""
    if rank is None:
        model.heads = nn.Parameter(matrix.unsqueeze(0).repeat(count, 1, 1))
        return
    generator = torch.Generator().manual_seed(0)
    down = torch.randn(count, rank, matrix.shape[1], generator=generator) / matrix.shape[1] ** 0.5
    model.shared = nn.Parameter(matrix.clone(), requires_grad=False)
    model.up = nn.Parameter(matrix.new_zeros(count, matrix.shape[0], rank))
    model.down = nn.Parameter(down.to(matrix))


def _demand_same_logits(model: MultiHeadCausalLM, stock: Any) -> None:
    """A new multi-head model must be the stock model: any logit arithmetic that it lacks shows on a few tokens."""
    tokens = torch.arange(
        min(4, stock.config.get_text_config().vocab_size), device=model.device
    ).unsqueeze(0)
    with torch.no_grad():
        ours, theirs = model(tokens).logits.float(), stock(tokens).logits.float()
    scale = float(theirs.abs().max()) or 1.0
    tolerance = PROBE_TOLERANCE if model.dtype == torch.float32 else 2e-2
    if float((ours - theirs).abs().max()) > tolerance * scale:
        raise ModelError(
            f"{type(stock).__name__} does more to its logits than an output matrix and a soft-cap (a bias or a scale), "
            "so heads could not be merged back into it; use an architecture without it"
        )


def load(path: str | Path, device: Any = "cpu", dtype: str = "float32") -> Any:
    """A policy folder: a stock causal language model or a `MultiHeadCausalLM`, whichever it is."""
    return load_causal(path, device, dtype)


AutoConfig.register(MultiHeadConfig.model_type, MultiHeadConfig)
AutoModelForCausalLM.register(MultiHeadConfig, MultiHeadCausalLM)
