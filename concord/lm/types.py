"""Protocols of a tokenizer and of a causal language model: the members that the project uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


class Tokenizer(Protocol):
    """A transformers tokenizer with a chat template and an end-of-sequence token."""

    eos_token_id: int
    pad_token_id: int
    model_max_length: int
    name_or_path: str

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        """Id -> added token, with `content`, `special`, `lstrip` and `rstrip`."""
        ...

    def __call__(
        self, text: str | list[str], *, add_special_tokens: bool = True, **options: Any
    ) -> Mapping[str, Any]:
        """`input_ids` of one text or of several texts, and whatever `options` requests."""
        ...

    def apply_chat_template(self, conversation: Sequence[Mapping[str, str]], **options: Any) -> Any:
        """The conversation as text or as token ids."""
        ...

    def decode(self, token_ids: Any, **options: Any) -> str:
        """The text of a sequence of token ids."""
        ...

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        """The tokens of a sequence of token ids."""
        ...

    def save_pretrained(self, save_directory: str | Path) -> Any:
        """Writes the tokenizer to a folder."""
        ...


class CausalLM(Protocol):
    """A causal language model of transformers, or the project's `MultiHeadCausalLM`."""

    config: Any
    generation_config: Any
    training: bool

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        ...

    @property
    def base_model(self) -> Any:
        """The backbone, without the output matrix."""
        ...

    def __call__(self, **inputs: Any) -> Any:
        """An output with `logits` `(batch, seq, vocab)`."""
        ...

    def eval(self) -> Any:
        """Switches to evaluation mode: dropout is off."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Switches to training mode, or to evaluation mode if `mode` is False."""
        ...

    def get_output_embeddings(self) -> Any:
        """The output matrix."""
        ...

    def save_pretrained(self, save_directory: str | Path) -> Any:
        """Writes weights and configuration to a folder."""
        ...
