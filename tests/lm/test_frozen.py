"""A frozen backbone is cut after the highest layer that is read, and its states stay the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, LlamaModel

from concord.lm.frozen import check_layers, load_frozen, stop_after
from concord.lm.load import load_causal
from concord.lm.shared_prefixes import read
from concord.stage.errors import ParamsError

SHAPE = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
SMALL = {
    **SHAPE, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 4,
    "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip
SEQUENCES = [[5, 6, 7, 8, 9], [5, 6, 7, 8, 3, 4], [11, 12]]


def backbone(kind: str) -> Any:
    settings = {**SHAPE, "n_embd": 16, "n_layer": 4, "n_head": 2} if kind == "gpt2" else SMALL
    torch.manual_seed(0)
    return AutoModel.from_config(AutoConfig.for_model(kind, **settings)).eval()


def states_of(model: Any, layer: int) -> list[torch.Tensor]:
    """States of every token of every sequence, read as the heads read them."""
    result: list[Any] = [None] * len(SEQUENCES)
    for rows, hidden in read(model, SEQUENCES, 0, lambda _, states: states):
        for index, row in enumerate(rows):
            count = len(SEQUENCES[row])
            result[row] = hidden.at(layer, torch.full((count,), index), torch.arange(count))
    return result


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "gemma2", "gpt_neox"])
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_states_are_those_of_the_whole_model(kind: str, layer: int) -> None:
    """Architectures with other names of their layers, sliding windows or scaled embeddings."""
    model = backbone(kind)
    whole = {below: states_of(model, below) for below in range(layer + 1)}
    assert stop_after(model, layer)
    blocks = [part for part in model.children() if isinstance(part, torch.nn.ModuleList)]
    assert [len(part) for part in blocks] == [max(1, layer)]
    for below, expected in whole.items():
        for one, other in zip(states_of(model, below), expected, strict=True):
            assert torch.equal(one, other)


def test_the_last_layer_is_read_after_the_final_norm() -> None:
    """As before: nothing is removed, and the state is the one that the output matrix reads."""
    model = backbone("llama")
    assert not stop_after(model, 4)
    assert len(model.layers) == 4
    ids = torch.tensor([SEQUENCES[0]])
    expected = model(ids).last_hidden_state[0].detach()
    torch.testing.assert_close(states_of(model, 4)[0], expected, atol=1e-5, rtol=1e-5)


class Reversed(LlamaModel):
    """A model that runs its last layer first, so its first layers are not those of the whole."""

    def forward(self, **inputs: Any) -> Any:
        layers = self.layers
        self.layers = torch.nn.ModuleList(list(layers)[::-1])
        try:
            return super().forward(**inputs)
        finally:
            self.layers = layers


class Wrapped(torch.nn.Module):
    """A model whose layers are not where they are expected."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config, self.device = model, model.config, model.device

    def forward(self, **inputs: Any) -> Any:
        return self.model(**inputs)


@pytest.mark.parametrize("kind", [Reversed, Wrapped])
def test_a_model_whose_states_would_change_stays_whole(
    kind: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    llama = backbone("llama")
    model = kind(llama.config).eval() if kind is Reversed else Wrapped(llama)
    before = states_of(model, 2)
    assert not stop_after(model, 2)
    assert "cannot be stopped after layer 2: all layers are run" in capsys.readouterr().out
    assert model.config.num_hidden_layers == 4
    for one, other in zip(states_of(model, 2), before, strict=True):
        assert torch.equal(one, other)


def test_loading_drops_what_is_not_read(tiny_model: Path) -> None:
    model = load_frozen(tiny_model, [0, 1], "cpu", "bfloat16")
    assert len(model.layers) == 1
    assert model.dtype == torch.bfloat16
    assert not hasattr(model, "lm_head")


def test_unknown_layers_are_rejected(tiny_model: Path) -> None:
    model = load_causal(tiny_model)
    assert check_layers(model, [0, 2]) == [0, 2]
    for layers in ([], [3], [-1]):
        with pytest.raises(ParamsError, match=r"choose one or more from 0 \(embeddings\) to 2"):
            check_layers(model, layers)
        with pytest.raises(ParamsError, match="choose one or more"):
            load_frozen(tiny_model, layers, "cpu", "float32")
