"""What an edit reruns: a table of edits and of the stages whose own deps or params they touch.

Stages downstream of a touched one follow if what it writes changes; `check` looks at every param
and all code, and always writes the same.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from concord.stage.params import read
from flows.graph import edges
from tests.chain.finished import Finished
from tests.chain.tree import dvc, lock, python, run

Params = dict[str, Any]
EVALUATE = {"evaluate@sft", "evaluate@mah_dpo", "evaluate@dpo_scalar", "evaluate@grpo"}
JUDGED = EVALUATE | {"candidate"}
COMPARED = JUDGED | {"front", "select", "gate", "export", "report"}
"""Stages that can read the pairs that people's labels imply."""
POLICY = {name.replace("evaluate", "policy") for name in EVALUATE}
REWARD_MODEL = {"reward_model@heads", "reward_model@overall"}
CHECKED = {"ingest@over_refusal", "ingest@hazard"}
TRAINING = {"sft", "process_reward"} | REWARD_MODEL | POLICY

PARAMS: list[tuple[str, Any, set[str]]] = [
    (
        "seeds.sampling",
        3,
        {"process_labels", "anchors", "rollouts", "evaluate_rewards"} | POLICY | JUDGED,
    ),
    ("ingest.max_quarantine_share", 0.3, {"ingest@sandbox"} | CHECKED),
    ("prepare.validation", 0.3, {"prepare"}),
    ("sft.training.steps", 5, {"sft"}),
    (
        "reward_models.heads.training.steps",
        7,
        {"prepare", "reward_model@heads", "evaluate_rewards", "report"},
    ),
    ("process_labels.completions", 3, {"process_labels", "report"}),
    ("process_reward.training.steps", 4, {"process_reward", "evaluate_rewards", "report"}),
    ("anchors.samples", 3, {"anchors"}),
    ("rollouts.temperature", 0.9, {"rollouts"}),
    ("policies.dpo_scalar.weights.harmless", 0.6, {"policy@dpo_scalar", "front", "report"}),
    ("policies.grpo.beta", 0.1, {"policy@grpo", "front", "report"}),
    ("evaluate.weights.harmless", 0.6, JUDGED | {"front"}),
    ("evaluate.locked_seed", 2, {"evaluate_rewards"} | JUDGED),
    ("evaluate_rewards.pairs", 30, {"evaluate_rewards"}),
    ("front.reference_point", -0.1, {"front", "gate"}),
    ("select.weights.harmless", 0.6, {"select", "export", "report"}),
    ("gate.objectives.margin", 0.1, {"gate"}),
    ("export.dtype", "bfloat16", {"candidate", "export"}),
]
FILES = {
    "recipes/worlds/tiny.yaml": {"ingest@sandbox"},
    "templates/sandbox.jinja": {"prepare", "sft"},
    "models/champion/README.md": {"gate"},
    "concord/report/page.html.jinja": {"report"},
}
CODE = {
    "tasks/prepare.py": {"prepare"},
    "concord/prepared/dedupe.py": {"prepare"},
    "concord/prepared/prompt_keys.py": {"prepare"} | COMPARED,
    "concord/prepared/labels.py": {"prepare", "process_reward"} | REWARD_MODEL | COMPARED,
    "concord/rewards/outcome/probe_fit.py": {"process_reward"} | REWARD_MODEL,
    "concord/annotations/formats/sandbox.py": {"ingest@sandbox"},
    "concord/annotations/formats/trl.py": CHECKED,
    "concord/annotations/formats/nectar.py": set(),
    "concord/sandbox/students.py": JUDGED,
    "concord/rewards/process/process_model.py": {
        "process_reward",
        "evaluate_rewards",
        "policy@grpo",  # its `process_rewards` could name one
    },
    "concord/policies/methods/grpo.py": {"policy@grpo"},
    "concord/policies/rl/groups.py": {"policy@grpo"},
    "concord/policies/methods/mah_dpo.py": {"policy@mah_dpo"},
    "concord/policies/preference.py": {"policy@mah_dpo", "policy@dpo_scalar"},
    "concord/rewards/verifiers/exact_match.py": set(),
    "concord/rewards/process/labellers/majority.py": set(),
    "concord/lm/lora.py": {"sft", "process_reward"} | REWARD_MODEL | POLICY - {"policy@sft"},
    "concord/report/charts.py": {"front", "report"},
    "concord/lm/train.py": {"sft", "process_reward"}
    | REWARD_MODEL
    | POLICY - {"policy@sft", "policy@grpo"},
    "concord/steering/best_of.py": set(),
    "concord/sandbox/base.py": set(),
    "flows/publish.py": set(),
}
"""File of code -> the stages whose listing changes if its code does."""


@pytest.fixture(scope="module")
def project(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished tree, which tests edit in turn."""
    folder = tmp_path_factory.mktemp("edits")
    run(folder, "cp", "-a", str(finished.folder), str(folder / "project"))
    return folder / "project"


@pytest.fixture
def edited(project: Path) -> Iterator[Path]:
    """The same, restored after the test."""
    yield project
    run(project, "git", "checkout", "--quiet", "--", ".")
    run(project, "git", "clean", "--quiet", "--force", "concord", "tasks")


def edit(project: Path, change: Callable[[Params], None]) -> None:
    params = json.loads(
        json.dumps(read(project / "params.yaml"))
    )  # so that no two entries share a mapping
    change(params)
    (project / "params.yaml").write_text(json.dumps(params, indent=1), encoding="utf-8")


def put(params: Params, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        params = params[parent]
    assert last in params
    params[last] = value


def touched(project: Path) -> set[str]:
    """Stages that DVC finds changed by themselves, but for `check`."""
    return set(json.loads(run(project, *dvc("status", "--json")))) - {"check"}


def followers(project: Path, stages: set[str]) -> set[str]:
    """The stages and all that is downstream of them."""
    upstream, found = edges(run(project, *dvc("dag", "--dot"))), set(stages)
    while more := {name for name, needs in upstream.items() if found.intersection(needs)} - found:
        found |= more
    return found


@pytest.mark.parametrize(("key", "value", "stages"), PARAMS, ids=[key for key, _, _ in PARAMS])
def test_a_param_touches(edited: Path, key: str, value: Any, stages: set[str]) -> None:
    edit(edited, lambda params: put(params, key, value))
    assert touched(edited) == stages


@pytest.mark.parametrize("file", FILES)
def test_a_file_touches(edited: Path, file: str) -> None:
    with (edited / file).open("a", encoding="utf-8") as end:
        end.write("\n")
    assert touched(edited) == FILES[file]


EDITS = """
import json, sys
from pathlib import Path
from concord import code
from tasks.check import STAGES, read

stages = {stage: key for stage, key in STAGES.items() if stage != "check"}
known, changed = code.listings(read(), stages, Path.cwd()), {}
for file in map(Path, sys.argv[1:]):
    text = file.read_text()
    file.write_text(text + "\\nADDED_BY_A_TEST = 1\\n")
    listings = code.listings(read(), stages, Path.cwd())
    changed[str(file)] = [stage for stage in listings if listings[stage] != known[stage]]
    file.write_text(text)
print(json.dumps(changed))
"""


@pytest.fixture(scope="module")
def relisted(project: Path) -> dict[str, list[str]]:
    """File of code -> the stages whose listing an edit of it changes."""
    return dict(json.loads(run(project, python(), "-c", EDITS, *CODE)))


@pytest.mark.parametrize("file", CODE)
def test_an_edit_of_code_touches(relisted: dict[str, list[str]], file: str) -> None:
    assert set(relisted[file]) == CODE[file]


def test_a_comment_reruns_check_alone(edited: Path) -> None:
    for file in CODE:
        with (edited / file).open("a", encoding="utf-8") as end:
            end.write("# a comment\n")
    assert touched(edited) == set()
    assert re.findall(r"Running stage '(\S+)'", run(edited, *dvc("repro"))) == ["check"]


def test_an_edit_of_a_method_reruns_that_policy(copy: Path) -> None:
    """Through DVC itself: `dvc status` sees the edit once `check` has run."""
    file = copy / "concord/policies/methods/grpo.py"
    file.write_text(f"{file.read_text()}\nADDED_BY_A_TEST = 1\n", encoding="utf-8")
    assert touched(copy) == set()
    run(copy, *dvc("repro", "--single-item", "check"))
    assert touched(copy) == {"policy@grpo"}


def test_the_mark_of_a_check_measures_nothing_again(copy: Path) -> None:
    """Neither training nor evaluation reads the mark; `check` passes it on in data/checks.json."""
    edit(copy, lambda params: put(params, "checks.over_refusal.at_least", 0.6))
    run(copy, *dvc("repro", "--single-item", "check"))
    assert touched(copy) == {"prepare", "gate", "report"}
    ran = set(re.findall(r"Running stage '(\S+)'", run(copy, *dvc("repro"))))
    assert ran == {"prepare", "gate", "export", "report"}


def test_an_untouched_tree_has_nothing_to_do(edited: Path) -> None:
    assert touched(edited) == set()


def test_the_weights_of_one_policy_rerun_that_policy_and_what_follows(edited: Path) -> None:
    follow = followers(edited, {"policy@dpo_scalar"})
    assert follow == {"policy@dpo_scalar", "evaluate@dpo_scalar", "front", "report"}


@pytest.mark.parametrize("stages", [JUDGED, {"select"}], ids=["evaluation", "choice"])
def test_neither_evaluation_nor_choice_retrains(edited: Path, stages: set[str]) -> None:
    assert not followers(edited, stages) & TRAINING


def test_an_objective_whose_labels_exist_is_added_in_params_alone(copy: Path) -> None:
    """The tiny recipe leaves `honest` out, though its source has the labels."""
    assert not (copy / "data/prepared/rewards/honest").exists()

    def add(params: Params) -> None:
        entry = {"domain": "values", "description": "asserts what is known", "reward": "honest"}
        params["objectives"]["honest"] = entry
        params["prepare"]["ignore_objectives"] = []
        params["reward_models"]["honest"] = {
            **params["reward_models"]["overall"],
            "objectives": {"honest": {}},
        }

    edit(copy, add)
    before = set(lock(copy))
    run(copy, *dvc("repro", "reward_model@honest"))
    assert set(lock(copy)) - before == {"reward_model@honest"}
    rows = pd.read_parquet(copy / "data/prepared/rewards/honest/train.parquet")
    assert set(rows["objective"]) == {"honest"}
    assert len(rows) > 20
    assert "evaluate@mah_dpo" in followers(copy, {"reward_model@honest"})


def test_a_source_is_added_in_params_alone(copy: Path) -> None:
    line = {
        "kind": "comparison",
        "group_id": "greeting",
        "messages": [{"role": "user", "content": "How are you?"}],
    }
    labels = {
        "objective": "helpful",
        "a": "Well, and you?",
        "b": "Fine.",
        "preferred": "a",
        "annotator": "me",
    }
    text = json.dumps(line | labels)
    (copy / "data/raw/mine.jsonl").write_text(text + "\n", encoding="utf-8")
    entry = {"format": "concord", "path": "data/raw/mine.jsonl"}
    edit(copy, lambda params: params["sources"].update(mine=entry))
    assert touched(copy) == {"ingest@mine", "prepare", "export"}
    run(copy, *dvc("repro", "ingest@mine"))
    assert len(pd.read_parquet(copy / "data/ingested/mine/comparisons.parquet")) == 1
