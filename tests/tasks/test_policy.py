"""The stage `policy`: the name on the command line selects the method; others are not imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from concord.stage import plugins
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
  other: {method: sorcery}
"""


def test_the_command_line(tmp_path: Path, tiny_model: Path) -> None:
    """`python -m tasks.policy sft` with its declared params only; unknown policies and methods."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/sft").symlink_to(tiny_model)
    code = (
        "import sys; sys.argv[1:] = ['sft']; from tasks.policy import main; main('sft');"
        "methods = 'concord.policies.methods.';"
        "others = {'trl', 'peft', methods + 'mah_dpo', methods + 'grpo'};"
        "print(sorted(others & set(sys.modules)))"
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
        "other": "policies.other.method: 'sorcery' is unknown",
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


def test_every_method_has_the_required_functions() -> None:
    for name in plugins.names("concord.policies.methods"):
        method = policy.method_of({"method": name}, "policies.x")
        assert callable(method.run)
        assert method.METHOD.params.__dataclass_fields__["method"]


@pytest.mark.parametrize("entry", [{}, {"method": None}, {"method": "sorcery"}, "mah_dpo"])
def test_unknown_methods(entry: object) -> None:
    with pytest.raises(
        ParamsError,
        match=r"policies\.x\.method: .* is unknown; .*allowed: best_of_k, .*, mah_dpo, mah_grpo, ",
    ):
        policy.method_of(entry, "policies.x")
