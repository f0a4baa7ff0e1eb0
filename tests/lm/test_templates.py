"""The chat templates render exactly the text that the models were trained on."""

from pathlib import Path
from typing import Any

import pytest
from jinja2.exceptions import TemplateError

TEMPLATES = Path(__file__).parents[2] / "templates"
TALK = [
    {"role": "user", "content": "Two plus two?"},
    {"role": "assistant", "content": "Four."},
    {"role": "user", "content": "Sure?"},
]


def rendered(tokenizer: Any, name: str, messages: list[dict[str, str]], header: bool = True) -> str:
    template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    text = tokenizer.apply_chat_template(
        messages, chat_template=template, add_generation_prompt=header, tokenize=False
    )
    return str(text)


def test_sandbox(tiny_tokenizer: Any) -> None:
    body = "<|user|>Two plus two?<|end|><|assistant|>Four.<|end|><|user|>Sure?<|end|>"
    assert rendered(tiny_tokenizer, "sandbox", TALK) == body + "<|assistant|>"
    assert rendered(tiny_tokenizer, "sandbox", TALK, header=False) == body
    with pytest.raises(TemplateError, match="knows the roles user and assistant, not system"):
        rendered(tiny_tokenizer, "sandbox", [{"role": "system", "content": "Be kind."}, *TALK])


def test_smollm2(tiny_tokenizer: Any) -> None:
    body = "<|im_start|>user\nTwo plus two?<|im_end|>\n<|im_start|>assistant\nFour.<|im_end|>\n"
    body += "<|im_start|>user\nSure?<|im_end|>\n"
    named = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    default = f"<|im_start|>system\n{named}<|im_end|>\n"
    assert rendered(tiny_tokenizer, "smollm2", TALK) == default + body + "<|im_start|>assistant\n"
    with_system = [{"role": "system", "content": "Be kind."}, *TALK]
    assert (
        rendered(tiny_tokenizer, "smollm2", with_system, header=False)
        == "<|im_start|>system\nBe kind.<|im_end|>\n" + body
    )


def test_llama3(tiny_tokenizer: Any) -> None:
    tiny_tokenizer.bos_token = "<|unk|>"
    expected = (
        "<|unk|><|start_header_id|>user<|end_header_id|>\n\nTwo plus two?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nFour.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nSure?<|eot_id|>"
    )
    assert rendered(tiny_tokenizer, "llama3", TALK, header=False) == expected
    assert (
        rendered(tiny_tokenizer, "llama3", TALK)
        == expected + "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
