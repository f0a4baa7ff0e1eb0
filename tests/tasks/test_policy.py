"""The stage policy: from a name on the command line to its method, and nothing of the other methods."""

import subprocess
import sys
from pathlib import Path

import pytest

from concord.stage.errors import ParamsError
from tasks import policy

ROOT = Path(__file__).resolve().parents[2]
PARAMS = """
seeds: {data: 0, sampling: 0}
runtime: {threads: 1, device: cpu}
model: {max_length: 64}
objectives: {helpful: {domain: values, description: gives substance, reward: values}}
policies:
  sft: {method: reference}
  other: {method: modpo}
"""


def test_the_command_line(tmp_path: Path, tiny_model: Path) -> None:
    """`python -m tasks.policy sft`, on no more params than it declares; then a name and a method that do not exist."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/sft").symlink_to(tiny_model)
    code = (
        "import sys; sys.argv[1:] = ['sft']; from tasks.policy import main; main('sft');"
        "print(sorted({'trl', 'peft', 'concord.policies.methods.mah_dpo', 'concord.policies.methods.grpo'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert (tmp_path / "models/policies/sft/model.safetensors").exists()
    assert (tmp_path / "reports/curves/policy_sft.csv").exists()
    for name, message in {
        "nobody": "policies.nobody is not in params.yaml",
        "other": "'modpo', which is no method",
    }.items():
        failed = subprocess.run(
            [sys.executable, "-m", "tasks.policy", name],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert failed.returncode == 1
        assert message in failed.stderr
        assert "Traceback" not in failed.stderr


def test_every_method_has_what_is_called() -> None:
    for name in policy.METHODS:
        method = policy.method_of({"method": name}, "policies.x")
        assert callable(method.run)
        assert method.Params.__dataclass_fields__["method"]


@pytest.mark.parametrize("entry", [{}, {"method": None}, {"method": "ppo"}, "mah_dpo"])
def test_no_method(entry: object) -> None:
    with pytest.raises(
        ParamsError, match=r"policies\.x\.method is .* use one of reference, mah_dpo, dpo, grpo"
    ):
        policy.method_of(entry, "policies.x")
