"""On-policy rounds: which mix samples, which pairs it chooses, resuming, and that a round helps."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from concord.lm.load import load_causal, load_tokenizer
from concord.lm.sample import sample
from concord.policies import preference, rounds
from concord.policies.job import PolicyJob
from concord.policies.methods import mah_dpo
from concord.policies.mixes import PUBLISHED, Mixes, MixPlan
from concord.policies.rounds import choose_pairs, draw_samplers, round_problems
from concord.rewards.vector.reward_vector import RewardVector
from concord.stage.errors import DataError, ParamsError
from concord.stage.paths import SFT
from tests.policies.conftest import OBJECTIVES, TRAINING, MakeJob, rollouts

VECTOR = {name: objective for name, objective in OBJECTIVES.items() if objective.in_vector}
DOMAINS = {name: objective.domain for name, objective in VECTOR.items()}
SHORT = {"prompts": 6, "samples": 3, "mixes_per_domain": 2, "max_new_tokens": 6}
ENTRY: dict[str, Any] = {
    "method": "mah_dpo",
    "mixes": {"corners": 0.5},
    "min_gap": 0.0,
    "head_adapters": {"rank": 2},
    "training": {**TRAINING, "steps": 6, "batch_size": 8, "checkpoint_every": 1},
}


@pytest.fixture
def ready(reward_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project in which most samples of a few tokens are finished: capital letters end them."""
    stops = torch.tensor([0, *load_tokenizer(SFT)("ABCDEFGHIJKLMNOPQRSTUVWXYZ").input_ids])
    monkeypatch.setattr("concord.lm.sample.stop_ids", lambda *_: stops)


def plan_of(mixes: Mixes) -> MixPlan:
    return MixPlan.of(DOMAINS, dict.fromkeys(DOMAINS, 0.25), mixes)


def trained(job: PolicyJob) -> dict[str, torch.Tensor]:
    torch.manual_seed(9)  # a run must not depend on the state of the global generator
    mah_dpo.run(job)
    return load_file(job.folder / "model.safetensors")


def test_prompts_are_shared_as_batches_are(make_job: MakeJob) -> None:
    """Corners .5 of 12 prompts: three for each of two objectives and three for each of two mixes.
    Every prompt has one mix of its domain."""
    job = make_job(**ENTRY, rounds={**SHORT, "prompts": 12})
    samplers = draw_samplers(job, plan_of(job.params.mixes), rollouts(prompts=12), 1)
    math = [one for one in samplers if set(one.weights) <= {"right", "vivid"}]
    assert [one.group for one in math] == ["mix:math", "mix:math", "right", "vivid"]
    assert [len(one.prompts) for one in math] == [3, 3, 3, 3]
    assert len({prompt for one in math for prompt in one.prompts["prompt_id"]}) == 12
    assert all(set(one.prompts["domain"]) == {"math"} for one in math)
    assert math[2].weights == {"right": 1.0}
    assert math[0].weights != math[1].weights
    assert all(sum(one.weights.values()) == pytest.approx(1.0) for one in samplers)


def test_draws_depend_on_the_seed_and_the_round(make_job: MakeJob) -> None:
    job, frame = make_job(**ENTRY, rounds=SHORT), rollouts()
    plan = plan_of(job.params.mixes)
    one, same, other = (draw_samplers(job, plan, frame, number) for number in (1, 1, 2))
    assert [s.weights for s in one] == [s.weights for s in same]
    assert one[0].prompts.equals(same[0].prompts)
    assert [s.weights for s in one] != [s.weights for s in other]


def test_pairs_are_chosen_by_the_mix_that_sampled(project: Path, make_job: MakeJob) -> None:
    """Anchored, A and B have helpful 1, -1 and honest -2, 2. `helpful` prefers A, `honest` B, and a
    mix prefers A if helpful weighs more than 2/3. A mix trains its heads, an objective its head."""
    job = make_job(**ENTRY, rounds=SHORT)
    plan = plan_of(job.params.mixes)
    samplers = [
        one
        for one in draw_samplers(job, plan, rollouts(), 1)
        if plan.domains[one.group] == "values"
    ]
    rows = [
        {**prompt, "sampler": index, "sample": number, "response": text, "finished": True}
        | {"raw.helpful": helpful, "raw.honest": honest}
        for index, one in enumerate(samplers)
        for prompt in one.prompts[["prompt_id", "domain", "messages"]].to_dict("records")
        for number, (text, helpful, honest) in enumerate((("A", 1.0, -2.0), ("B", -1.0, 2.0)))
    ]
    values = MixPlan.of({"helpful": "values", "honest": "values"}, plan.alpha, job.params.mixes)
    groups = choose_pairs(job, pd.DataFrame(rows), samplers, values, rollouts())
    assert {(pair.chosen, pair.weights) for pair in groups["helpful"]} == {("A", None)}
    assert {(pair.chosen, pair.weights) for pair in groups["honest"]} == {("B", None)}
    mixed = groups["mix:values"]
    assert len(mixed) == sum(len(s.prompts) for s in samplers if s.group == "mix:values")
    for pair in mixed:
        assert pair.weights is not None
        assert pair.chosen == ("A" if pair.weights["helpful"] > 2 / 3 else "B")


def test_the_gap_is_in_units_of_the_sft_model(project: Path, make_job: MakeJob) -> None:
    """Rollouts of honest have one standard deviation s; a pair must differ by min_gap * s."""
    frame = rollouts()
    spread = frame["raw.honest"].std()
    for difference, count in ((1.9 * spread, 0), (2.1 * spread, 1)):
        job = make_job(**{**ENTRY, "mixes": None, "min_gap": 2.0}, rounds=SHORT)
        plan = MixPlan.of({"honest": "values"}, {"honest": 1.0}, PUBLISHED)
        samplers = draw_samplers(job, plan, frame, 1)
        prompt = samplers[0].prompts.iloc[:1]
        both = prompt.loc[prompt.index.repeat(2)].drop(columns=["sample", "response"])
        samples = both.assign(sample=[0, 1], response=["A", "B"], sampler=0)
        samples["raw.honest"] = [0.0, difference]
        assert len(choose_pairs(job, samples, samplers, plan, frame)["honest"]) == count


def test_a_round_samples_from_the_trained_mixes(
    ready: None, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first training takes 3 of 6 steps. `right` has no pairs: no sample is ever right."""
    seen: list[tuple[Any, Any, Any]] = []
    plain = rounds.sample

    def recorded(job: Any, model: Any, samplers: Any, number: int) -> pd.DataFrame:
        frame = plain(job, model, samplers, number)
        seen.append((model.state_dict()["heads"].clone(), samplers, frame))
        return frame

    monkeypatch.setattr(rounds, "sample", recorded)
    job = make_job(**ENTRY, rounds=SHORT)
    final = trained(job)
    heads, samplers, frame = seen[0]
    before = load_causal(SFT).get_output_embeddings().weight
    assert not torch.equal(heads[0], before)
    assert not torch.equal(heads, final["heads"])
    assert list(frame["sampler"].value_counts().sort_index()) == [
        3 * len(one.prompts) for one in samplers
    ]
    curve = pd.read_csv(job.curve)
    assert list(curve["step"]) == [1, 2, 3, 4, 5, 6]
    assert list(curve["round"]) == [0, 0, 0, 1, 1, 1]
    assert curve["delta.right"].isna().tolist() == [False] * 3 + [True] * 3
    assert not list(Path("work").rglob("*.safetensors"))


def test_a_killed_run_resumes_bitwise(
    ready: None, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while round 2 samples, then in step 2 of round 2, after a checkpoint."""
    job = make_job(**ENTRY, rounds={**SHORT, "count": 2})
    expected, curve = trained(job), job.curve.read_text()
    calls = {"sample": 0, "loss": 0}
    sampled, loss_of = rounds.sample, preference.make_loss

    def sample_round(*arguments: Any) -> pd.DataFrame:
        calls["sample"] += 1
        if calls["sample"] == 2:
            raise RuntimeError("killed while sampling")
        return sampled(*arguments)

    def make_loss(*arguments: Any) -> Any:
        plain = loss_of(*arguments)

        def loss(*inputs: Any) -> Any:
            calls["loss"] += 1
            if calls["loss"] == 6:
                raise RuntimeError("killed while training")
            return plain(*inputs)

        return loss

    monkeypatch.setattr(rounds, "sample", sample_round)
    monkeypatch.setattr(preference, "make_loss", make_loss)
    for reason in ("sampling", "training"):
        with pytest.raises(RuntimeError, match=reason):
            trained(job)
    result = trained(job)
    assert result.keys() == expected.keys()
    assert all(torch.equal(result[name], expected[name]) for name in expected)
    assert job.curve.read_text() == curve
    assert calls == {"sample": 3, "loss": 7}  # six steps, of which one was interrupted


def test_a_round_teaches_what_the_rollouts_lack(
    ready: None, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reward counts digits. The rollouts have none, so their pairs cannot teach them; samples
    of the policy have some."""

    def digits(vector: Any, messages: Any, responses: Any, *_: Any) -> dict[str, np.ndarray]:
        return {"vivid": np.array([10.0 * sum(map(str.isdigit, text)) for text in responses])}

    monkeypatch.setattr(RewardVector, "score_all", digits)
    only = {"vivid": OBJECTIVES["vivid"]}
    training = {**TRAINING, "steps": 36, "learning_rate": 1e-2}
    counts = []
    for entry in ({}, {"rounds": {**SHORT, "count": 2, "samples": 16, "max_new_tokens": 8}}):
        job = make_job(method="mah_dpo", min_gap=0.0, training=training, objectives=only, **entry)
        trained(job)
        policy = load_causal(job.folder).merge({"vivid": 1.0})
        messages = rollouts().query("domain == 'math'")["messages"].tolist()
        texts = sample(
            policy, load_tokenizer(job.folder), messages, max_new_tokens=8, seed=5, label=None
        )
        counts.append(np.mean([sum(map(str.isdigit, text)) for text in texts]))
    assert counts[1] > counts[0] + 0.5


def test_what_cannot_work_is_an_error(project: Path, make_job: MakeJob) -> None:
    with pytest.raises(ParamsError, match="6 cannot be divided between the first training and 6"):
        make_job(**ENTRY, rounds={"count": 6})
    job = make_job(**ENTRY, rounds={**SHORT, "prompts": 3})  # 2 objectives and 2 mixes
    problems = list(mah_dpo.problems(job.params, VECTOR))
    assert [problem.partition(";")[2] for problem in problems] == [" raise it to 4 or more"] * 2
    assert not list(round_problems(make_job(**ENTRY, rounds=SHORT).params.rounds, plan_of(Mixes())))
    one = make_job(**ENTRY, rounds=SHORT)
    none: dict[str, Any] = {group: [] for group in plan_of(Mixes()).shares}
    with pytest.raises(DataError, match="no two finished samples of a prompt differ by min_gap"):
        rounds._shares_of(none, plan_of(one.params.mixes), 1)
