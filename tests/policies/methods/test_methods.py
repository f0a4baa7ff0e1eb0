"""The preference methods, end to end: trained parameters, batches, resuming."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from concord.lm.load import load_causal
from concord.policies import model, pair_sources, preference, preference_settings, steerable
from concord.policies.job import ANNOTATED, ROLLOUTS, PolicyJob
from concord.policies.methods import dpo, mah_dpo, reference
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import section
from concord.stage.paths import SFT
from tests.policies.conftest import OBJECTIVES, TRAINING, MakeJob

METHODS = {"mah_dpo": mah_dpo, "dpo": dpo}


def trained(job: PolicyJob) -> dict[str, torch.Tensor]:
    METHODS[job.params.method].run(job)
    return load_file(job.folder / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def unchanged(job: PolicyJob, weights: dict[str, torch.Tensor]) -> set[str]:
    """The parameters that equal those of a new multi-head model."""
    fresh = model.MultiHeadCausalLM.from_sft(
        SFT, job.vector, getattr(job.params, "head_rank", None)
    )
    return {
        name
        for name, parameter in fresh.named_parameters()
        if torch.equal(parameter, weights[name])
    }


@pytest.mark.parametrize("rank", [None, 2])
def test_all_parameters_are_trained(project: Path, make_job: MakeJob, rank: int | None) -> None:
    """Low-rank heads do not train the SFT model's matrix, which all heads share."""
    job = make_job(method="mah_dpo", head_rank=rank)
    weights = trained(job)
    assert unchanged(job, weights) == {"shared"}
    heads = weights["heads"] if rank is None else weights["up"]
    assert all(not torch.equal(heads[0], heads[head]) for head in range(1, 4))
    policy = steerable.load(job.folder)
    assert policy.head_names == ["helpful", "honest", "right", "vivid"]
    assert (job.folder / "tokenizer.json").exists()
    assert "accuracy.helpful" in job.curve.read_text().splitlines()[0]


def test_a_frozen_backbone_is_not_trained(project: Path, make_job: MakeJob) -> None:
    job = make_job(method="mah_dpo", heads_only=True)
    weights = trained(job)
    assert unchanged(job, weights) == {
        "shared",
        *(name for name in weights if name.startswith("backbone.")),
    }


@pytest.mark.parametrize("frozen", [False, True])
def test_heads_with_adapters_are_trained(project: Path, make_job: MakeJob, frozen: bool) -> None:
    """Adapters are trained with a frozen backbone too; every head's adapter is its own."""
    job = make_job(method="mah_dpo", head_adapters={"rank": 2}, heads_only=frozen)
    weights = trained(job)
    before = model.MultiHeadCausalLM.from_sft(SFT, job.vector, adapter_rank=2).state_dict()
    same_as_before = {name for name in weights if torch.equal(before[name], weights[name])}
    backbone = {
        n for n in weights if n.startswith("backbone.") and not n.endswith((".up", ".down"))
    }
    assert same_as_before == {"shared", *(backbone if frozen else ())}
    ups = [weight for name, weight in weights.items() if name.endswith(".up")]
    assert ups
    assert all(not torch.equal(up[0], up[1]) for up in ups)


def test_adapters_train_the_backbone_and_are_merged(project: Path, make_job: MakeJob) -> None:
    job = make_job(method="mah_dpo", lora={"rank": 2, "alpha": 4})
    weights = trained(job)
    projections = {name for name in weights if name.endswith("_proj.weight")}
    assert unchanged(job, weights) == weights.keys() - projections - {"heads"}
    assert not any("lora" in name for name in weights)


def test_an_objective_without_alpha_keeps_the_initial_head(
    project: Path, make_job: MakeJob
) -> None:
    """`right` has weight 0. Its head exists and equals the SFT model's output matrix."""
    job = make_job(
        method="mah_dpo", heads_only=True, alpha={"helpful": 1.0, "honest": 2.0, "vivid": 1.0}
    )
    heads = trained(job)["heads"]
    expected = load_causal(SFT).get_output_embeddings().weight
    assert [torch.equal(head, expected) for head in heads] == [False, False, True, False]


def test_heads_of_opposed_objectives_learn_opposite_preferences(
    project: Path, make_job: MakeJob
) -> None:
    """helpful and honest have opposed rewards; a single head could not rank both correctly."""
    training = {**TRAINING, "steps": 30, "learning_rate": 1e-2}
    job = make_job(method="mah_dpo", training=training)
    mah_dpo.run(job)
    last = pd.read_csv(job.curve).iloc[-1]
    assert last["accuracy.helpful"] == last["accuracy.honest"] == 1.0
    assert last["loss"] < 0.6  # log 2 at the start


def test_pooled_dpo_uses_the_batches_of_mah_dpo(
    project: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens, weights, reference log-probabilities and steps are equal; only the heads differ."""
    seen: dict[str, Any] = {}
    for job in (make_job(method="mah_dpo"), make_job(method="dpo", pool=True)):

        def record(
            policy: Any, rows: Any, *_: Any, method: str = job.params.method, **kwargs: Any
        ) -> None:
            seen[method] = [{**row, "mix": None} for row in rows]
            seen[method + " heads"] = {tuple(row["mix"]) for row in rows}
            # Shuffled rows would carry the weights of other batches.
            assert kwargs["order"] == "given"

        monkeypatch.setattr(preference, "fit", record)
        METHODS[job.params.method].run(job)
    assert len(seen["dpo"]) == 4 * 6
    assert seen["dpo"] == seen["mah_dpo"]
    assert seen["mah_dpo heads"] == set(map(tuple, torch.eye(4).tolist()))
    assert seen["dpo heads"] == {(1.0,)}


def test_mixes_train_as_they_are_used(
    project: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of each batch is single objectives; a mix uses the heads of its domain alone."""
    batches: list[Any] = []
    monkeypatch.setattr(preference, "fit", lambda policy, rows, *_, **__: batches.extend(rows))
    training = {**TRAINING, "batch_size": 8}
    job = make_job(
        method="mah_dpo", mixes={"corners": 0.5, "per_prompt": 2}, min_gap=0.0, training=training
    )
    METHODS["mah_dpo"].run(job)
    domains = [
        {job.vector.index(name) for name in pair}
        for pair in (("right", "vivid"), ("honest", "helpful"))
    ]
    for start in range(0, len(batches), 8):
        batch = batches[start : start + 8]
        assert sum(row["weight"] for row in batch) == pytest.approx(1.0)
        mixes = [row["mix"] for row in batch]
        assert all(sum(mix) == pytest.approx(1.0) for mix in mixes)
        supports = [{head for head, weight in enumerate(mix) if weight} for mix in mixes]
        assert sorted(next(iter(s)) for s in supports if len(s) == 1) == [0, 1, 2, 3]
        assert all(s in domains for s in supports if len(s) > 1)
        assert sum(s == domains[0] for s in supports) == 2


def test_all_corners_is_the_published_method(
    project: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[Any] = []
    monkeypatch.setattr(preference, "fit", lambda policy, rows, *_, **__: batches.append(rows))
    for entry in ({}, {"mixes": {"corners": 1.0}}):
        METHODS["mah_dpo"].run(make_job(method="mah_dpo", **entry))
    assert batches[0] == batches[1]


def test_a_policy_trained_with_mixes_is_saved_and_steered(project: Path, make_job: MakeJob) -> None:
    job = make_job(method="mah_dpo", mixes={"corners": 0.0}, min_gap=0.0)
    METHODS["mah_dpo"].run(job)
    assert steerable.load(job.folder).head_names == job.vector


def test_mixes_need_rewards_and_room_for_single_objectives(make_job: MakeJob) -> None:
    with pytest.raises(ParamsError, match="`mixes` combines scores"):
        make_job(method="mah_dpo", mixes={}, pairs="annotations")
    vector = {name: objective for name, objective in OBJECTIVES.items() if objective.in_vector}
    for corners, needed in ((0.5, 8), (0.96, 50)):  # of a domain: single objectives, mixes
        job = make_job(method="mah_dpo", mixes={"corners": corners})
        problems = list(METHODS["mah_dpo"].METHOD.problems(job.params, vector))
        assert f"raise it to {needed} or more" in problems[0]


def test_dpo_writes_a_stock_checkpoint(project: Path, make_job: MakeJob) -> None:
    job = make_job(method="dpo", pool=True)
    weights = trained(job)
    policy = load_causal(job.folder)
    assert type(policy).__name__ == "LlamaForCausalLM"
    before = dict(load_causal(SFT).named_parameters(remove_duplicate=False))
    assert all(not torch.equal(weight, before[name]) for name, weight in weights.items())


@pytest.mark.parametrize(
    "entry",
    [{"method": "mah_dpo"}, {"method": "dpo", "weights": {"right": 1, "vivid": 2, "helpful": 3}}],
)
def test_the_order_of_objectives_does_not_matter(
    project: Path, make_job: MakeJob, entry: dict[str, Any]
) -> None:
    """The weights are equal bit for bit."""
    first = trained(make_job(**entry))
    if "weights" in entry:
        entry = {**entry, "weights": dict(reversed(entry["weights"].items()))}
    assert same(first, trained(make_job(objectives=dict(reversed(OBJECTIVES.items())), **entry)))


def test_gradient_accumulation_does_not_change_the_result(project: Path, make_job: MakeJob) -> None:
    whole = trained(make_job(method="mah_dpo"))
    parts = trained(make_job(method="mah_dpo", training={**TRAINING, "micro_batch": 1}))
    # RMSprop divides by the gradient's size, so single weights with a gradient near 0 may differ.
    assert max(float((whole[name] - parts[name]).abs().mean()) for name in whole) < 1e-5


@pytest.mark.parametrize(
    ("extra", "micro", "left"),
    [({}, None, 4), ({"cosines_every": 3}, 3, 12), ({"conflict": "upgrad"}, 3, 12)],
)
def test_a_killed_training_resumes_bitwise(
    project: Path,
    make_job: MakeJob,
    monkeypatch: pytest.MonkeyPatch,
    extra: dict[str, Any],
    micro: int | None,
    left: int,
) -> None:
    """Killed in micro-batch 6 with a checkpoint every 2 of 8 steps: the next run resumes at step 5.

    With two micro-batches per step, it resumes at step 3.
    """
    training = {**TRAINING, "steps": 8, "checkpoint_every": 2, "micro_batch": micro}
    job = make_job(method="mah_dpo", training=training, lora={"rank": 2, "alpha": 4}, **extra)
    expected = trained(job)
    whole, calls, plain = job.curve.read_text(), [], preference.make_loss

    def counted(given: tuple[Any, ...], fatal: int | None) -> Any:
        def loss(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) == fatal:
                raise RuntimeError("killed")
            return plain(*given)(*arguments)

        return loss

    monkeypatch.setattr(preference, "make_loss", lambda *given: counted(given, 6))
    with pytest.raises(RuntimeError, match="killed"):
        mah_dpo.run(job)
    monkeypatch.setattr(preference, "make_loss", lambda *given: counted(given, None))
    calls.clear()
    assert same(trained(job), expected)
    assert len(calls) == left
    assert job.curve.read_text() == whole
    assert not list(Path("work").rglob("checkpoint-*"))


@pytest.mark.parametrize(
    ("entry", "groups"),
    [
        ({"weights": {"right": 1.0, "helpful": 1.0}}, {"math", "values"}),
        ({"reward": "overall"}, {"math", "values"}),
        ({"reward": "vivid"}, {"math"}),
        ({"reward": "overall", "pairs": "annotations"}, {"overall"}),
        ({"reward": "overall", "pairs": "both"}, {"math", "values", "overall"}),
        ({"pool": True, "pairs": "both"}, {"right", "vivid", "honest", "helpful"}),
    ],
)
def test_groups_of_dpo_pairs(
    project: Path, make_job: MakeJob, entry: dict[str, Any], groups: set[str]
) -> None:
    assert dpo.build_pairs(make_job(method="dpo", **entry)).keys() == groups


def test_both_sources_are_merged(project: Path, make_job: MakeJob) -> None:
    sizes = {}
    for source in ("rollouts", "annotations", "both"):
        pairs = pair_sources.pairs_by_objective(make_job(method="mah_dpo", pairs=source))
        sizes[source] = {name: len(rows) for name, rows in pairs.items()}
    assert sizes["annotations"] == dict.fromkeys(["helpful", "honest", "right", "vivid"], 12)
    assert sizes["both"] == {name: sizes["rollouts"][name] + 12 for name in sizes["both"]}


def test_only_the_requested_sources_are_read(project: Path, make_job: MakeJob) -> None:
    ANNOTATED.unlink()
    assert pair_sources.pairs_by_objective(make_job(method="mah_dpo"))
    ROLLOUTS.unlink()
    with pytest.raises(DataError, match="does not exist"):
        pair_sources.pairs_by_objective(make_job(method="mah_dpo"))


def test_epochs_become_steps(project: Path, make_job: MakeJob) -> None:
    """2 epochs of 20 pairs in batches of 6 are 40 / 6 = 6.67 batches, so 7 steps."""
    job = make_job(
        method="mah_dpo", training={"learning_rate": 1e-3, "batch_size": 6, "epochs": 2.0}
    )
    training, steps = preference.epochs_to_steps(job.params.training, 20)
    assert (steps, training.steps, training.epochs) == (7, 7, None)


def test_loss_weights() -> None:
    """Weights are matched by name. Missing ones are 0; without any, all are equal."""
    assert preference_settings.loss_weights({}, ["a", "b"]) == {"a": 0.5, "b": 0.5}
    assert preference_settings.loss_weights({"b": 3.0, "a": 1.0}, ["a", "b", "c"]) == {
        "a": 0.25,
        "b": 0.75,
        "c": 0.0,
    }
    with pytest.raises(ParamsError, match=r"alpha\.d is a weight for an unknown objective"):
        preference_settings.loss_weights({"d": 1.0}, ["a"])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "exactly one of `pool: true`, `weights` and `reward`"),
        ({"pool": True, "reward": "overall"}, "exactly one of"),
        ({"reward": "overall", "alpha": {"a": 1.0}}, "`alpha` weights the objectives of a pool"),
        ({"weights": {"a": 1.0}, "pairs": "annotations"}, "use `pairs: rollouts`"),
        ({"pool": True, "heads_only": True, "lora": {}}, "give only one of them"),
        (
            {"pool": True, "betta": 0.1},
            r"policies\.x\.betta is an unknown key; did you mean beta\?",
        ),
        ({"pool": True, "beta": 0.0}, r"policies\.x\.beta"),
    ],
)
def test_contradictory_parameters_are_rejected(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        section(dpo.DpoParams, {"method": "dpo", "training": TRAINING, **entry}, "policies.x")


def test_the_reference_is_the_sft_model(project: Path, make_job: MakeJob) -> None:
    job = make_job(method="reference")
    reference.run(job)
    assert same(load_file(job.folder / "model.safetensors"), load_file(SFT / "model.safetensors"))
    assert job.curve.read_text() == reference.NO_TRAINING
