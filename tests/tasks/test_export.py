"""The stage `export`: a standard checkpoint with the weighted logits, tokenizer and card."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from concord.policies.model import MultiHeadCausalLM
from concord.stage import outputs
from concord.stage.params import Model
from tasks import export

WEIGHTS = {"helpful": 0.25, "harmless": 0.75}


@pytest.fixture
def base(tmp_path: Path) -> Model:
    (tmp_path / "base").mkdir()
    return Model("base", None, "base", "templates/sandbox.jinja", 128)


@pytest.fixture
def policy(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MultiHeadCausalLM:
    """A policy with two different heads, saved as the selected policy."""
    monkeypatch.chdir(tmp_path)
    model = MultiHeadCausalLM.from_sft(tiny_model, list(WEIGHTS))
    with torch.no_grad():
        model.heads[1] += torch.randn(
            model.heads[1].shape, generator=torch.Generator().manual_seed(0)
        )
    model.save_pretrained("models/policies/mah_dpo")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained("models/policies/mah_dpo")
    figures = {"gold_mean": 0.5, "ci_low": 0.45, "ci_high": 0.55, "n": 400}
    choice = {"policy": "mah_dpo", "rule": "chebyshev", "weights": WEIGHTS}
    outputs.write_json("reports/select.json", choice)
    candidate = {"objectives": dict.fromkeys(WEIGHTS, figures)}
    outputs.write_json(
        "reports/gate.json", {"verdict": "accepted: no champion", "candidate": candidate}
    )
    return model


def test_transformers_loads_the_weighted_logits(policy: MultiHeadCausalLM, base: Model) -> None:
    export.run(export.ExportParams(), base)
    stock = AutoModelForCausalLM.from_pretrained("models/aligned").eval()
    ids = torch.randint(6, 100, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = policy(ids, head_weights=WEIGHTS).logits
        assert torch.allclose(stock(ids).logits, expected, atol=1e-5)
        assert not torch.allclose(policy(ids).logits, expected, atol=1e-2)
    assert type(stock).__name__ == "LlamaForCausalLM"
    assert AutoTokenizer.from_pretrained("models/aligned").chat_template
    assert {file.suffix for file in Path("models/aligned").iterdir()} <= {
        ".json",
        ".safetensors",
        ".md",
        ".jinja",
    }


def test_card_has_weights_figures_and_lineage(policy: MultiHeadCausalLM, base: Model) -> None:
    export.run(export.ExportParams(), base)
    card = Path("models/aligned/README.md").read_text(encoding="utf-8")
    assert "| harmless | 0.7500 |" in card
    assert "| helpful | 0.500 | 0.450 to 0.550 | 400 |" in card
    assert (
        f"| `models/policies/mah_dpo` | `{export.digest(Path('models/policies/mah_dpo'))}` |"
        in card
    )
    assert "GGUF" not in card


@pytest.mark.parametrize("text", ["dequantised from a GGUF file", ""])
def test_card_says_that_a_base_was_dequantised(
    text: str, base: Model, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base/README.md").write_text(f"---\nlicense: apache-2.0\n---\n{text}\n", encoding="utf-8")
    assert bool(export.dequantised(base)) == bool(text)
    assert export.licence(base) == "license: apache-2.0\n"


def test_the_digest_covers_contents_and_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = export.digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = export.digest(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, renamed, export.digest(tmp_path)}) == 3
