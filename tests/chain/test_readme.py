"""The README: what it shows stands where a reader looks, and what it says to type works."""

import re
import subprocess
import sys
from pathlib import Path

from concord.stage.params import read
from tasks import check
from tests.chain.tree import ROOT, run

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = TEXT.splitlines()


def block(starts: str, language: str = "") -> str:
    """The fenced block of `language` whose text starts with `starts`."""
    found = [
        text for kind, text in re.findall(r"```(\w*)\n(.*?)```", TEXT, re.S) if kind == language
    ]
    return next(text for text in found if text.startswith(starts))


def line_of(what: str) -> int:
    return next(number for number, line in enumerate(LINES, start=1) if what in line)


def test_the_claim_the_first_command_the_example_and_the_front_come_early() -> None:
    assert "Concord" in LINES[0]
    assert line_of("make run") < 25
    assert line_of("harmless 1") < 50
    assert line_of("(reports/front.svg)") < 50


def test_what_it_points_to_is_there() -> None:
    made = {
        "models/policies",
        "models/rewards",
        "models/process_reward",
        "models/anchors.json",
        "models/aligned",
    }
    named = set(re.findall(r"[`(]((?:tasks|flows|docs|recipes|data|models)/[\w./]+)[`)]", TEXT))
    assert len(named) > 10
    missing = {
        name for name in named if not (ROOT / name).exists() and not name.startswith(tuple(made))
    }
    assert not missing
    for target in set(re.findall(r"(?m)(?:^|`)make (\w+)", TEXT)):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_moving_a_weight_edits_the_choice_and_nothing_else(tmp_path: Path) -> None:
    command = block("sed").partition(" && ")[0]
    (tmp_path / "params.yaml").write_text(
        (ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    before, after = read(ROOT / "params.yaml"), read(tmp_path / "params.yaml")
    assert after["select"]["weights"]["harmless"] == 0.6
    assert [key for key in before if before[key] != after[key]] == ["select"]


def test_moving_a_weight_without_training(copy: Path) -> None:
    code = block("from concord.policies.model", "python")
    run(copy, sys.executable, "-W", "ignore", "-c", code)
    loads = "from transformers import AutoModelForCausalLM as A; print(type(A.from_pretrained('careful')).__name__)"
    assert "LlamaForCausalLM" in run(copy, sys.executable, "-W", "ignore", "-c", loads)


def test_adding_an_objective_passes_the_check(tmp_path: Path) -> None:
    (tmp_path / "added.yaml").write_text(block("objectives:", "yaml"), encoding="utf-8")
    added, params = read(tmp_path / "added.yaml"), read(ROOT / "params.yaml")
    for section, entries in added.items():
        assert not params[section].keys() & entries.keys()
        params[section] = {**params[section], **entries}
    check.run(params, ROOT)
    assert set(added) == {"objectives", "reward_models"}
