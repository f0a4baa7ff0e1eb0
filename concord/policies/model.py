"""A causal language model with one output head per objective on a shared backbone.

These are the action heads of MAHALO (arXiv 2510.01167, section 3.2). An output head is a bias-free
linear map of the final normalised hidden state. A weighted sum of the heads' logits therefore
equals the logits of the weighted sum of their matrices:

    sum_i w_i (h W_i^T) = h (sum_i w_i W_i)^T

`MultiHeadCausalLM.merge` uses this to build a stock checkpoint for given weights. Heads may also
have adapters on the layers (`concord.policies.head_adapters`), which mix in the same way.
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
from concord.lm.token_logprobs import chunk_size, token_logprobs
from concord.policies import head_adapters
from concord.policies.head_logprobs import Block, Linear, head_logprobs
from concord.policies.publish import Publishable
from concord.policies.shared_tokens import Targets
from concord.stage.errors import ModelError, ParamsError

IGNORED = -100
"""Label of a position that is excluded from the log-probability."""
PROBE_TOLERANCE = 1e-4
"""Largest relative difference of float32 logits between a new multi-head model and its source."""


class MultiHeadConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """The backbone's config, and the heads: their names in order, the rank of their output matrices
    (None: full rank), and the rank of their adapters on the layers (None: no adapters)."""

    model_type = "concord_multi_head"
    sub_configs_defaults: ClassVar = {
        "backbone": SubConfigSpec(config_class=AutoConfig, model_type="llama")
    }

    backbone: PreTrainedConfig | dict[str, Any] | None = None
    head_names: list[str] | None = None
    head_rank: int | None = None
    adapter_rank: int | None = None
    tie_word_embeddings: bool = False

    def get_text_config(
        self, decoder: bool | None = None, encoder: bool | None = None
    ) -> PreTrainedConfig:
        """The config with the layers and the vocabulary, which is the backbone's."""
        return self.backbone if isinstance(self.backbone, PreTrainedConfig) else self


@dataclass
class MultiHeadOutput(ModelOutput):
    """`logits` `(batch, seq, vocab)`; with labels, `logprobs` `(batch,)` instead."""

    logits: Tensor | None = None
    past_key_values: Any = None
    logprobs: Tensor | None = None


class MultiHeadCausalLM(PreTrainedModel, GenerationMixin, Publishable):  # type: ignore[no-untyped-call]
    """A causal language model with several output heads.

    Full-rank heads are one parameter `heads` `(heads, vocab, hidden)`. Low-rank heads are `shared`
    `(vocab, hidden)` plus the product of `up` `(heads, vocab, rank)` and `down`
    `(heads, rank, hidden)`. `shared` is the output matrix of the SFT model and is never trained;
    beside full-rank heads it is what `strength` measures their difference from.

    Heads and adapters are float32 whatever the data type of the backbone, and so are the logits.

    `head_weights` mixes the heads: a mapping or `(heads,)` with the same weights for all rows, or
    `(batch, heads)` with a mix per row. Without it, all heads have equal weights.
    """

    config_class = MultiHeadConfig
    base_model_prefix = "backbone"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: MultiHeadConfig, backbone: nn.Module | None = None) -> None:
        super().__init__(config)
        self.backbone: Any = (
            architecture(AutoModel, config.backbone) if backbone is None else backbone
        )
        text = config.get_text_config()
        count, vocabulary, width = len(config.head_names or []), text.vocab_size, text.hidden_size
        # Rounding heads to bfloat16 would undo most of what training changes.
        zeros = partial(torch.zeros, dtype=torch.float32)
        self.shared = nn.Parameter(zeros(vocabulary, width), requires_grad=False)
        if config.head_rank is None:
            self.heads = nn.Parameter(zeros(count, vocabulary, width))
        else:
            self.up = nn.Parameter(zeros(count, vocabulary, config.head_rank))
            self.down = nn.Parameter(zeros(count, config.head_rank, width))
        self._current_mix = head_adapters.CurrentMix()
        if config.adapter_rank is not None:
            self._attach_adapters(seed=None)
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_sft(
        cls,
        path: str | Path,
        head_names: Sequence[str],
        head_rank: int | None = None,
        adapter_rank: int | None = None,
        **kwargs: Any,
    ) -> MultiHeadCausalLM:
        """Builds a model from the SFT checkpoint at `path`.

        Every head is a copy of the checkpoint's output matrix, not tied to the input embedding.

        Args:
            path: folder of the SFT model.
            head_names: one name per head.
            head_rank: rank of the heads' differences from the output matrix; None for full rank.
            adapter_rank: rank of the heads' adapters on the layers; None for no adapters.
            kwargs: passed to `load_causal`, such as device and dtype.

        Raises:
            ModelError: the architecture computes logits with more than an output matrix and a
                soft-cap, such as a bias or a scale. Heads cannot be merged into such a model.
            ParamsError: a head name occurs twice, or there is none.
        """
        return from_causal(load_causal(path, **kwargs), head_names, head_rank, adapter_rank)

    @property
    def head_names(self) -> list[str]:
        """The objectives of the heads, in order."""
        return list(self.config.head_names)

    def get_input_embeddings(self) -> Any:
        return self.backbone.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.backbone.set_input_embeddings(value)

    def get_output_embeddings(self) -> None:
        """None, because there is no single output matrix to tie or to resize."""
        return None

    def head_parameters(self) -> list[nn.Parameter]:
        """The trained parameters of the heads: output matrices and adapters."""
        adapters = [parameter for _, parameter in head_adapters.named_parameters(self)]
        return adapters + [
            parameter
            for name, parameter in self.named_parameters()
            if not name.startswith("backbone.") and parameter is not self.shared
        ]

    def shared_parameters(self) -> list[nn.Parameter]:
        """The trained parameters that all heads use: the backbone without the heads' adapters."""
        of_heads = set(map(id, self.head_parameters()))
        return [
            parameter
            for parameter in self.parameters()
            if parameter.requires_grad and id(parameter) not in of_heads
        ]

    def _attach_adapters(self, seed: int | None) -> None:
        head_adapters.attach(
            self.backbone, len(self.head_names), self.config.adapter_rank, self._current_mix, seed
        )

    def _init_weights(self, module: nn.Module) -> None:
        """Does nothing: every weight is loaded from a checkpoint."""

    def forward(
        self,
        input_ids: Tensor | None = None,  # (batch, seq)
        attention_mask: Tensor | None = None,  # (batch, seq)
        head_weights: Mapping[str, float] | Tensor | None = None,  # (heads,) or (batch, heads)
        labels: Tensor | None = None,  # (batch, seq)
        targets: Targets | None = None,
        owners: Tensor | None = None,  # (batch, seq)
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> MultiHeadOutput:
        """Logits of the mixed heads, or summed log-probabilities of `labels`.

        With `labels`, the output holds the float32 sum of the labels' log-probabilities per row.
        Logits are then computed only at labelled positions; `IGNORED` marks the others. `targets`
        does the same for packed rows, with a mix per sequence. `owners` holds, for each token, the
        sequence whose mix the adapters use (`concord.policies.shared_tokens`).
        """
        mix = self._mix(head_weights)
        self._current_mix.weights = mix if owners is None else mix[owners]
        kwargs.pop("return_dict", None)
        out = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        hidden = out.last_hidden_state  # (batch, seq, hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            if labels is not None:
                targets = targets_of(labels)
            if targets is not None:
                return MultiHeadOutput(logprobs=self._sequence_logprobs(hidden, targets, mix))
            kept = (
                slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            )
            logits = self.project(hidden[:, kept], mix)
        return MultiHeadOutput(logits=logits, past_key_values=out.get("past_key_values"))

    def merge(self, weights: Mapping[str, float], strength: float = 1.0) -> Any:
        """A stock causal language model whose logits are the weighted sum of the heads' logits.

        Args:
            weights: one weight per head. They are normalised to sum to 1.
            strength: scales what the heads change: 1 is what was trained, 0 has the output matrix
                of the SFT model and no adapters. The shared backbone stays as it was trained.

        Raises:
            ParamsError: as `weight_vector` does, or `strength` is negative or not finite.
        """
        check_strength(strength)
        mix = self.weight_vector(weights).to(self.device)
        matrix = self.matrix(mix, strength).to(self.backbone.dtype).detach()
        config = copy.deepcopy(self.config.get_text_config())
        config.tie_word_embeddings = False
        with torch.device("meta"):
            stock = architecture(AutoModelForCausalLM, config, dtype=matrix.dtype)
        setattr(stock, stock.base_model_prefix, copy.deepcopy(self.backbone))
        head_adapters.merge(stock.base_model, strength * mix)
        output = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, device="meta")
        output.weight = nn.Parameter(matrix.clone())
        stock.set_output_embeddings(output)
        stock.base_model.config = config
        stock.generation_config = copy.deepcopy(self.generation_config)
        return stock.eval()

    def weight_vector(self, weights: Mapping[str, float]) -> Tensor:
        """`weight_vector` of the heads, `(heads,)`."""
        return weight_vector(weights, self.head_names)

    def matrix(self, weights: Tensor, strength: float = 1.0) -> Tensor:
        """The output matrix `(vocab, hidden)` of a mix of heads, in float32.

        `strength` scales its difference from the SFT model's matrix.
        """
        mix = weights.to(self.device)
        shared = mix.sum() * self.shared
        if self.config.head_rank is None:
            mixed = torch.einsum("h,hvd->vd", mix, self.heads)
            return mixed if strength == 1 else torch.lerp(shared, mixed, strength)
        delta = torch.einsum("h,hvr,hrd->vd", mix, self.up, self.down)
        return shared + strength * delta

    def _head_differences(self) -> list[Callable[[Tensor], Tensor]]:
        """For each head, a function from states `(..., hidden)` to logits `(..., vocab)`.

        Those of a low-rank head are the difference from `_shared_logits`; its full matrix is never
        built. `unbind` allocates one gradient for all heads, whereas indexing would allocate one
        per head.
        """
        linear = nn.functional.linear
        if self.config.head_rank is None:
            return [partial(linear, weight=matrix) for matrix in self.heads.unbind(0)]

        def low_rank(up: Tensor, down: Tensor, hidden: Tensor) -> Tensor:
            return linear(linear(hidden, down), up)

        pairs = zip(self.up.unbind(0), self.down.unbind(0), strict=True)
        return [partial(low_rank, up, down) for up, down in pairs]

    def _shared_logits(self, hidden: Tensor) -> list[Tensor]:
        """What the logits of low-rank heads have in common; empty for full-rank heads."""
        if self.config.head_rank is None:
            return []
        return [nn.functional.linear(hidden, self.shared)]

    def project(self, hidden: Tensor, mix: Tensor) -> Tensor:
        """Logits `(rows, ..., vocab)` of hidden states `(rows, ..., hidden)`.

        `mix` is `(heads,)`, or `(rows, heads)` with a mix per row. Of a row's own mix, only heads
        with a nonzero weight are applied.
        """
        hidden = hidden.float()
        if mix.dim() == 1:
            return self._cap(nn.functional.linear(hidden, self.matrix(mix)))
        logits = hidden.new_zeros(*hidden.shape[:-1], self.config.get_text_config().vocab_size)
        differences = self._head_differences()
        for support, rows in _rows_by_support(mix):
            states = hidden[rows]
            weights = mix[rows].reshape(len(rows), *[1] * (hidden.dim() - 1), -1)
            parts = self._shared_logits(weights.sum(-1) * states)
            parts += [differences[head](weights[..., head] * states) for head in support]
            mixed = sum(parts[1:], start=parts[0])
            logits = logits.index_copy(0, rows, mixed)
        return self._cap(logits)

    def project_at(self, hidden: Tensor, vectors: Tensor) -> Iterator[Tensor]:
        """Yields the logits `(rows, vocab)` of `hidden` `(rows, hidden)` for each weight vector.

        `vectors` is `(points, heads)`. Each head with a nonzero weight is applied only once: mixing
        heads equals mixing their logits.
        """
        used = [head for head in range(len(self.head_names)) if vectors[:, head].any()]
        states = hidden.float()
        heads = self._head_differences()
        shared, differences = self._shared_logits(states), [heads[head](states) for head in used]
        for vector in vectors:
            parts = [vector.sum() * each for each in shared]
            parts += [vector[h] * each for h, each in zip(used, differences, strict=True)]
            yield self._cap(sum(parts[1:], start=parts[0]))

    def _mix(self, head_weights: Mapping[str, float] | Tensor | None) -> Tensor:
        if isinstance(head_weights, Tensor):
            return head_weights.to(self.device)
        if head_weights is None:
            head_weights = dict.fromkeys(self.head_names, 1.0)
        return self.weight_vector(head_weights).to(self.device)

    @property
    def _soft_cap(self) -> float | None:
        return getattr(self.config.get_text_config(), "final_logit_softcapping", None)

    def _cap(self, logits: Tensor) -> Tensor:
        cap = self._soft_cap
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _sequence_logprobs(self, hidden: Tensor, targets: Targets, mix: Tensor) -> Tensor:
        """Sums over the target tokens of each sequence, `(sequences,)`."""
        states, rows = hidden.flatten(0, 1)[targets["state"]].float(), targets["sequence"]
        values = self._token_logprobs(states, targets["token"], mix, rows)
        return values.new_zeros(targets["count"]).index_add(0, rows, values)

    def _token_logprobs(self, states: Tensor, tokens: Tensor, mix: Tensor, rows: Tensor) -> Tensor:
        """Log-probabilities `(tokens,)` of `tokens` after `states` `(tokens, hidden)`.

        `mix` is as in `project`; `rows` `(tokens,)` holds the row of each token.
        """
        if mix.dim() == 1:
            size = chunk_size(len(tokens), self.config.get_text_config().vocab_size)
            linear = partial(nn.functional.linear, weight=self.matrix(mix))
            return token_logprobs(lambda part: self._cap(linear(part)), tokens, size, states)
        members = [(heads, torch.isin(rows, of)) for heads, of in _rows_by_support(mix)]
        blocks = [Block(heads, at.nonzero().squeeze(1)) for heads, at in members if at.any()]
        weights = mix[rows].T.unsqueeze(2)  # (heads, tokens, 1)
        if self.config.head_rank is None:
            of_heads, base = Linear(weights * states, self.heads), None
        else:
            low = torch.einsum("td,hrd->htr", states, self.down)
            of_heads = Linear(weights * low, self.up)
            base = Linear(weights.sum(0) * states, self.shared)
        return head_logprobs(of_heads, tokens, blocks, base, self._soft_cap)


def from_causal(
    stock: Any,
    head_names: Sequence[str],
    head_rank: int | None = None,
    adapter_rank: int | None = None,
) -> MultiHeadCausalLM:
    """A multi-head model from a loaded stock model; see `MultiHeadCausalLM.from_sft`.

    The backbone is shared with `stock`, not copied. Adapters are attached to it in place.
    """
    if not head_names or len(set(head_names)) != len(head_names):
        raise ParamsError(
            f"head names {list(head_names)}: every head needs its own name; "
            "give at least one, each only once"
        )
    # The size of the vocabulary is read from the matrix. The config may give another one.
    matrix = stock.get_output_embeddings().weight.detach().float()  # (vocab, hidden)
    rows = stock.get_input_embeddings().weight.shape[0]
    if rows != matrix.shape[0]:
        raise ModelError(
            f"the embedding has {rows} tokens and the output matrix {matrix.shape[0]}, so no "
            "config describes both; resize them to the same number"
        )
    backbone = copy.deepcopy(stock.config)
    backbone.vocab_size = matrix.shape[0]
    config = MultiHeadConfig(
        backbone=backbone, head_names=list(head_names), head_rank=head_rank, dtype=stock.dtype
    )
    with torch.device("meta"):
        model = MultiHeadCausalLM(config, backbone=nn.Identity())
    model.backbone = stock.base_model
    _fill_heads(model, matrix, len(head_names), head_rank)
    model.generation_config = copy.deepcopy(stock.generation_config)
    _check_same_logits(model, stock)
    if adapter_rank is not None:
        model.config.adapter_rank = adapter_rank
        model._attach_adapters(seed=0)
    model.train(False)
    return model


def weight_vector(weights: Mapping[str, float], names: Sequence[str]) -> Tensor:
    """The weights `(names,)` in the order of `names`, normalised to sum to 1.

    Raises:
        ParamsError: the weights are for other names, or a weight is negative or not finite, or no
            weight is positive.
    """
    if set(weights) != set(names):
        raise ParamsError(
            f"head weights are given for {sorted(weights)}, but the heads are {list(names)}; "
            "give one weight per head"
        )
    vector = torch.tensor([float(weights[name]) for name in names], dtype=torch.float64)
    if (
        not bool(torch.isfinite(vector).all())
        or bool((vector < 0).any())
        or not float(vector.sum()) > 0
    ):
        raise ParamsError(
            f"head weights {dict(weights)} cannot be normalised; they must be finite and not "
            "negative, and at least one must be positive"
        )
    return (vector / vector.sum()).float()


def check_strength(strength: float) -> None:
    """Raises ParamsError unless `strength` is finite and not negative."""
    if not 0 <= strength < float("inf"):
        raise ParamsError(f"strength is {strength}; it must be finite and not negative")


def targets_of(labels: Tensor) -> Targets:
    """The labelled tokens of whole rows; `labels` is `(batch, seq)`.

    The state at t - 1 predicts the token at t.
    """
    following = labels[:, 1:]
    rows, columns = (following != IGNORED).nonzero(as_tuple=True)  # (tokens,) each
    state = rows * labels.shape[1] + columns
    token = following[rows, columns]
    return {"state": state, "token": token, "sequence": rows, "count": len(labels)}


def one_hot(heads: Sequence[int], count: int) -> Tensor:
    """A mix `(rows, count)` per row that uses the head of its index alone.

    Examples:
        >>> one_hot([1, 0], 2).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    return nn.functional.one_hot(torch.tensor(heads), count).float()


def _rows_by_support(mix: Tensor) -> list[tuple[tuple[int, ...], Tensor]]:
    """The rows of `mix` `(rows, heads)`, grouped by the heads with a nonzero weight."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, weights in enumerate(mix.tolist()):
        support = tuple(head for head, weight in enumerate(weights) if weight)
        groups.setdefault(support, []).append(row)
    return [
        (support, torch.tensor(rows, device=mix.device)) for support, rows in sorted(groups.items())
    ]


def architecture(auto_class: Any, config: Any, **kwargs: Any) -> Any:
    """A model of `config` without loaded weights. Keeps the state of the global generator."""
    with torch.random.fork_rng(devices=[]):
        return auto_class.from_config(config, **kwargs)


def _fill_heads(model: MultiHeadCausalLM, matrix: Tensor, count: int, rank: int | None) -> None:
    """Initialises every head with `matrix`.

    Low-rank differences start at 0: `up` is zero, and `down` is random so that gradients can flow.
    """
    model.shared = nn.Parameter(matrix.clone(), requires_grad=False)
    if rank is None:
        model.heads = nn.Parameter(matrix.unsqueeze(0).repeat(count, 1, 1))
        return
    generator = torch.Generator().manual_seed(0)
    down = torch.randn(count, rank, matrix.shape[1], generator=generator) / matrix.shape[1] ** 0.5
    model.up = nn.Parameter(matrix.new_zeros(count, matrix.shape[0], rank))
    model.down = nn.Parameter(down.to(matrix))


def _check_same_logits(model: MultiHeadCausalLM, stock: Any) -> None:
    """Raises ModelError unless the new model and the stock model have the same logits.

    A few tokens are enough to detect operations on the logits that the new model lacks.
    """
    tokens = torch.arange(
        min(4, stock.config.get_text_config().vocab_size), device=model.device
    ).unsqueeze(0)
    with torch.no_grad():
        logits, expected = model(tokens).logits.float(), stock(tokens).logits.float()
    scale = float(expected.abs().max()) or 1.0
    tolerance = PROBE_TOLERANCE if stock.dtype == torch.float32 else 2e-2
    if float((logits - expected).abs().max()) > tolerance * scale:
        raise ModelError(
            f"{type(stock).__name__} computes its logits with more than an output matrix and a "
            "soft-cap, such as a bias or a scale, so heads cannot be merged into it; "
            "use another architecture"
        )


AutoConfig.register(MultiHeadConfig.model_type, MultiHeadConfig)
AutoModelForCausalLM.register(MultiHeadConfig, MultiHeadCausalLM)
