"""Sequences with a common prefix share its computation, with unchanged results."""

import random

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from concord.lm.shared_prefixes import groups, read, states, tokens_read

CONFIG = LlamaConfig(
    vocab_size=50,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=3,
    num_attention_heads=2,
    pad_token_id=0,
)


def sequences(rng: random.Random) -> list[list[int]]:
    prompts = [[rng.randrange(1, 50) for _ in range(rng.randint(3, 30))] for _ in range(12)]
    token_ids = [
        [*prompt, *(rng.randrange(1, 50) for _ in range(rng.randint(1, 9)))]
        for prompt in prompts
        for _ in "four"
    ]
    return [*token_ids, token_ids[0], [7], [7], [8]]


@pytest.mark.parametrize("max_size", [1, 3, 64])
def test_every_sequence_is_in_one_group_with_its_prefix(max_size):
    token_ids = sequences(random.Random(0))
    result = list(groups(token_ids, max_size))
    assert sorted(row for group in result for row in group.rows) == list(range(len(token_ids)))
    for rows, shared in result:
        assert len(rows) <= max_size
        assert len({tuple(token_ids[row][:shared]) for row in rows}) == 1
        assert all(len(token_ids[row]) > shared for row in rows)


def test_responses_to_one_prompt_are_grouped():
    prompt = list(range(1, 30))
    assert list(groups([[*prompt, 31], [5, 6], [*prompt, 32, 33]], 64)) == [([0, 2], 29), ([1], 1)]


def test_prompts_with_the_same_header_are_in_separate_groups():
    header = list(range(1, 20))
    one, other = [*header, *[30] * 20], [*header, *[40] * 20]
    token_ids = [[*one, 31], [*one, 32], [*other, 31], [*other, 32]]
    assert list(groups(token_ids, 64)) == [([0, 1], 39), ([2, 3], 39)]


def test_states_equal_those_of_whole_sequences():
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIG).eval().base_model
    token_ids = sequences(random.Random(1))
    for rows, shared in groups(token_ids, 8):
        suffixes = [token_ids[row][shared:] for row in rows]
        hidden = states(model, suffixes, token_ids[rows[0]][:shared], 0)
        starts = [
            index % len(token_ids[row]) for index, row in enumerate(rows)
        ]  # within the prefix and after it
        for index, row in enumerate(rows):
            alone = model(torch.tensor([token_ids[row]]), output_hidden_states=True).hidden_states
            for layer, expected in enumerate(alone):
                np.testing.assert_allclose(
                    hidden.last(layer)[index], expected[0, -1].detach(), atol=2e-6
                )
                mean = expected[0, starts[index] :].mean(dim=0).detach()
                np.testing.assert_allclose(
                    hidden.mean(layer, torch.tensor(starts))[index], mean, atol=2e-6
                )


def test_states_at_single_tokens_equal_those_of_whole_sequences():
    """Tokens of the prefix, of the suffix, and several of one sequence."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIG).eval().base_model
    token_ids = sequences(random.Random(2))
    seen = []
    for rows, hidden in read(model, token_ids, 0, lambda _, states: states, batch_size=8):
        owner = torch.tensor([index for index in range(len(rows)) for _ in range(2)])
        places = torch.tensor([place for row in rows for place in (0, len(token_ids[row]) - 1)])
        for layer in (0, 2, 3):
            table = hidden.at(layer, owner, places)
            for index, place, state in zip(owner.tolist(), places.tolist(), table, strict=True):
                ids = torch.tensor([token_ids[rows[index]]])
                alone = model(ids, output_hidden_states=True).hidden_states[layer][0, place]
                np.testing.assert_allclose(state, alone.detach(), atol=2e-6)
        seen += rows
    assert sorted(seen) == list(range(len(token_ids)))


def test_tokens_of_a_common_prefix_count_once():
    prompt = list(range(1, 30))
    assert tokens_read([[*prompt, 31], [5, 6], [*prompt, 32, 33]]) == 29 + 1 + 2 + 2
    assert tokens_read([]) == 0
