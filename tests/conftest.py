"""Fixtures for all tests: quiet libraries, the torch state, and a tiny model with two layers."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from concord.stage.runtime import QUIET

os.environ.update(QUIET)  # before any test module imports transformers

import hypothesis
import numpy
import pytest
import torch

from tests.chain.finished import Runs

pytest_plugins = ["tests.reports_fixture"]
hypothesis.settings.register_profile("concord", deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile("concord")  # same examples in every run, no time limits
torch.set_num_interop_threads(1)  # can be set only once, before any parallel work

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|{{ message['role'] }}|> {{ message['content'] }} <|end|> "
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|unk|>", "<|system|>", "<|user|>", "<|assistant|>"]


BACKGROUND = ("test_pair.py", "test_tutorial.py")
"""Tests of the projects that finish last."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts long test files first, so that no process is left with one of them at the end."""
    for item in items:
        if item.path.parent.name == "chain":
            item.add_marker(pytest.mark.timeout(1800))  # includes the wait for the pipeline
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """When a test runs: `flows` and `policies`, then the finished pipeline, then the rest.

    The pipeline runs in the background while the tests of the first two run. Two more projects
    follow it, and their tests are the last.
    """
    if item.path.name in BACKGROUND:
        return 4
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return {"flows": 0, "policies": 1, "chain": 2}.get(folder, 3)


def _waits(item: pytest.Item) -> bool:
    """Whether a test needs a project that runs in the background."""
    return "finished" in item.fixturenames or item.path.name in BACKGROUND  # type: ignore[attr-defined]


@pytest.fixture(scope="session", autouse=True)
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs | None]:
    """The pipeline in the background, if a selected test needs it."""
    if not any(_waits(item) for item in request.session.items):
        yield None
        return
    worker, folder = os.environ.get("PYTEST_XDIST_WORKER"), tmp_path_factory.getbasetemp()
    runs = (
        Runs(folder / "chain", os.getpid())
        if worker is None
        else Runs(folder.parent / "chain", os.getppid())
    )
    if worker in (None, "gw0"):
        runs.start()
        os.nice(5)  # the background has priority: other processes wait for it
    yield runs
    stopped = request.session.shouldstop or request.session.shouldfail
    runs.end(wait=worker is not None and not stopped)


@pytest.fixture(autouse=True)
def torch_state() -> Iterator[None]:
    """Restores seeds, threads, default dtype and determinism after each test."""
    states = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.set_num_threads(1)
    yield
    random.setstate(states[0])
    numpy.random.set_state(states[1])
    torch.set_rng_state(states[2])
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    torch.use_deterministic_algorithms(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = filled


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained Llama (2 layers, width 32) and its character tokenizer."""
    path = tmp_path_factory.mktemp("tiny_model")
    tokenizer = _characters()
    tokenizer.save_pretrained(path)
    _llama(tokenizer).save_pretrained(path)
    return path


@pytest.fixture
def tiny_tokenizer(tiny_model: Path) -> Any:
    from concord.lm.load import load_tokenizer

    return load_tokenizer(tiny_model)


def _characters() -> Any:
    """A tokenizer with one token per printable ASCII character."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = ["\n", *(chr(code) for code in range(32, 127))]
    vocabulary = {token: index for index, token in enumerate(SPECIAL + letters)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unk|>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.add_special_tokens(SPECIAL)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<|pad|>", eos_token="<|end|>", unk_token="<|unk|>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _llama(tokenizer: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config)
