"""A project folder in which every policy method runs in a second.

It holds a tiny SFT model, rollouts, annotated pairs, anchors and reward models.
"""

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from concord.objectives import Objective
from concord.policies.job import ANNOTATED, ROLLOUTS, PolicyJob
from concord.rewards.vector.anchors import Anchor, Anchors
from concord.stage import outputs
from concord.stage.params import Runtime, Seeds, section
from concord.stage.paths import ANCHORS, PROCESS_REWARD
from tasks.policy import method_of

OBJECTIVES = {
    "right": Objective(domain="math", description="", verifier="math_answer"),
    "vivid": Objective(domain="math", description="", reward="math"),
    "honest": Objective(domain="values", description="", reward="values"),
    "helpful": Objective(domain="values", description="", reward="values"),
    "overall": Objective(domain="all", description="", reward="overall", in_vector=False),
}
TRAINING = {"learning_rate": 3e-3, "steps": 4, "batch_size": 6}
ONLINE = {
    "aggregation": "normalize_then_sum",
    "learning_rate": 1e-3,
    "steps": 3,
    "prompts_per_step": 2,
    "generations": 3,
    "max_new_tokens": 6,
    "checkpoint_every": 1,
}
"""Settings of the methods with online sampling."""
MakeJob = Callable[..., PolicyJob]
TRL_READS_AN_OLD_NAME = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)
"""TRL 1.16 reads the name in `trl.models.utils.unwrap_model_for_generation`."""


def rollouts(prompts: int = 6, samples: int = 4) -> pd.DataFrame:
    """Rollouts with raw rewards that count letters.

    honest and helpful are opposed; vivid and overall have different scales.
    """
    generator, rows = random.Random(0), []
    for domain in ("math", "values"):
        for prompt in range(prompts):
            for sample in range(samples):
                text = "".join(generator.choices("abcd", k=generator.randint(3, 9)))
                if domain == "math":
                    rewards = {"right": float(sample == 1), "vivid": 10.0 * text.count("a")}
                else:
                    rewards = {"honest": float(text.count("a")), "helpful": float(-text.count("a"))}
                rows.append(
                    {
                        "prompt_id": f"{domain}{prompt}",
                        "group_id": f"{domain}{prompt}",
                        "domain": domain,
                        "messages": [{"role": "user", "content": f"{domain} {prompt}"}],
                        "reference": "2" if domain == "math" else None,
                        "sample": sample,
                        "response": text,
                        "finished": True,
                        **{
                            f"raw.{name}": rewards.get(name, float("nan"))
                            for name in OBJECTIVES
                            if name != "overall"
                        },
                        "raw.overall": float(text.count("b")),
                    }
                )
    return pd.DataFrame(rows)


@pytest.fixture
def project(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/sft").symlink_to(tiny_model)
    frame = rollouts()
    outputs.write_table(ROLLOUTS, frame)
    pairs = (
        frame[frame["sample"] < 2]
        .groupby("prompt_id")["response"]
        .agg(["first", "last"])
        .reset_index()
    )
    rows = [
        {
            "messages": [{"role": "user", "content": row.prompt_id}],
            "chosen": row.first,
            "rejected": row.last,
            "objective": name,
        }
        for row in pairs.itertuples()
        for name in OBJECTIVES
    ]
    outputs.write_table(ANNOTATED, pd.DataFrame(rows))
    stds = {"vivid": 10.0}
    Anchors({name: Anchor(0.0, stds.get(name, 1.0), 1, 48) for name in OBJECTIVES}).save(ANCHORS)
    return tmp_path


@pytest.fixture
def reward_models(project: Path, tiny_model: Path, tiny_tokenizer: Any) -> Path:
    """Untrained reward models for the objectives that have one."""
    from concord.rewards.outcome.reward_model import new_model

    tiny_tokenizer.model_max_length = 128
    for seed, (group, names) in enumerate(
        {"math": ["vivid"], "values": ["honest", "helpful"]}.items()
    ):
        new_model(tiny_model, names, tiny_tokenizer, "cpu", "float32", seed).save_pretrained(
            f"models/rewards/{group}"
        )
        tiny_tokenizer.save_pretrained(f"models/rewards/{group}")
    return project


@pytest.fixture
def process_model(reward_models: Path, tiny_model: Path, tiny_tokenizer: Any) -> Path:
    """An untrained process reward model for `right` and `vivid`."""
    from concord.rewards.process.process_model import new_model

    heads = ["right", "vivid"]
    new_model(tiny_model, heads, tiny_tokenizer, "cpu", "float32", 0).save_pretrained(
        PROCESS_REWARD
    )
    tiny_tokenizer.save_pretrained(PROCESS_REWARD)
    return reward_models


@pytest.fixture
def make_job() -> MakeJob:
    """`make_job(method=..., ...)`: a job named after its method, with `TRAINING` by default."""

    def make(
        name: str | None = None, objectives: dict[str, Objective] | None = None, **entry: Any
    ) -> PolicyJob:
        method = method_of(entry, "policies.x").METHOD.params
        if "training" in {field.name for field in dataclasses.fields(method)}:
            entry = {"training": TRAINING, **entry}
        params = section(method, entry, "policies.x")
        known = OBJECTIVES if objectives is None else objectives
        return PolicyJob(
            name or entry["method"],
            params,
            known,
            Runtime(threads=1, device="cpu"),
            Seeds(0, 0),
            128,
        )

    return make
