"""The stage `sft`: its loss, its training and its outputs."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from concord.lm import demonstrations
from concord.lm.chat import encode
from concord.lm.load import load_causal, load_tokenizer
from concord.stage import outputs
from concord.stage.params import Model, Runtime, section
from tasks import sft

SETTINGS = Runtime(threads=1, device="cpu")
ANSWERS = ["ab", "abab", "abcabcabc", "b"]


@pytest.fixture
def model(
    tmp_path: Path, tiny_model: Path, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> Model:
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "messages": [{"role": "user", "content": f"q{n}"}],
            "response": ANSWERS[n % 4],
            "domain": "d",
            "author": "x",
        }
        for n in range(12)
    ]
    for table in sft.TABLES:
        outputs.write_table(table, pd.DataFrame(rows))
    Path("template.jinja").write_text(tiny_tokenizer.chat_template + "{# ours #}")
    return Model(str(tiny_model), None, str(tiny_model), "template.jinja", 64)


def params(**entry: Any) -> sft.SftParams:
    training = {"learning_rate": 1e-2, "steps": 6, "batch_size": 4}
    return section(sft.SftParams, {"training": training, **entry}, "sft")


def test_every_response_token_has_the_same_weight(tiny_model: Path, tiny_tokenizer: Any) -> None:
    """The loss is the mean over all response tokens, without prompts and padding."""
    model, table = load_causal(tiny_model), 0.0
    frame = pd.DataFrame(
        {
            "messages": [
                [{"role": "user", "content": "a long question"}],
                [{"role": "user", "content": "q"}],
            ],
            "response": ["x", "yyyyy"],
        }
    )
    for messages, response in zip(frame["messages"], frame["response"], strict=True):
        ids, start = encode(tiny_tokenizer, messages, response, 64)
        with torch.no_grad():
            scores = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        table -= sum(float(scores[t - 1, ids[t]]) for t in range(start, len(ids)))
    rows = demonstrations.encode_rows(frame, tiny_tokenizer, 64)
    with torch.no_grad():
        assert demonstrations.mean_loss(model, rows, 0) == pytest.approx(table / 8, abs=1e-5)
    assert demonstrations.token_shares(rows) == [2 / 8, 6 / 8]


def test_it_learns_and_writes_model_tokenizer_and_template(model: Model) -> None:
    sft.run(params(), model, SETTINGS, seed=0)
    curve = pd.read_csv(sft.CURVE)
    assert curve["loss"].iloc[-1] < 0.8 * curve["loss"].iloc[0]
    assert curve["validation_loss"].notna().any()
    before, after = load_causal(model.name), load_causal(sft.FOLDER)
    changed = dict(before.named_parameters())
    assert all(not torch.equal(changed[name], weight) for name, weight in after.named_parameters())
    assert load_tokenizer(sft.FOLDER).chat_template.endswith("{# ours #}")
    assert not Path("work").exists() or not list(Path("work").rglob("checkpoint-*"))


def test_the_same_seed_gives_the_same_bits(model: Model) -> None:
    files = []
    for seed in (0, 0, 1):
        sft.run(params(), model, SETTINGS, seed)
        files.append(load_file(sft.FOLDER / "model.safetensors")["model.norm.weight"])
    assert torch.equal(files[0], files[1])
    assert not torch.equal(files[0], files[2])


def test_adapters_are_merged(model: Model) -> None:
    sft.run(params(lora={"rank": 2}), model, SETTINGS, seed=0)
    before, after = load_causal(model.name).state_dict(), load_causal(sft.FOLDER).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.endswith("_proj.weight")}
