"""Sentence embeddings with a tiny untrained encoder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from concord.lm.sentence_embeddings import SentenceEmbeddings
from concord.stage.errors import ModelError

TEXTS = ["a cat", "a cat sat on a mat with a hat", "", "the mat"]


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "sat", "on", "mat", "the"]
    folder, ids = tmp_path / "encoder", {word: index for index, word in enumerate(words)}
    BertTokenizer(vocab=ids).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=32,
        )  # fmt: skip
        BertModel(config).save_pretrained(folder)
    return folder


def test_embeddings_are_unit_vectors_that_do_not_depend_on_the_batch(encoder: Path) -> None:
    model = SentenceEmbeddings(encoder)
    alone, together = (model.embed(TEXTS, batch_size=size) for size in (1, 4))
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert np.abs(together[0] - together[3]).max() > 1e-3


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"concord\.lm\.fetch minilm"):
        SentenceEmbeddings(tmp_path)
