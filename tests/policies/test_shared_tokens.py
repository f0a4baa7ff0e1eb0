"""Packed sequences: each distinct token once, with the same loss and gradients."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import MistralConfig, MistralForCausalLM

from concord.policies.balanced_batches import collate
from concord.policies.methods.mah_dpo import MahDpoParams
from concord.policies.model import MultiHeadCausalLM, from_causal
from concord.policies.preference import make_loss
from concord.policies.shared_tokens import can_pack, pack
from concord.stage.params import section
from tests.policies.test_model import NAMES, SMALL, perturbed

PARAMS = section(
    MahDpoParams,
    {"method": "mah_dpo", "training": {"learning_rate": 1e-3, "steps": 1, "batch_size": 3}},
    "policies.x",
)


def pair(prompt: list[int], chosen: list[int], rejected: list[int], mix: list[float]) -> Any:
    sides = {"chosen": chosen, "rejected": rejected}
    return {
        **{side: ([*prompt, *ids], len(prompt)) for side, ids in sides.items()},
        "mix": mix, "reference": (-9.0, -8.0), "weight": 0.5, "margin": 0.0, "sharpness": 1.0,
    }  # fmt: skip


LONG = list(range(10, 40))
ROWS = [
    pair(LONG, [50, 51, 52, 1], [50, 53, 1], [1.0, 0.0, 0.0]),
    pair(LONG, [54, 1], [50, 51, 52, 1], [0.0, 1.0, 0.0]),
    pair(LONG[:9], [60, 61, 62, 63, 1], [64, 1], [0.0, 0.4, 0.6]),
    pair(LONG[5:19], [70, 71, 1], [70, 72, 1], [0.0, 0.0, 1.0]),
]


def test_a_tree_by_hand() -> None:
    """Three distinct responses after one prompt, of which two share their first token."""
    packed = pack([([5, 6, 7, 1], 2), ([5, 6, 8, 1], 2), ([5, 6, 7, 9, 1], 2)], pad=0)
    assert packed is not None
    assert packed["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert packed["position_ids"].tolist() == [[0, 1, 2, 2, 3]]
    attended = [set(row.nonzero()[:, 0].tolist()) for row in packed["attention_mask"][0, 0]]
    assert attended == [{0}, {0, 1}, {0, 1, 2}, {0, 1, 3}, {0, 1, 2, 4}]
    targets = packed["targets"]
    assert targets["state"].tolist() == [1, 2, 1, 3, 1, 2, 4]
    assert targets["token"].tolist() == [7, 1, 8, 1, 7, 9, 1]
    assert targets["sequence"].tolist() == [0, 0, 1, 1, 2, 2, 2]


def test_sequences_without_a_common_prompt_are_not_packed() -> None:
    assert pack([([5, 6, 7, *range(20, 30)], 3), ([8, 9, 7, *range(30, 40)], 3)], pad=0) is None


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.lists(st.integers(3, 5), min_size=1, max_size=6)),
        min_size=2,
        max_size=8,
    )
)
def test_every_path_spells_its_sequence(drawn: list[tuple[int, list[int]]]) -> None:
    """The ancestors of the state that predicts a token are exactly the tokens before it."""
    sequences = [([prompt] * 4 + response, 4) for prompt, response in drawn]
    packed = pack(sequences, pad=0)
    if packed is None:
        return
    width, targets = packed["input_ids"].shape[1], packed["targets"]
    seen = dict.fromkeys(range(len(sequences)), 4)
    for state, token, index in zip(
        *(targets[name].tolist() for name in ("state", "token", "sequence")), strict=True
    ):
        row, column = divmod(state, width)
        before = packed["attention_mask"][row, 0, column]
        positions = packed["position_ids"][row][before]
        ids = packed["input_ids"][row][before][positions.argsort()]
        assert sorted(positions.tolist()) == list(range(seen[index]))
        assert [*ids.tolist(), token] == sequences[index][0][: seen[index] + 1]
        seen[index] += 1
    assert [seen[index] for index in seen] == [len(ids) for ids, _ in sequences]


@pytest.mark.parametrize(("rank", "adapters"), [(None, None), (4, None), (None, 2)])
@pytest.mark.parametrize("rows", [ROWS, ROWS[2:]], ids=["a prompt in two pairs", "pairs alone"])
def test_loss_and_gradients_equal_the_plain_step(
    tiny_model: Path, rank: int | None, adapters: int | None, rows: list[Any]
) -> None:
    model = perturbed(MultiHeadCausalLM.from_sft(tiny_model, NAMES, rank, adapters))
    assert can_pack(model)
    loss, results = make_loss(NAMES, PARAMS), []
    for share in (False, True):
        batch = collate(0, share_tokens=share, by_mix=adapters is not None)(rows)
        assert ("packed" in batch) == share
        model.zero_grad()
        value, metrics = loss(model, batch)
        value.backward()
        named = model.named_parameters()
        gradients = {name: each.grad for name, each in named if each.grad is not None}
        results.append((value.detach(), metrics, gradients))
    (plain, metrics, gradients), (packed, other, packed_gradients) = results
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=0)
    assert other == pytest.approx(metrics, abs=1e-4, nan_ok=True)
    assert packed_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(packed_gradients[name], gradient, atol=1e-5, rtol=1e-4)


def test_fewer_tokens_are_computed() -> None:
    """Two pairs of one prompt: 30 + 6 tokens in place of 4 rows of 34."""
    batch = collate(0, share_tokens=True)(ROWS[:2])
    assert batch["packed"]["input_ids"].shape == (1, 30 + 5)
    assert batch["input_ids"].shape == (4, 34)


def test_with_adapters_only_the_sides_of_a_mix_share_their_prompt() -> None:
    """The two pairs of one prompt have different heads: two trees of 30 + 4 tokens."""
    batch = collate(0, share_tokens=True, by_mix=True)(ROWS[:2])
    owners = batch["packed"]["owners"]
    assert owners.shape == (2, 30 + 4)
    assert {frozenset(row) for row in owners.tolist()} == {frozenset({0, 2}), frozenset({1, 3})}


def test_models_that_need_whole_rows_are_not_packed(tiny_model: Path) -> None:
    """A sliding window counts positions in the row."""
    windowed = MistralForCausalLM(MistralConfig(**SMALL, sliding_window=4)).eval()
    assert not can_pack(from_causal(windowed, NAMES))
    whole = MistralForCausalLM(MistralConfig(**SMALL, sliding_window=None)).eval()
    assert can_pack(from_causal(whole, NAMES))
