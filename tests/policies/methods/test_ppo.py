"""x"""
from pathlib import Path
import pandas as pd
from concord.policies.methods import ppo
from tests.policies.conftest import MakeJob
ENTRY = {
    "method": "ppo",
    "weights": {"right": 1.0, "vivid": 3.0, "helpful": 1.0},
    "learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "steps": 3,
    "prompts_per_step": 2,
    "generations": 3,
    "max_new_tokens": 6,
    "checkpoint_every": 1,
}
def test_smoke(reward_models: Path, make_job: MakeJob) -> None:
    job = make_job(**ENTRY)
    ppo.run(job)
    print(pd.read_csv(job.curve).T.to_string())
