"""One call writes a folder that a stock pipeline serves."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, pipeline

from concord.policies.model import MultiHeadCausalLM
from concord.policies.specialists import Specialists
from concord.policies.steerable import load
from concord.stage.errors import ModelError, ParamsError

MESSAGES = [{"role": "user", "content": "Why?"}]


@pytest.fixture
def policy(tiny_model: Path, tmp_path: Path) -> Path:
    """The folder of a policy with two different heads."""
    folder = tmp_path / "policies/heads"
    model = MultiHeadCausalLM.from_sft(tiny_model, ["brief", "kind"])
    with torch.no_grad():
        model.heads[1] += torch.randn(
            model.heads[1].shape, generator=torch.Generator().manual_seed(0)
        )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


def greedy(folder: Path) -> str:
    chat = pipeline("text-generation", model=str(folder), device="cpu")
    answer = chat(MESSAGES, max_new_tokens=6, do_sample=False)
    return str(answer[0]["generated_text"][-1]["content"])


def test_a_stock_pipeline_serves_the_folder(policy: Path, tmp_path: Path) -> None:
    """With all weight on `kind`, it answers as that head does; weights need not be complete."""
    model = load(policy)
    model.publish({"kind": 2.0}, tmp_path / "kind")
    names = {path.name for path in (tmp_path / "kind").iterdir()}
    assert names >= {
        "README.md", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    }  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(policy)
    ids = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_tensors="pt")
    ids = ids["input_ids"] if not isinstance(ids, torch.Tensor) else ids
    answer = model.merge({"brief": 0.0, "kind": 1.0}).generate(
        ids, max_new_tokens=6, do_sample=False
    )[0, ids.shape[1] :]
    assert greedy(tmp_path / "kind") == tokenizer.decode(answer, skip_special_tokens=True)
    model.publish({"brief": 1.0}, tmp_path / "brief")
    assert greedy(tmp_path / "kind") != greedy(tmp_path / "brief")


def test_generation_ends_and_the_card_says_how_to_prompt(policy: Path, tmp_path: Path) -> None:
    """A generation config without an end of sequence gets the tokenizer's."""
    model = load(policy)
    model.generation_config = GenerationConfig()
    model.publish({"brief": 1, "kind": 3}, tmp_path / "mixed")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "mixed")
    written = GenerationConfig.from_pretrained(tmp_path / "mixed")
    assert written.eos_token_id == tokenizer.eos_token_id
    assert written.pad_token_id == tokenizer.pad_token_id
    card = (tmp_path / "mixed/README.md").read_text(encoding="utf-8")
    assert "| brief | 0.2500 |\n| kind | 0.7500 |" in card
    assert "<|user|> How can I sleep better? <|end|> <|assistant|>" in card
    assert f'model="{(tmp_path / "mixed").as_posix()}"' in card


def test_the_weights_file_has_the_data_type(policy: Path, tmp_path: Path) -> None:
    load(policy).publish({"kind": 1.0}, tmp_path / "half", dtype="bfloat16")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "half").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"kynd": 1.0}, r"weights\.kynd: the policy has no head kynd; did you mean kind\?"),
        ({"kind": -1.0}, "cannot be normalised"),
        ({"kind": float("nan")}, "cannot be normalised"),
        ({}, "cannot be normalised"),
    ],
)
def test_wrong_weights_write_nothing(
    policy: Path, tmp_path: Path, weights: dict[str, float], message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        load(policy).publish(weights, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_content_is_left_alone(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("mine")
    with pytest.raises(ParamsError, match="has content already"):
        load(policy).publish({"kind": 1.0}, tmp_path / "notes")
    assert (tmp_path / "notes/a.txt").read_text() == "mine"


def test_a_soup_is_published_too_and_a_mixture_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    def untied() -> Any:
        return MultiHeadCausalLM.from_sft(tiny_model, ["sft"]).merge({"sft": 1.0})

    for mixing in ("parameters", "probabilities"):
        members = {name: untied() for name in ("brief", "kind")}
        Specialists.of(untied(), members, mixing).save_pretrained(tmp_path / mixing)
        for file in Path(tiny_model).glob("*token*"):
            shutil.copy(file, tmp_path / mixing)
        shutil.copy(tiny_model / "chat_template.jinja", tmp_path / mixing)
    load(tmp_path / "parameters").publish({"kind": 1.0}, tmp_path / "soup")
    assert greedy(tmp_path / "soup") == greedy(tiny_model)
    with pytest.raises(ModelError, match="is not a stock model"):
        load(tmp_path / "probabilities").publish({"kind": 1.0, "brief": 1.0}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
