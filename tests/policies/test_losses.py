"""The preference loss: numbers by hand, exact under accumulation, and for one head TRL's DPO."""

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.policies import losses
from tasks.policies.batches import collate
from tasks.policies.model import MultiHeadCausalLM
from tasks.policies.preference import objective
from tasks.stage.models import encode, load_causal


def test_by_hand() -> None:
    """delta = (-10 + 12) - (-20 + 21) = 1 and (-5 + 5) - (-7 + 9) = -2; beta 0.5, weights 2/3 and 1/3.

    -log sigmoid(0.5) = log(1 + e^-0.5) = 0.474077, -log sigmoid(-1) = log(1 + e) = 1.313262.
    """
    sums = [torch.tensor(row) for row in ([-10.0, -5.0], [-20.0, -7.0], [-12.0, -5.0], [-21.0, -9.0])]
    delta = losses.delta(*sums)
    assert delta.tolist() == [1.0, -2.0]
    loss = losses.weighted_dpo(delta, torch.tensor([2 / 3, 1 / 3]), beta=0.5)
    assert float(loss) == pytest.approx(2 / 3 * math.log(1 + math.exp(-0.5)) + 1 / 3 * math.log(1 + math.e), abs=1e-6)


def test_row_weights() -> None:
    """alpha_i / n_i: objectives a (3 pairs, alpha 0.6) and b (1 pair, alpha 0.4); c has no pair and takes nothing.

    Field notes 2.5: averaged over the objectives that are there, a and b would weigh more for want of c.
    """
    assert losses.row_weights(["a", "a", "b", "a"], {"a": 0.6, "b": 0.4, "c": 9.0}) == pytest.approx(
        [0.2, 0.2, 0.4, 0.2]
    )


def test_micro_batches_add_up() -> None:
    delta, weights = torch.randn(8, generator=torch.Generator().manual_seed(0)), torch.full((8,), 1 / 8)
    whole = losses.weighted_dpo(delta, weights, 0.1)
    parts = sum(losses.weighted_dpo(delta[row : row + 1], weights[row : row + 1], 0.1) for row in range(8))
    torch.testing.assert_close(parts, whole)
    assert float(losses.weighted_dpo(delta[:0], weights[:0], 0.1)) == 0.0


def test_figures() -> None:
    """a has deltas 1 and -2, b has 3, c has none."""
    found = losses.figures(torch.tensor([1.0, 3.0, -2.0]), torch.tensor([0, 1, 0]), ["a", "b", "c"])
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["delta.a"] == -0.5
    assert found["accuracy.b"] == 1.0
    assert math.isnan(found["accuracy.c"])


def test_one_head_is_trls_dpo(tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path) -> None:
    """The loss and the gradient norm of TRL's sigmoid loss on the same pairs, policy and reference."""
    texts = [("ab", "abc"), ("long answer", "b"), ("no", "yes")]
    prompt = [{"role": "user", "content": "q"}]
    policy = MultiHeadCausalLM.from_sft(tiny_model, ["policy"])
    with torch.no_grad():
        policy.heads += 0.3 * torch.randn(policy.heads.shape, generator=torch.Generator().manual_seed(0))
    theirs, their_gradient = _trl(tmp_path, policy.merge({"policy": 1.0}), tiny_model, tiny_tokenizer, prompt, texts)
    reference, rows = MultiHeadCausalLM.from_sft(tiny_model, ["policy"]), []
    for chosen, rejected in texts:
        sides = [encode(tiny_tokenizer, prompt, text, 128) for text in (chosen, rejected)]
        rows.append({"chosen": sides[0], "rejected": sides[1], "head": 0, "reference": (0.0, 0.0), "weight": 1 / 3})
    from tasks.policies.logprobs import add_reference

    add_reference(rows, reference, tiny_tokenizer.pad_token_id)
    ours, _ = objective(["policy"], 0.1)(policy, collate(tiny_tokenizer.pad_token_id)(rows))
    ours.backward()
    assert float(ours.detach()) != pytest.approx(math.log(2), abs=1e-2)
    assert float(ours.detach()) == pytest.approx(theirs, abs=1e-5)
    torch.testing.assert_close(policy.heads.grad[0], their_gradient, atol=1e-5, rtol=1e-4)


def _trl(folder: Path, policy: Any, sft: Path, tokenizer: Any, prompt: Any, texts: Any) -> tuple[float, torch.Tensor]:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    texts_of = {"chosen": [a for a, _ in texts], "rejected": [b for _, b in texts]}
    header = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    data = Dataset.from_dict({"prompt": [header] * len(texts), **texts_of})
    arguments = DPOConfig(
        output_dir=str(folder),
        beta=0.1,
        bf16=False,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        activation_checkpointing=False,
        per_device_train_batch_size=3,
        dataloader_pin_memory=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = DPOTrainer(policy, load_causal(sft), arguments, train_dataset=data, processing_class=tokenizer)
        batch = next(iter(trainer.get_train_dataloader()))
        loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return float(loss.detach()), trainer.model.get_output_embeddings().weight.grad
