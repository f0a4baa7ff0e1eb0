"""Preference losses: values computed by hand, and equality with TRL for a single head."""

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from concord.lm.chat import encode
from concord.lm.load import load_causal
from concord.lm.train import Training
from concord.policies import losses
from concord.policies.balanced_batches import collate, row_weights
from concord.policies.losses import PairLogprobs
from concord.policies.model import MultiHeadCausalLM, one_hot
from concord.policies.preference import curve_metrics, make_loss
from concord.policies.preference_settings import PreferenceParams
from concord.policies.reference_logprobs import add_reference
from concord.stage import plugins
from concord.stage.errors import ParamsError

PAIRS = PairLogprobs(
    *(
        torch.tensor(row)
        for row in (
            [-10.0, -5.0],
            [-20.0, -7.0],
            [-12.0, -5.0],
            [-21.0, -9.0],
            [4.0, 2.0],
            [5.0, 2.0],
        )
    )
)
"""delta = (-10 + 12) - (-20 + 21) = 1 and (-5 + 5) - (-7 + 9) = -2."""


def log_sigmoid(value: float) -> float:
    return -math.log(1 + math.exp(-value))


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("dpo", {}, [-log_sigmoid(0.5), -log_sigmoid(-1.0)]),
        ("hinge", {}, [0.5, 2.0]),
        ("ipo", {}, [(2 / 4 - 1 / 5 - 1) ** 2, (0 / 2 - 2 / 2 - 1) ** 2]),
        (
            "robust_dpo",
            {"label_smoothing": 0.2},
            [(-0.8 * log_sigmoid(d) + 0.2 * log_sigmoid(-d)) / 0.6 for d in (0.5, -1.0)],
        ),
        (
            "simpo",
            {"margin": 0.3},
            [-log_sigmoid(0.5 * (-2.5 + 4.0) - 0.3), -log_sigmoid(0.5 * (-2.5 + 3.5) - 0.3)],
        ),
    ],
)
def test_losses_by_hand(name: str, parameters: dict[str, float], expected: list[float]) -> None:
    """The formulas of the docstrings on `PAIRS` at beta 0.5."""
    assert PAIRS.delta.tolist() == [1.0, -2.0]
    loss = plugins.function("concord.policies.losses", name)(PAIRS, 0.5, **parameters)
    assert loss.tolist() == pytest.approx(expected, abs=1e-6)


def test_names_and_parameters_of_losses() -> None:
    assert set(plugins.names("concord.policies.losses")) == {
        "dpo",
        "hinge",
        "ipo",
        "robust_dpo",
        "simpo",
    }
    assert plugins.defaults("concord.policies.losses", "simpo") == {"margin": "0.5"}
    assert plugins.defaults("concord.policies.losses", "dpo") == {}


def test_robust_dpo_without_smoothing_is_dpo_and_half_is_rejected() -> None:
    torch.testing.assert_close(losses.robust_dpo(PAIRS, 0.5, 0.0), losses.dpo(PAIRS, 0.5))
    with pytest.raises(ParamsError, match=r"label_smoothing is 0\.5; it must be in \[0, 0\.5\)"):
        losses.robust_dpo(PAIRS, 0.5, 0.5)


def test_row_weights() -> None:
    """alpha_i / n_i: a has 3 pairs and alpha 0.6, b has 1 pair and alpha 0.4, c has no pairs.

    The missing objective c does not increase the weights of a and b.
    """
    assert row_weights(["a", "a", "b", "a"], {"a": 0.6, "b": 0.4, "c": 9.0}) == pytest.approx(
        [0.2, 0.2, 0.4, 0.2]
    )


def test_curve_metrics() -> None:
    """The deltas of a are 1 and -2, that of b is 3; c has no pairs."""
    metrics = curve_metrics(torch.tensor([1.0, 3.0, -2.0]), one_hot([0, 1, 0], 3), ["a", "b", "c"])
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["delta.a"] == -0.5
    assert metrics["accuracy.b"] == 1.0
    assert math.isnan(metrics["accuracy.c"])


@pytest.mark.parametrize(
    ("loss", "trl_loss", "parameters"),
    [
        ("dpo", "sigmoid", {}),
        ("hinge", "hinge", {}),
        ("ipo", "ipo", {}),
        ("robust_dpo", "robust", {"label_smoothing": 0.1}),
    ],
)
def test_a_single_head_equals_trl(
    tiny_model: Path,
    tiny_tokenizer: Any,
    tmp_path: Path,
    loss: str,
    trl_loss: str,
    parameters: dict[str, float],
) -> None:
    """Value and gradient equal those of TRL for the same pairs, policy and reference."""
    texts = [("ab", "abc"), ("long answer", "b"), ("no", "yes")]
    prompt = [{"role": "user", "content": "q"}]
    policy = MultiHeadCausalLM.from_sft(tiny_model, ["policy"])
    with torch.no_grad():
        policy.heads += 0.3 * torch.randn(
            policy.heads.shape, generator=torch.Generator().manual_seed(0)
        )
    expected, expected_gradient = _trl(
        tmp_path,
        policy.merge({"policy": 1.0}),
        tiny_model,
        tiny_tokenizer,
        prompt,
        texts,
        loss_type=[trl_loss],
        **parameters,
    )
    reference, rows = MultiHeadCausalLM.from_sft(tiny_model, ["policy"]), []
    for chosen, rejected in texts:
        sides = [encode(tiny_tokenizer, prompt, text, 128) for text in (chosen, rejected)]
        rows.append(
            {
                "chosen": sides[0],
                "rejected": sides[1],
                "mix": [1.0],
                "margin": 0.0,
                "sharpness": 1.0,
                "reference": (0.0, 0.0),
                "weight": 1 / 3,
            }
        )
    training = Training(learning_rate=1e-3, steps=1, batch_size=3)
    params = PreferenceParams(training=training, beta=0.1, loss=loss, loss_parameters=parameters)
    add_reference(rows, reference, tiny_tokenizer.pad_token_id)
    value, _ = make_loss(["policy"], params)(policy, collate(tiny_tokenizer.pad_token_id)(rows))
    value.backward()
    assert torch.isfinite(value)
    assert float(value.detach()) != pytest.approx(math.log(2), abs=1e-2)
    assert float(value.detach()) == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(policy.heads.grad[0], expected_gradient, atol=1e-5, rtol=1e-4)


def _trl(
    folder: Path,
    policy: Any,
    sft: Path,
    tokenizer: Any,
    prompt: Any,
    texts: Any,
    **options: Any,
) -> tuple[float, torch.Tensor]:
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
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = DPOTrainer(
            policy, load_causal(sft), arguments, train_dataset=data, processing_class=tokenizer
        )
        batch = next(iter(trainer.get_train_dataloader()))
        loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return float(loss.detach()), trainer.model.get_output_embeddings().weight.grad
