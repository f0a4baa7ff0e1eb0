"""Strict loading, and conversion of prompts and responses to token ids."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from concord.lm.chat import encode, render
from concord.lm.load import base_tokenizer, load_base, load_causal, load_strictly, load_tokenizer
from concord.rewards.process.process_model import windows
from concord.stage.errors import DataError, ModelError
from concord.stage.params import Model

QUESTION = [{"role": "user", "content": "ab"}]


def _copy(tiny_model: Path, target: Path) -> dict[str, torch.Tensor]:
    for file in tiny_model.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return load_file(target / "model.safetensors")


def test_a_tokenizer_without_character_offsets_is_refused(
    tmp_path: Path,
) -> None:
    """Process rewards need the offsets; a judge does not, so `load_tokenizer` accepts it."""
    from transformers import ByT5Tokenizer

    slow = ByT5Tokenizer()
    slow.chat_template = "{{ messages[0]['content'] }}"
    slow.save_pretrained(tmp_path)
    assert not load_tokenizer(tmp_path).is_fast
    with pytest.raises(
        ModelError, match=r"ByT5Tokenizer.*returns no character offsets.*tokenizer\.json"
    ):
        base_tokenizer(
            Model(str(tmp_path), None, str(tmp_path), str(tmp_path / "chat_template.jinja"), 64)
        )
    with pytest.raises(ModelError, match="returns no character offsets"):
        windows(slow, QUESTION, ["a"], 64)


def test_a_tied_head_is_not_missing(tiny_model: Path) -> None:
    model = load_causal(tiny_model)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert not model.training


def test_a_missing_weight_is_an_error(tiny_model: Path, tmp_path: Path) -> None:
    weights = _copy(tiny_model, tmp_path)
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 missing: model\.norm\.weight"):
        load_causal(tmp_path)


def test_wrong_key_names_are_an_error(tiny_model: Path, tmp_path: Path) -> None:
    """With strict=False, no weights would be loaded and no error raised."""
    weights = {f"policy.{name}": weight for name, weight in _copy(tiny_model, tmp_path).items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"unexpected: policy\."):
        load_causal(tmp_path)


def test_a_weight_with_a_wrong_shape_is_an_error(tiny_model: Path, tmp_path: Path) -> None:
    weights = _copy(tiny_model, tmp_path)
    weights["model.norm.weight"] = torch.ones(31)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"cannot be loaded|of another shape"):
        load_causal(tmp_path)


def test_a_pickle_is_not_read(tiny_model: Path, tmp_path: Path) -> None:
    weights = _copy(tiny_model, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_causal(tmp_path)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_causal(tmp_path)
    with pytest.raises(ModelError, match="no tokenizer"):
        load_tokenizer(tmp_path)


def test_only_named_weights_are_initialised_and_the_global_generator_is_unchanged(
    tiny_model: Path,
) -> None:
    before = torch.get_rng_state()
    heads = [
        load_strictly(
            AutoModelForSequenceClassification,
            tiny_model,
            new={"score.weight"},
            num_labels=2,
            seed=seed,
        )
        for seed in (0, 0, 1)
    ]
    assert torch.equal(heads[0].score.weight, heads[1].score.weight)
    assert not torch.equal(heads[0].score.weight, heads[2].score.weight)
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(ModelError, match=r"1 missing: score\.weight"):
        load_strictly(AutoModelForSequenceClassification, tiny_model, num_labels=2)


def test_the_base_tokenizer_uses_the_template_of_the_recipe(
    tiny_model: Path, tmp_path: Path
) -> None:
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages[0]['content'] }}!")
    model = Model(str(tiny_model), None, str(tiny_model), str(template), 32)
    tokenizer = base_tokenizer(model)
    assert tokenizer.decode(render(tokenizer, QUESTION)).replace(" ", "") == "ab!"
    assert load_base(model).config.vocab_size == len(tokenizer)


def test_render_ends_with_the_header_of_the_assistant(tiny_tokenizer: Any) -> None:
    tokens = tiny_tokenizer.convert_ids_to_tokens(render(tiny_tokenizer, QUESTION))
    assert tokens == ["<|user|>", " ", "a", "b", " ", "<|end|>", " ", "<|assistant|>", " "]


def test_encode_ends_with_end_of_sequence(tiny_tokenizer: Any) -> None:
    ids, prompt_length = encode(tiny_tokenizer, QUESTION, "xyz", 64)
    assert prompt_length == 9
    assert tiny_tokenizer.convert_ids_to_tokens(ids[prompt_length:]) == ["x", "y", "z", "<|end|>"]


def test_a_long_prompt_is_truncated_on_the_left_and_keeps_the_header(tiny_tokenizer: Any) -> None:
    """Truncation on the right would remove the assistant header."""
    ids, prompt_length = encode(tiny_tokenizer, QUESTION, "xyz", 8)
    tokens = tiny_tokenizer.convert_ids_to_tokens(ids)
    assert (len(ids), prompt_length) == (8, 4)
    assert tokens == ["<|end|>", " ", "<|assistant|>", " ", "x", "y", "z", "<|end|>"]


@pytest.mark.parametrize(("length", "fits"), [(5, True), (6, False)])
def test_a_response_is_never_truncated(tiny_tokenizer: Any, length: int, fits: bool) -> None:
    """max_length 8 = header of 2 + 5 characters + end of sequence."""
    if fits:
        assert len(encode(tiny_tokenizer, QUESTION, "x" * length, 8)[0]) == 8
        return
    with pytest.raises(
        DataError,
        match=r"of 7 tokens and the assistant header of 2 tokens do not fit in max_length 8",
    ):
        encode(tiny_tokenizer, QUESTION, "x" * length, 8)


@pytest.mark.parametrize("load", [load_causal, load_tokenizer])
def test_a_missing_local_model_is_not_looked_up_on_the_hub(load: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"models/sft does not exist; create it with `dvc repro`"):
        load(tmp_path / "models/sft")
