"""The stage `export`: a standard checkpoint with the weighted logits, tokenizer and card."""

import re
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard, parse_eval_result_entries
from ruamel.yaml import YAML
from transformers import AutoModelForCausalLM, AutoTokenizer

from concord.policies.model import MultiHeadCausalLM
from concord.report import card_training
from concord.stage import outputs
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import Model, section
from concord.steering.checkpoint import digest, write
from tasks import export

WEIGHTS = {"helpful": 0.25, "harmless": 0.75}
ENTRY = {"domain": "values", "reward": "values"}
PARAMS: dict[str, Any] = {
    "seeds": {"data": 0, "sampling": 0},
    "sources": {
        "crowd": {"format": "table", "path": "crowd.csv", "licence": "CC-BY-4.0"},
        "logs": {"format": "concord", "path": "logs.jsonl"},
    },
    "objectives": {
        "helpful": {**ENTRY, "description": "gives substance"},
        "harmless": {**ENTRY, "description": "declines what would do harm"},
    },
    "policies": {"mah_dpo": {"method": "mah_dpo"}, "sft": {"method": "reference"}},
    "select": {"policy": "mah_dpo", "reference": "sft", "weights": WEIGHTS},
    "evaluate": {"bootstrap": 50},
}
PROMPTS = 40


def samples(helpful: float, harmless: float, point: str = "equal") -> pd.DataFrame:
    """Answers to held-out prompts with given means of gold; one in four differs from the mean."""
    rows = [
        {
            "split": "test", "domain": "values", "point": point, "weights": "{}",
            "prompt_id": str(number), "group_id": str(number), "kl": 0.5, "length": 9.0,
            "messages": [{"role": "user", "content": f"Why {number}?"}], "response": "So.",
            "gold.helpful": helpful + 0.02 * (number % 4 - 1.5),
            "gold.harmless": harmless + 0.02 * (number % 4 - 1.5),
        }
        for number in range(PROMPTS)
    ]  # fmt: skip
    return pd.DataFrame(rows)


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
    select(WEIGHTS)
    decide(accepted=True)
    return model


def select(weights: dict[str, float]) -> None:
    """Chooses the weights, and evaluates the checkpoint."""
    figures = {"gold_mean": 0.5, "ci_low": 0.45, "ci_high": 0.55, "n": 400}
    values = {"asked": weights, "weights": weights}
    choice = {"policy": "mah_dpo", "rule": "given", "weights": weights, "strength": 1}
    choice["reference"] = "sft"
    outputs.write_json("reports/select.json", {**choice, "domains": {"values": values}})
    with tempfile.TemporaryDirectory() as folder:
        write(Path("models/policies/mah_dpo"), weights, "float32", Path(folder))
        evaluated = digest(Path(folder))
    objectives = {"values": {"objectives": dict.fromkeys(WEIGHTS, figures), "kl": 0.5}}
    results = {"checkpoint": evaluated, "domains": objectives, "prompts": {"values": PROMPTS}}
    results["conditions"] = {"protocol": "sandbox", "temperature": 0.7}
    outputs.write_json("reports/candidate/results.json", results)
    outputs.write_table("reports/candidate/samples.parquet", samples(0.7, 0.4, "candidate"))
    outputs.write_table("reports/samples/sft.parquet", samples(0.5, 0.6))
    counts = {"train": 30, "validation": 5, "test": 5}
    labels = {"pairs": counts, "ratings": {**counts, "train": 12}}
    data = {
        "sources": {"crowd": {"read": 100, "kept": 98}, "logs": {"read": 7, "kept": 7}},
        "objectives": dict.fromkeys(WEIGHTS, labels),
        "splits": {"demonstrations": counts, "prompts": counts},
    }
    outputs.write_json("reports/data.json", data)


def export_run(base: Model) -> bool:
    return export.run(export.ExportParams(), base, PARAMS)


def decide(accepted: bool) -> None:
    test = {"difference": 0.02, "lower_bound": -0.01, "margin": 0.03}
    verdict = "accepted: better" if accepted else "refused: harmless -0.2"
    row = {"name": "objectives", "holds": accepted, "why": "better", "error_rate": 0.05}
    gate = {"verdict": verdict, "accepted": accepted, "champion": "sft"}
    gates = [row | {"figures": {"helpful": test}, "required": True, "margin": 0.03}]
    outputs.write_json("reports/gate.json", {**gate, "gates": gates})


def test_transformers_loads_the_weighted_logits(policy: MultiHeadCausalLM, base: Model) -> None:
    export_run(base)
    stock = AutoModelForCausalLM.from_pretrained("models/aligned").eval()
    ids = torch.randint(6, 100, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = policy(ids, head_weights=WEIGHTS).logits
        assert torch.allclose(stock(ids).logits, expected, atol=1e-5)
        assert not torch.allclose(policy(ids).logits, expected, atol=1e-2)
    assert type(stock).__name__ == "LlamaForCausalLM"
    assert AutoTokenizer.from_pretrained("models/aligned").chat_template
    assert {file.suffix for file in Path("models/aligned").rglob("*") if file.is_file()} <= {
        ".json",
        ".safetensors",
        ".md",
        ".jinja",
        ".yaml",
    }


def test_card_has_weights_figures_and_lineage(policy: MultiHeadCausalLM, base: Model) -> None:
    export_run(base)
    text = Path("models/aligned/README.md").read_text(encoding="utf-8")
    assert "| harmless | declines what would do harm | 0.7500 | 0.7500 |" in text
    assert "| helpful | 0.500 | 0.450 to 0.550 | 400 | 0.020 | -0.010 | 0.030 |" in text
    assert "Differences are to `sft`" in text
    assert f"| `models/policies/mah_dpo` | `{digest(Path('models/policies/mah_dpo'))}` |" in text
    assert "GGUF" not in text


def test_a_stranger_can_use_the_card(policy: MultiHeadCausalLM, base: Model) -> None:
    """The code runs as it stands, the prompt format is that of the template, and every section that
    a reader needs is there.
    """
    export_run(base)
    text = Path("models/aligned/README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code
    assert "temperature=0.7" in code[1]
    printed: list[str] = []
    short = code[1].replace("max_new_tokens=256", "max_new_tokens=4")
    exec(short, {"print": printed.append})
    assert len(printed) == 1
    assert "<|user|> Why 0? <|end|> <|assistant|>" in text
    assert "| crowd | `table` | CC-BY-4.0 | 100 | 98 |" in text
    assert "| logs | `concord` | not stated | 7 | 7 |" in text
    assert "No licence is stated for the sources logs:" in text
    assert "| helpful | 30 | 12 |" in text
    assert "(method `mah_dpo`)" in text
    assert "40 prompts in values" in text


def test_the_card_says_what_was_gained_and_lost(policy: MultiHeadCausalLM, base: Model) -> None:
    export_run(base)
    text = Path("models/aligned/README.md").read_text(encoding="utf-8")
    assert re.search(r"\| helpful \| 0\.500 \[.*\| 0\.700 \[.*\| \+0\.200 \[.*\] gained \|", text)
    assert re.search(r"\| harmless \| 0\.600 \[.*\| 0\.400 \[.*\| -0\.200 \[.*\] lost \|", text)
    assert "Gained: helpful; lost: harmless; no clear change: none." in text
    assert "It is worse than the SFT model on harmless." in text
    assert "chance" not in text


def test_a_pair_accuracy_is_shown_beside_chance(policy: MultiHeadCausalLM, base: Model) -> None:
    """The preferred answer to every prompt is the less likely one on `harmless`."""
    path = "reports/candidate/results.json"
    results = outputs.read_json(path)
    results["conditions"]["protocol"] = "likelihood"
    outputs.write_json(path, results)
    for name in ("reports/candidate/samples.parquet", "reports/samples/sft.parquet"):
        frame = outputs.read_table(name)
        pairs = [
            frame.assign(response=answer, log_probability=value)
            for answer, value in (("Yes.", -1.0), ("No.", -2.0))
        ]
        labelled = pd.concat(pairs, ignore_index=True)
        first = (labelled["response"] == "Yes.").astype(float)
        labelled = labelled.assign(**{"rating.helpful": first, "rating.harmless": 1 - first})
        outputs.write_table(name, labelled)
    export_run(base)
    text = Path("models/aligned/README.md").read_text(encoding="utf-8")
    assert "Pair accuracy" in text
    assert "0.5 is chance; below it, the model prefers the other answer" in text
    assert re.search(r"\| harmless \| 0\.000 \[.*\], below chance \|", text)
    assert re.search(r"\| helpful \| 1\.000 \[1\.000, 1\.000\] \| 1\.000", text)


@pytest.mark.parametrize("benchmark", ["local/held-out", "me/my.benchmark"])
def test_the_hub_reads_the_figures(policy: MultiHeadCausalLM, base: Model, benchmark: str) -> None:
    """`model-index` in the card and the file in `.eval_results` have the means of the answers."""
    export.run(export.ExportParams(benchmark=benchmark), base, PARAMS)
    data = ModelCard.load("models/aligned/README.md").data
    assert data.model_name == "aligned"
    assert data.library_name == "transformers"
    results = {result.metric_name: result for result in data.eval_results or []}
    assert {name: result.metric_value for name, result in results.items()} == {
        "helpful": pytest.approx(0.7),
        "harmless": pytest.approx(0.4),
    }
    assert {result.dataset_type for result in results.values()} == {benchmark}
    assert results["helpful"].dataset_config == "values"
    file = Path("models/aligned/.eval_results/concord.yaml")
    entries = parse_eval_result_entries(YAML(typ="safe").load(file))
    assert {entry.task_id: entry.value for entry in entries} == {
        name: result.metric_value for name, result in results.items()
    }
    assert {entry.dataset_id for entry in entries} == {benchmark}
    notes = str(entries[0].notes)
    assert "95 % interval 0.6" in notes
    assert ("not on the Hub" in notes) == (benchmark == "local/held-out")


def test_a_benchmark_needs_an_id_of_the_hub() -> None:
    with pytest.raises(ParamsError, match=r"export\.benchmark"):
        section(export.ExportParams, {"benchmark": "my benchmark"}, "export")


def test_a_refusal_leaves_the_published_model_as_it_is(
    policy: MultiHeadCausalLM, base: Model
) -> None:
    assert export_run(base)
    assert "was published" in Path("models/candidate/README.md").read_text(encoding="utf-8")
    published = digest(Path("models/aligned"))
    select({"helpful": 1.0, "harmless": 0.0})
    decide(accepted=False)
    assert not export_run(base)
    assert digest(Path("models/aligned")) == published
    text = Path("models/candidate/README.md").read_text(encoding="utf-8")
    assert "# Refused candidate: do not publish" in text
    assert "Gate: refused: harmless -0.2." in text
    refused = AutoModelForCausalLM.from_pretrained("models/candidate")
    assert torch.equal(refused.lm_head.weight, policy.heads[0])


def test_a_first_refusal_publishes_no_model(policy: MultiHeadCausalLM, base: Model) -> None:
    decide(accepted=False)
    export_run(base)
    assert [file.name for file in Path("models/aligned").iterdir()] == ["README.md"]
    text = Path("models/aligned/README.md").read_text(encoding="utf-8")
    assert "No model has been published" in text
    assert "refused: harmless -0.2" in text


def test_an_empty_folder_is_no_published_model(policy: MultiHeadCausalLM, base: Model) -> None:
    """`flows.repair` removes damaged files, and leaves the folder; a power cut cuts the card."""
    card = Path("models/aligned/README.md")
    card.parent.mkdir(parents=True)
    decide(accepted=False)
    export_run(base)
    whole = card.read_text()
    assert "No model has been published" in whole
    card.write_text(whole[:20])
    export_run(base)
    assert card.read_text() == whole


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_an_incomplete_published_model_is_not_recorded(
    policy: MultiHeadCausalLM, base: Model, name: str
) -> None:
    assert export_run(base)
    Path("models/aligned", name).unlink()
    decide(accepted=False)
    with pytest.raises(DataError, match=r"the published model, lacks .*dvc pull"):
        export_run(base)
    decide(accepted=True)
    assert export_run(base)
    assert Path("models/aligned", name).is_file()


def test_only_the_evaluated_checkpoint_is_written(policy: MultiHeadCausalLM, base: Model) -> None:
    with torch.no_grad():
        policy.heads[0] += 1e-6
    policy.save_pretrained("models/policies/mah_dpo")
    with pytest.raises(DataError, match="rerun the stage candidate"):
        export_run(base)
    assert not Path("models/aligned").exists()


@pytest.mark.parametrize(("size", "kept"), [(1e-6, False), (1e-2, True)])
def test_bfloat16_is_refused_if_it_would_undo_the_training(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: float, kept: bool
) -> None:
    """A low-rank head on an SFT model in bfloat16: small differences are rounded away."""
    monkeypatch.chdir(tmp_path)
    sft = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    sft.save_pretrained("models/sft")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained("models/sft")
    model = MultiHeadCausalLM.from_sft("models/sft", ["helpful", "harmless"], head_rank=4)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.up += size * torch.randn(model.up.shape, generator=generator)
    model.save_pretrained("policy")
    tokenizer.save_pretrained("policy")
    Path("file").mkdir()
    if kept:
        write(Path("policy"), WEIGHTS, "bfloat16", Path("file"))
        ids = torch.arange(6, 20).unsqueeze(0)
        stock = AutoModelForCausalLM.from_pretrained("file").eval()
        assert stock.dtype == torch.bfloat16
        with torch.no_grad():
            change = model(ids, head_weights=WEIGHTS).logits - sft.eval()(ids).logits
            error = stock(ids).logits - model(ids, head_weights=WEIGHTS).logits
        assert float(error.norm() / change.norm()) < 0.2
    else:
        with pytest.raises(ParamsError, match=r"keep only \d+% .* in the output matrix; set"):
            write(Path("policy"), WEIGHTS, "bfloat16", Path("file"))
    write(Path("policy"), WEIGHTS, "float32", Path("file"))


@pytest.mark.parametrize("text", ["dequantised from a GGUF file", ""])
def test_card_says_that_a_base_was_dequantised(
    text: str, base: Model, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base/README.md").write_text(f"---\nlicense: apache-2.0\n---\n{text}\n", encoding="utf-8")
    assert bool(card_training.dequantised(base)) == bool(text)
    assert card_training.licence(base) == "license: apache-2.0\n"


def test_the_digest_covers_contents_and_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = digest(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, renamed, digest(tmp_path)}) == 3
