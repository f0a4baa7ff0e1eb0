"""Sentence embeddings: unit vectors that are close for texts with a similar meaning.

The model is a stock encoder whose last states are averaged over the tokens (Reimers and Gurevych,
arXiv 1908.10084). `python -m concord.lm.fetch minilm models/minilm` downloads one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from concord.stage.errors import ModelError

LONGEST = 256
"""Tokens of a text that are read; the end is cut."""


class SentenceEmbeddings:
    """A model that embeds texts on the CPU."""

    def __init__(self, folder: Path) -> None:
        """Loads the model. Raises ModelError if the folder has none."""
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{folder} has no model for sentence embeddings; run "
                f"`python -m concord.lm.fetch minilm {folder}`"
            )
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model = AutoModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        ).eval()

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        """Unit vectors, float32 `(texts, width)`. They do not depend on the batch size."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        vectors = np.zeros((len(texts), self.model.config.hidden_size), dtype=np.float32)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = self.tokenizer(
                [texts[row] for row in rows],
                padding=True, truncation=True, max_length=LONGEST, return_tensors="pt",
            )  # fmt: skip
            states = self.model(**batch).last_hidden_state  # (batch, seq, width)
            mask = batch["attention_mask"].unsqueeze(-1).float()
            mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
            vectors[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return vectors
