"""Outcome reward models: batches, names of heads, and checks of checkpoints."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from concord.lm import shared_prefixes
from concord.lm.batches import encode_all
from concord.lm.chat import encode
from concord.lm.load import load_causal
from concord.lm.shared_prefixes import tokens_read
from concord.rewards.outcome.examples import Example, Grade, Order, Scale, Scales
from concord.rewards.outcome.probe import Probe, answer_start
from concord.rewards.outcome.probe_fit import Features, fit_heads
from concord.rewards.outcome.reward_model import FinetunedRewardModel, load, new_model
from concord.stage.errors import ModelError

MESSAGES = [[{"role": "user", "content": "hi" * (1 + n % 5)}] for n in range(33)]
RESPONSES = ["yes" * (1 + n % 7) + str(n) for n in range(33)]


@pytest.fixture
def finetuned(tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path) -> Path:
    tiny_tokenizer.model_max_length = 64
    model = new_model(tiny_model, ["helpful", "honest"], tiny_tokenizer, "cpu", "float32", seed=0)
    model.save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def probe(tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path) -> Path:
    tiny_tokenizer.model_max_length = 64
    heads = {"weight": np.linspace(-1, 1, 256).reshape(2, 128), "bias": np.array([0.5, -0.5])}
    probe_model = Probe(
        load_causal(tiny_model),
        tiny_tokenizer,
        [1, 2],
        ["helpful", "honest"],
        heads,
        ("last", "mean"),
    )
    (tmp_path / "rewards").mkdir()
    probe_model.save(tmp_path / "rewards", tiny_model, tmp_path / "rewards")
    return tmp_path / "rewards"


@pytest.mark.parametrize("architecture", ["finetuned", "probe"])
def test_scores_do_not_depend_on_the_batch(
    architecture: str, request: pytest.FixtureRequest
) -> None:
    model = load(request.getfixturevalue(architecture))
    alone, together = (model.score(MESSAGES, RESPONSES, batch_size=size) for size in (1, 32))
    assert model.objectives == ["helpful", "honest"]
    assert together.shape == (33, 2)
    assert together.dtype == np.float32
    assert together.std(axis=0).min() > 1e-3
    np.testing.assert_allclose(alone, together, atol=1e-4)


def test_scores_do_not_depend_on_the_batch_if_padding_ends_sequences(
    tiny_model: Path, tiny_tokenizer: Any
) -> None:
    """The tokenizer pads with its end-of-sequence token, as many do."""
    tiny_tokenizer.model_max_length, tiny_tokenizer.pad_token = 64, tiny_tokenizer.eos_token
    model = new_model(tiny_model, ["helpful"], tiny_tokenizer, "cpu", "float32", seed=0)
    reward = FinetunedRewardModel(model, tiny_tokenizer)
    alone, together = (reward.score(MESSAGES, RESPONSES, batch_size=size) for size in (1, 32))
    assert together.std() > 1e-3
    np.testing.assert_allclose(alone, together, atol=1e-4)


def test_a_probe_reads_only_the_response(probe: Path, tiny_model: Path) -> None:
    """States of both layers: of the last token, then the mean over the response and its end."""
    probe_model = load(probe)
    assert isinstance(probe_model, Probe)
    model = load_causal(tiny_model)
    features = probe_model.features(encode_all(probe_model.tokenizer, MESSAGES[:5], RESPONSES[:5]))
    for row, (messages, response) in enumerate(zip(MESSAGES, RESPONSES[:5], strict=False)):
        ids, start = encode(probe_model.tokenizer, messages, response, 64)
        with torch.no_grad():
            states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        parts = [
            states[1][0, -1],
            states[2][0, -1],
            states[1][0, start:].mean(0),
            states[2][0, start:].mean(0),
        ]
        np.testing.assert_allclose(features[row], torch.cat(parts).numpy(), atol=1e-5)


def test_the_start_of_a_response() -> None:
    """After the last header, ignoring the last token; 0 without a header."""
    assert answer_start([1, 9, 8, 2, 9, 8, 3, 4], [9, 8]) == 6
    assert answer_start([1, 9, 4, 9], [9]) == 2
    assert answer_start([3, 4], [9, 8]) == 0


def test_a_stock_model_gives_the_same_scores(finetuned: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    ours = load(finetuned)
    stock = AutoModelForSequenceClassification.from_pretrained(finetuned)
    ids = encode_all(ours.tokenizer, MESSAGES[:1], RESPONSES[:1])  # type: ignore[attr-defined]
    with torch.no_grad():
        logits = stock(torch.tensor(ids)).logits
    np.testing.assert_allclose(ours.score(MESSAGES[:1], RESPONSES[:1]), logits.numpy(), atol=1e-5)
    assert stock.config.problem_type == "regression"
    assert stock.config.label2id == {"helpful": 0, "honest": 1}


def test_a_transformers_pipeline_gives_the_same_scores(finetuned: Path) -> None:
    """See docs/explanation/reward-models.md: `problem_type` keeps the scores as they are."""
    from transformers import pipeline

    ours = load(finetuned)
    reads = pipeline("text-classification", str(finetuned), tokenizer=ours.tokenizer)  # type: ignore[attr-defined]
    prompt = ours.tokenizer.apply_chat_template(
        MESSAGES[0], add_generation_prompt=True, tokenize=False
    )  # type: ignore[attr-defined]
    text = prompt + RESPONSES[0] + ours.tokenizer.eos_token  # type: ignore[attr-defined]
    actual = {
        entry["label"]: entry["score"]
        for entry in reads(text, top_k=None, add_special_tokens=False)
    }
    expected = dict(
        zip(ours.objectives, ours.score(MESSAGES[:1], RESPONSES[:1])[0].tolist(), strict=True)
    )
    assert actual == pytest.approx(expected, abs=1e-5)


def test_prompts_are_truncated_on_the_left_and_responses_never(finetuned: Path) -> None:
    model = load(finetuned)
    long = [
        [{"role": "user", "content": "x" * 100 + "end"}],
        [{"role": "user", "content": "y" * 100 + "end"}],
    ]
    scores = model.score(long, ["yes", "yes"])
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("architecture", ["finetuned", "probe"])
def test_a_response_that_is_too_long_costs_its_row_only(
    architecture: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load(request.getfixturevalue(architecture))
    responses = [*RESPONSES[:4], "z" * 70, *RESPONSES[5:9]]
    scores = model.score(MESSAGES[:9], responses)
    assert np.isnan(scores).all(axis=1).tolist() == [row == 4 for row in range(9)]
    np.testing.assert_allclose(
        np.delete(scores, 4, axis=0),
        np.delete(model.score(MESSAGES[:9], RESPONSES[:9]), 4, axis=0),
        atol=1e-4,
    )
    assert capsys.readouterr().out.count("left out 1 of 9 responses") == 1
    assert np.isnan(model.score(MESSAGES[:1], ["z" * 70])).all()


def test_a_probe_reads_equal_responses_once(probe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal responses to different prompts are different sequences."""
    model = load(probe)
    assert isinstance(model, Probe)
    counts, compute = [], model.features
    monkeypatch.setattr(
        model, "features", lambda ids, size: (counts.append(len(ids)), compute(ids, size))[1]
    )
    scores = model.score([MESSAGES[0]] * 3 + [MESSAGES[1]], ["yes", "no", "yes", "yes"])
    assert counts == [3]
    np.testing.assert_array_equal(scores[0], scores[2])
    assert not np.array_equal(scores[0], scores[3])


def test_long_prompts_begin_alike_for_all_responses_of_a_probe(
    probe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 64 tokens, a prompt keeps 48 where a response has up to 16; without, each begins apart."""
    model = load(probe)
    assert isinstance(model, Probe)
    asked: list[list[list[int]]] = []
    compute = model.features
    monkeypatch.setattr(
        model, "features", lambda ids, size: (asked.append(ids), compute(ids, size))[1]
    )
    prompt = [{"role": "user", "content": "".join(map(str, range(60)))}]
    responses = ["y" * length for length in (1, 5, 9, 15)]
    model.score([prompt] * 4, responses)
    (sequences,) = asked
    assert {tuple(ids[:48]) for ids in sequences} == {tuple(sequences[0][:48])}
    exact = encode_all(model.tokenizer, [prompt] * 4, responses)
    assert tokens_read(sequences) < 0.5 * tokens_read(exact)
    assert all(len(ids) <= 64 for ids in sequences)


def test_a_probe_scores_in_the_type_it_was_fitted_in(probe: Path, tiny_model: Path) -> None:
    entry = (probe / "probe.json").read_text()
    assert '"dtype": "float32"' in entry
    before = load(probe).score(MESSAGES, RESPONSES)
    np.testing.assert_array_equal(load(probe, dtype="bfloat16").score(MESSAGES, RESPONSES), before)
    (probe / "probe.json").write_text(entry.replace("float32", "bfloat16"))
    model = load(probe)
    assert isinstance(model, Probe)
    assert model.backbone.dtype == torch.bfloat16


def test_an_incompatible_checkpoint_is_an_error(
    finetuned: Path, tiny_model: Path, tmp_path: Path
) -> None:
    weights = load_file(finetuned / "model.safetensors")
    renamed = {f"x.{name}": value for name, value in weights.items()}
    save_file(renamed, finetuned / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="does not fit"):
        load(finetuned)
    with pytest.raises(ModelError, match=r"there is no reward model at .*missing"):
        load(tmp_path / "missing")
    with pytest.raises(ModelError, match=r"1 missing: score\.weight"):
        load(tiny_model)


def test_a_new_model_equals_the_sft_model_except_for_the_heads(
    tiny_model: Path, tiny_tokenizer: Any
) -> None:
    before = torch.get_rng_state()
    models = [
        new_model(tiny_model, ["a", "b"], tiny_tokenizer, "cpu", "float32", seed=seed)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(before, torch.get_rng_state())
    stored = load_file(tiny_model / "model.safetensors")
    for name, value in models[0].state_dict().items():
        if name != "score.weight":
            assert torch.equal(value, stored[name]), name
    assert torch.equal(models[0].score.weight, models[1].score.weight)
    assert not torch.equal(models[0].score.weight, models[2].score.weight)


def test_scoring_zero_responses_with_a_probe(probe: Path) -> None:
    assert load(probe).score([], []).shape == (0, 2)


def test_a_probe_rejects_a_different_backbone(
    probe: Path, tiny_model: Path, tmp_path: Path
) -> None:
    entry = (probe / "probe.json").read_text()
    assert '"objectives"' in entry
    (probe / "probe.json").write_text(entry.replace('"backbone_hash": "', '"backbone_hash": "0'))
    with pytest.raises(ModelError, match="fitted on other weights"):
        load(probe)


def _random(count: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, width))


def test_heads_are_fitted_to_orders_and_grades_together() -> None:
    """Pairs prefer a high feature 0 (head 0), grades a low feature 1 (head 1).

    Feature 2 is constant. A response with mean features has score 0.
    """
    features = _random(400, 3).astype(np.float32)
    features[:, 2] = 4.0
    training_examples = []
    for first in range(0, 400, 2):
        one, other = features[first : first + 2]
        order = Order(0, (0, 1) if one[0] > other[0] else (1, 0), (1, 2), 0.0)
        grades = [
            Grade(1, index, 0, int(row[1] < 0.5), 1.0, 0) for index, row in enumerate((one, other))
        ]
        training_examples.append(Example([[0], [0]], [order], grades))
    scale = Scale("b", 0.0, 1.0)
    heads, thresholds = fit_heads(
        features, training_examples, Scales({scale: [0.0, 1.0]}, {scale: [0.7]}, {}), 2, l2=1.0
    )
    assert heads["weight"][0, 0] > 5 * abs(heads["weight"][0, 1])
    assert heads["weight"][1, 1] < -5 * abs(heads["weight"][1, 0])
    np.testing.assert_allclose(heads["weight"][:, 2], 0.0)
    np.testing.assert_allclose(
        heads["weight"] @ features.mean(axis=0) + heads["bias"], 0.0, atol=1e-5
    )
    cut = (
        thresholds.per_scale().item() - heads["bias"][1]
    )  # The score at which yes and no are equally likely.
    assert cut / heads["weight"][1, 1] == pytest.approx(0.5, abs=0.1)


def test_pairs_alone_are_logistic_regression_on_differences() -> None:
    from sklearn.linear_model import LogisticRegression

    features = _random(120, 5)
    training_examples = [
        Example([[0], [0]], [Order(0, (0, 1), (1, 2), 0.0)], []) for _ in range(60)
    ]
    heads, _ = fit_heads(features, training_examples, Scales(), 1, l2=10.0)
    differences = (features[::2] - features[1::2]) / features.std(axis=0)
    both, halves = np.concatenate([differences, -differences]), np.full(120, 0.5)
    model = LogisticRegression(C=0.1, fit_intercept=False).fit(both, np.repeat([1, 0], 60), halves)
    np.testing.assert_allclose(heads["weight"][0] * features.std(axis=0), model.coef_[0], atol=1e-3)


def test_features_are_computed_once_until_something_changes(
    probe: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe_model = load(probe)
    assert isinstance(probe_model, Probe)
    sequences = [[5, 6, 7], [8, 9], [5, 6, 7]]
    read: list[list[int]] = []
    states = shared_prefixes.states

    def counted(model: Any, suffixes: Any, prefix: Any, pad: int) -> Any:
        read.extend([*prefix, *suffix] for suffix in suffixes)
        return states(model, suffixes, prefix, pad)

    monkeypatch.setattr(shared_prefixes, "states", counted)
    kept, damaged = tmp_path / "kept", tmp_path / "kept/features.sqlite"
    first = Features(probe_model, tiny_model, sequences, kept).lookup(sequences)
    np.testing.assert_array_equal(first[0], first[2])
    assert read == [[5, 6, 7], [8, 9]]
    again = Features(probe_model, tiny_model, sequences, kept).lookup(sequences)
    np.testing.assert_array_equal(again, first)
    assert len(read) == 2
    more = [[4], *sequences, [7, 9]]  # as if prompts were added
    grown = Features(probe_model, tiny_model, more, kept).lookup(sequences)
    np.testing.assert_array_equal(grown, first)
    assert read[2:] == [[4], [7, 9]]
    joined = [*more, [8, 9, 9]]  # joins the group of [8, 9], whose numbers may differ in a bit
    resumed = Features(probe_model, tiny_model, joined, kept).lookup(joined)
    assert read[4:] == [[8, 9], [8, 9, 9]]
    fresh = Features(probe_model, tiny_model, joined, tmp_path / "fresh").lookup(joined)
    np.testing.assert_array_equal(resumed, fresh)
    read.clear()
    Features(probe_model, tiny_model, sequences, kept)  # forgets what it did not ask for
    Features(probe_model, tiny_model, more, kept)
    assert read == [[8, 9], [4], [7, 9]]
    read.clear()
    damaged.write_bytes(damaged.read_bytes()[:5000])
    np.testing.assert_array_equal(
        Features(probe_model, tiny_model, sequences, kept).lookup(sequences), first
    )
    assert len(read) == 2
    probe_model.layers = [1, 1]
    Features(probe_model, tiny_model, sequences, kept)
    assert len(read) == 4
