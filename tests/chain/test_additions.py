"""One file to add a thing: each kind of plugin is added to a copy of the tree, and then used.

Adding it reruns nothing but `check`; naming it in params.yaml reruns what uses it.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from concord.stage.params import read
from tests.chain.finished import Finished
from tests.chain.tree import commit, dvc, lock, python, run

Params = dict[str, Any]

METHOD = '''"""Toy: the SFT model again."""

from typing import Literal

from pydantic.dataclasses import dataclass

from concord.policies.job import Method, PolicyJob
from concord.policies.methods import reference
from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID, kw_only=True)
class ToyParams:
    method: Literal["toy"]
    strength: float = 1.0


def run(job: PolicyJob) -> None:
    reference.run(job)


METHOD = Method(ToyParams, heads=False, pairs=False)
'''
LOSS = '''

def toy(pairs: PairLogprobs, beta: float, slope: float = 2.0) -> Tensor:
    """A line."""
    return -slope * beta * pairs.delta
'''
SCALARISER = '''

def toy(rewards: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Twice the weighted sum."""
    return 2 * weighted_sum(rewards, weights)
'''
AGGREGATION = '''

def toy(rewards: np.ndarray, weights: np.ndarray, generations: int) -> np.ndarray:
    """The weighted sum as it is."""
    return _without_nan(_mixed(rewards, weights))
'''
VERIFIER = '''"""Toy: the response is long."""


def verify(response: str, reference: str | None) -> float:
    return float(len(response) > 10)
'''
LABELLER = '''"""Toy: every step is right."""

from concord.rewards.process.labelling import Context, Needs

NEEDS = Needs()


def label(samples: list, context: Context) -> list[list[float]]:
    return [[1.0 for _ in sample["steps"]] for sample in samples]
'''
JUDGE = '''"""Toy: answers are good if they are short."""

from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID)
class ToyJudgeParams:
    kind: Literal["toy"]
    longest: int = 40


PARAMS = ToyJudgeParams


class Short:
    def __init__(self, longest: int) -> None:
        self.longest = longest

    def verdicts(self, messages, answers):
        return np.array([float(len(answer) <= self.longest) for answer in answers])


def load(params, device, dtype, cache):
    return Short(params.longest)


def missing(params, where, root):
    return iter(())
'''
FORMAT = '''"""Toy: a question, a good and a bad answer."""

from pydantic.dataclasses import dataclass

from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID)
class Options:
    objective: str


def annotations(row, options):
    yield {
        "kind": "comparison", "group_id": row["q"],
        "messages": [{"role": "user", "content": row["q"]}],
        "objective": options.objective, "a": row["good"], "b": row["bad"], "preferred": "a",
        "annotator": "toy",
    }
'''
ROW = {"q": "How are you?", "good": "Well, and you?", "bad": "Fine."}


def name_method(params: Params) -> None:
    params["policies"]["toy"] = {"method": "toy", "strength": 2.0}


def name_loss(params: Params) -> None:
    policy = {**params["policies"]["mah_dpo"], "loss": "toy", "loss_parameters": {"slope": 3.0}}
    params["policies"]["toy"] = policy


def name_scalariser(params: Params) -> None:
    params["select"]["rule"] = "toy"


def name_aggregation(params: Params) -> None:
    params["policies"]["grpo"]["aggregation"] = "toy"


def name_verifier(params: Params) -> None:
    params["objectives"]["math_accuracy"]["verifier"] = "toy"


def name_labeller(params: Params) -> None:
    params["process_labels"]["objectives"]["helpful"] = {"labels": "toy"}


def name_judge(params: Params) -> None:
    params["process_labels"]["judges"] = {"short": {"kind": "toy", "longest": 30}}
    params["process_labels"]["objectives"]["tutor_engagement"]["judge"] = "short"


def name_format(params: Params) -> None:
    options = {"objective": "helpful"}
    params["sources"]["toy"] = {"format": "toy", "path": "data/raw/toy.jsonl", "options": options}


SCORING = {"process_labels", "anchors", "rollouts", "evaluate_rewards", "candidate"} | {
    f"{stage}@{policy}"
    for stage, policies in {
        "policy": ["grpo"],
        "evaluate": ["sft", "mah_dpo", "dpo_scalar", "grpo"],
    }.items()
    for policy in policies
}
PREFERENCE = {"policy@sft", "policy@mah_dpo", "policy@dpo_scalar"}
OF_OBJECTIVES = {"prepare", "front", "select", "gate", "export", "report"}
"""Stages that depend on the section `objectives`."""
ROWS: dict[str, tuple[str, str, Callable[[Params], None], set[str]]] = {
    "method": (
        "concord/policies/methods/toy.py",
        METHOD,
        name_method,
        {"policy@toy", "evaluate@toy", "front", "report"},
    ),
    "loss": (
        "concord/policies/losses.py",
        LOSS,
        name_loss,
        {"policy@toy", "evaluate@toy", "front", "report"},
    ),
    "scalariser": (
        "concord/rewards/vector/scalarisers.py",
        SCALARISER,
        name_scalariser,
        {"select", "export", "report"},
    ),
    "aggregation": (
        "concord/policies/advantages.py",
        AGGREGATION,
        name_aggregation,
        {"policy@grpo", "front", "report"},
    ),
    "verifier": (
        "concord/rewards/verifiers/toy.py",
        VERIFIER,
        name_verifier,
        SCORING | PREFERENCE | OF_OBJECTIVES,
    ),
    "labeller": (
        "concord/rewards/process/labellers/toy.py",
        LABELLER,
        name_labeller,
        {"process_labels", "report"},
    ),
    "judge": (
        "concord/rewards/process/judges/toy.py",
        JUDGE,
        name_judge,
        {"process_labels", "report"},
    ),
    "format": (
        "concord/annotations/formats/toy.py",
        FORMAT,
        name_format,
        {"ingest@toy", "prepare", "export"},
    ),
}
"""Thing -> the one file that it touches, the text added there, how params.yaml names it, what that
reruns."""
RUN = {
    "method": "policy@toy",
    "loss": "policy@toy",
    "format": "ingest@toy",
    "judge": "process_labels",
    "labeller": "process_labels",
}
"""Stages that are really run with the added thing."""


@pytest.fixture(scope="module")
def extended(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished tree with every toy in it, and none of them named."""
    folder = tmp_path_factory.mktemp("additions")
    run(folder, "cp", "-a", str(finished.folder), str(folder / "project"))
    project = folder / "project"
    for file, text, _, _ in ROWS.values():
        path = project / file
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(f"{before}{text}", encoding="utf-8")
    (project / "data/raw/toy.jsonl").write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    commit(project, "every toy, and the record")
    return project


@pytest.fixture
def project(extended: Path) -> Iterator[Path]:
    """The same, restored after the test."""
    yield extended
    run(extended, "git", "checkout", "--quiet", "--", ".")
    run(extended, "git", "clean", "--quiet", "--force", "-d")
    run(extended, *dvc("checkout", "--quiet", "--force"))


def edit(project: Path, change: Callable[[Params], None]) -> None:
    params = json.loads(json.dumps(read(project / "params.yaml")))  # no two entries share a mapping
    change(params)
    (project / "params.yaml").write_text(json.dumps(params, indent=1), encoding="utf-8")


def touched(project: Path) -> set[str]:
    """Runs `check`; the stages that then have work to do by themselves."""
    run(project, python(), "-m", "tasks.check")
    return set(json.loads(run(project, *dvc("status", "--json")))) - {"check"}


def test_adding_reruns_nothing(project: Path) -> None:
    assert touched(project) == set()


@pytest.mark.parametrize("thing", ROWS)
def test_one_file_adds_it(project: Path, thing: str) -> None:
    edit(project, ROWS[thing][2])
    assert touched(project) == ROWS[thing][3]
    if stage := RUN.get(thing):
        before = lock(project)
        output = run(project, *dvc("repro", "--single-item", stage))
        assert re.findall(r"Running stage '(\S+)'", output) == [stage]
        assert lock(project)[stage] != before.get(stage)


def test_a_wrong_name_lists_what_there_is(project: Path) -> None:
    """The toys are among the names that a typo is answered with."""
    edit(project, lambda params: params["policies"].update(toy={"method": "toi"}))
    with pytest.raises(AssertionError, match=r"policies\.toy\.method: 'toi' is unknown; .*toy"):
        run(project, python(), "-m", "tasks.check")


def test_a_figure_is_one_function_and_one_line(project: Path) -> None:
    """Its drawing in report/policy_figures.py, its line in the page's list of sections."""
    for file in ("concord/report/policy_figures.py", "concord/report/page.py"):
        path = project / file
        text = path.read_text(encoding="utf-8")
        path.write_text(f"{text}\nADDED_BY_A_TEST = 1\n", encoding="utf-8")
    assert touched(project) == {"front", "report"}
