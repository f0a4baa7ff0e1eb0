"""The stage `check`: errors in params.yaml are reported with the key, the reason and the fix."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from concord import code
from concord.stage import outputs
from concord.stage.errors import ParamsError
from concord.stage.params import read
from tasks import check

ROOT = Path(__file__).parents[2]
Params = dict[str, Any]


@pytest.fixture(scope="module")
def sandbox() -> Params:
    return read(ROOT / "params.yaml")


@pytest.fixture
def root(tmp_path: Path, sandbox: Params) -> Path:
    """A small project with the files that the sandbox recipe reads."""
    base = tmp_path / sandbox["model"]["name"]
    base.mkdir(parents=True)
    champion = tmp_path / sandbox["gate"]["champion"]
    champion.mkdir(parents=True)
    (champion / "README.md").write_text("no champion")
    (base / "config.json").write_text('{"num_hidden_layers": 4, "max_position_embeddings": 512}')
    for path in (
        sandbox["model"]["chat_template"],
        *(source["path"] for source in sandbox["sources"].values()),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, tmp_path / path)
    return tmp_path


def _edited(params: Params, path: str, value: Any) -> Params:
    """A copy with one key set, or removed if the value is `...`."""
    edited = copy.deepcopy(params)
    *parents, last = path.split("/")
    mapping = edited
    for key in parents:
        mapping = mapping[key]
    if value is ...:
        del mapping[last]
    else:
        mapping[last] = value
    return edited


def test_the_default_recipe_is_valid(sandbox: Params, root: Path) -> None:
    check.run(sandbox, root)


def test_a_watched_source_is_a_folder_that_dvc_tracks(sandbox: Params, root: Path) -> None:
    check.run(_edited(sandbox, "retrain", {}), root)
    (root / "data/pairs").mkdir()
    shutil.copy(ROOT / sandbox["sources"]["hazard"]["path"], root / "data/pairs")
    params = _edited(sandbox, "sources/hazard/path", "data/pairs")
    params["retrain"] = {"watch": {"hazard": "/srv/new"}}
    with pytest.raises(ParamsError, match=r"DVC does not track .*run `dvc add data/pairs`, and co"):
        check.run(params, root)
    (root / "data/pairs.dvc").write_text("")
    check.run(params, root)


VALUES = {"domain": "values", "description": ""}
CONTRAST = {"source": "hazard", "objective": "harmless", "at_least": 0.7}
BAD = [
    ("retrain", {"wach": {}}, r"retrain\.wach is an unknown key; did you mean watch\?"),
    ("retrain", {"watch": {"hazard": 3}}, r"retrain\.watch\.hazard: .*valid string \(given 3\)"),
    ("retrain", {"settle_seconds": -1}, r"retrain\.settle_seconds: .*equal to 0 \(given -1\)"),
    ("retrain", {"watch": {"hazzard": "x"}}, r"watch\.hazzard: unknown source; did you mean haza"),
    ("retrain", {"watch": {"sandbox": "x"}}, r"watch\.sandbox: the format sandbox reads files of"),
    ("retrain", {"watch": {"hazard": "x"}}, r"sources\.hazard\.path is .*, which is not a folder"),
    ("checks", None, r"checks must be a mapping with at least one name, but is None"),
    ("checks/Hazard", CONTRAST, r"checks\.Hazard: invalid name; use lower-case"),
    ("checks/hazard/atleast", 0.7, r"checks\.hazard\.atleast is an unknown key; did you mean at_"),
    ("checks/hazard/at_least", 70, r"checks\.hazard\.at_least: .*less than 1 \(given 70\)"),
    ("checks/hazard/at_least", ..., r"checks\.hazard\.at_least is missing"),
    (
        "checks/hazard/source",
        "hazzard",
        r"checks\.hazard\.source: unknown source 'hazzard'; did you mean hazard\?",
    ),
    (
        "checks/hazard/objective",
        "harmles",
        r"checks\.hazard\.objective: unknown objective 'harmles'; did you mean harmless\?",
    ),
    (
        "sources/hazard/prompts",
        "values",
        r"sources\.hazard\.prompts: the prompts of a check are never sampled, and checks\.hazard",
    ),
    (
        "sources/sandbox",
        ...,
        r"checks: every source belongs to a check, so there is nothing to train on",
    ),
    ("polices", {}, r"polices is an unknown key; did you mean policies\?"),
    ("seeds", ..., r"seeds is missing"),
    ("seeds/data", -1, r"seeds\.data: .*greater than or equal to 0"),
    ("runtime/treads", 2, r"runtime\.treads is an unknown key; did you mean threads\?"),
    ("runtime/dtype", "float16", r"runtime\.dtype: .*'float32' or 'bfloat16'"),
    (
        "policies/mah_dpo/betta",
        1,
        r"policies\.mah_dpo\.betta is an unknown key; did you mean beta\?",
    ),
    ("policies/mah_dpo/training/stps", 1, r"policies\.mah_dpo\.training\.stps is an unknown key"),
    (
        "policies/mah_dpo/method",
        "mahdpo",
        r"policies\.mah_dpo\.method: 'mahdpo' is unknown; did you mean mah_dpo\?",
    ),
    ("policies/mah_dpo", None, r"policies\.mah_dpo\.method: None is unknown"),
    (
        "policies/Mah-DPO",
        {"method": "reference"},
        r"policies\.Mah-DPO: invalid name; use lower-case",
    ),
    ("policies/sft", ..., r"policies: no policy has the method `reference`"),
    ("policies", {}, r"policies must be a mapping with at least one name"),
    ("policies", [], r"policies must be a mapping with at least one name"),
    (
        "policies/dpo_scalar/weights",
        {"helpful": -0.1},
        r"policies\.dpo_scalar\.weights\.helpful is -0\.1",
    ),
    (
        "policies/dpo_scalar/weights",
        {"helpful": float("nan")},
        r"policies\.dpo_scalar\.weights\.helpful: .*finite",
    ),
    (
        "policies/dpo_scalar/weights",
        {"helpful": float("inf")},
        r"policies\.dpo_scalar\.weights\.helpful: .*finite",
    ),
    (
        "policies/dpo_scalar/weights",
        {"helful": 1.0},
        r"weights\.helful is a weight for an unknown objective; did you mean",
    ),
    (
        "policies/dpo_scalar/weights",
        {"overall": 1.0},
        r"weights\.overall is a weight for an unknown objective",
    ),
    (
        "policies/dpo_scalar/weights",
        {"helpful": 1.0},
        r"no objective of domain math has a positive weight",
    ),
    (
        "policies/single_reward/reward",
        "overal",
        r"policies\.single_reward\.reward: unknown objective 'overal'; did you mean",
    ),
    (
        "policies/mah_dpo/alpha",
        {"helful": 1.0},
        r"policies\.mah_dpo\.alpha\.helful is a weight for an unknown",
    ),
    ("evaluate/weights", {"helpful": 0.0}, r"evaluate\.weights: all weights are 0"),
    ("evaluate/weights/honest", "much", r"evaluate\.weights\.honest: .*valid number"),
    (
        "select/policy",
        "mahdpo",
        r"select\.policy: unknown policy 'mahdpo'; did you mean mah_dpo\?",
    ),
    ("select/weights", {"fun": 1.0}, r"select\.weights\.fun is a weight for an unknown objective"),
    (
        "gate/objectives/margins",
        {"helful": 0.1},
        r"gate\.objectives\.margins\.helful: unknown objective; did you mean helpful\?",
    ),
    ("anchors/directions", {"helful": 1}, r"anchors\.directions\.helful: unknown objective"),
    (
        "objectives/helpful",
        VALUES,
        r"objectives\.helpful: names neither of `verifier` and `reward`",
    ),
    (
        "objectives/helpful/reward",
        "valves",
        r"objectives\.helpful\.reward: unknown reward model 'valves'; did you",
    ),
    (
        "objectives/helpful/reward",
        "math",
        r"the reward model math has no head for helpful; add helpful to reward_models\.math",
    ),
    (
        "objectives/math_accuracy/verifier",
        "maths",
        r"objectives\.math_accuracy\.verifier: 'maths' is not a verifier",
    ),
    (
        "objectives/math_accuracy/verifier",
        "my_cheks:f",
        r"math_accuracy\.verifier: 'my_cheks:f': importing .* fails.*; put",
    ),
    (
        "objectives/math_accuracy/verifier",
        "json:load_s",
        r"math_accuracy\.verifier: .*no function 'load_s'; .*mean loads\?",
    ),
    (
        "objectives/math_accuracy/verifier",
        "json:dumps",
        r"math_accuracy\.verifier: 'json:dumps' cannot be called with a",
    ),
    (
        "objectives/helpful/domain",
        "Val ues",
        r"objectives\.helpful\.domain: 'Val ues' is not a valid name",
    ),
    ("objectives/overall/in_vector", True, r"objectives\.overall applies to all domains"),
    ("objectives/2nd", {**VALUES, "reward": "values"}, r"objectives\.2nd: invalid name"),
    (
        "reward_models/values/objectives/fun",
        {},
        r"reward_models\.values\.objectives\.fun: unknown objective",
    ),
    ("reward_models/values/objectives", {}, r"reward_models\.values\.objectives: .*at least 1"),
    ("reward_models", {}, r"reward_models must be a mapping with at least one name"),
    (
        "process_reward/verdicts",
        {"harmles": {"good": " yes", "bad": " no"}},
        r"process_reward\.verdicts\.harmles: unknown objective.*harmless",
    ),
    (
        "process_reward/verdicts",
        {"math_accuracy": {"good": "x", "bad": "x"}},
        r"`good` and `bad` are both 'x'",
    ),
    (
        "process_labels/objectives/fun",
        {"labels": "human"},
        r"process_labels\.objectives\.fun: unknown objective",
    ),
    (
        "process_labels/prompts",
        {"math": 4, "values": 4},
        r"process_labels\.prompts: no value for tutoring; give a number",
    ),
    (
        "process_labels/samples",
        {"art": 4},
        r"samples\.art: no answers are sampled for this domain; allowed: math, tut",
    ),
    ("process_labels/prompts", {"math": 0, "values": 4, "tutoring": 1}, r"process_labels\.prompts"),
    (
        "process_labels/objectives/helpful",
        {"labels": "hindsight"},
        r"helpful: hindsight labels need a verifier",
    ),
    (
        "process_labels/objectives/math_accuracy",
        {"steps": "none"},
        r"math_accuracy: reward labels need a judge",
    ),
    (
        "front/reference_point",
        {"helpfull": 0.0},
        r"front\.reference_point\.helpfull: unknown objective; did you mean",
    ),
    (
        "front/reference_point",
        {"helpful": 0.0},
        r"front\.reference_point has no value for math_accuracy; give one",
    ),
    (
        "objectives/helpful/domain",
        "control",
        r"objectives\.helpful\.domain: 'control' is reserved for a key of reports/front",
    ),
    (
        "objectives/helpful/domain",
        "style",
        r"objectives\.helpful\.domain: the sandbox has no domain 'style'",
    ),
    (
        "policies/mah_dpo/training",
        {"learning_rate": 1.0, "steps": 1, "batch_size": 3},
        r"3 rows cannot hold one row of each",
    ),
    ("runtime/device", "gpu7", r"runtime\.device is 'gpu7'; allowed: auto, cpu, cuda"),
    (
        "model/max_length",
        513,
        r"model\.max_length is 513, but the model was made for 512 positions",
    ),
    (
        "prepare/ignore_objectives",
        ["helpful"],
        r"prepare\.ignore_objectives: helpful is in `objectives`",
    ),
    (
        "reward_models/math",
        {"objectives": {"math_engagement": {}}, "architecture": "probe", "layers": [2, 99]},
        r"reward_models\.math\.layers: 99 is out of range; the model has layers 0 to 4",
    ),
    (
        "process_reward",
        {"architecture": "probe", "layers": [5]},
        r"process_reward\.layers: 5 is out of range; the model has layers 0 to 4",
    ),
    (
        "sources/sandbox",
        {"format": "sandbox", "path": "data/raw/sandbox.yaml", "role": "test"},
        r"sources: every source has role: test, so nothing is left to train on",
    ),
    (
        "sources/sandbox",
        {"format": "sandbox", "path": "data/raw/sandbox.yaml", "role": "held_out"},
        r"sources\.sandbox\.role: .*'train' or 'test'",
    ),
    (
        "sources/sandbox/columns",
        {"response": "x"},
        r"sources\.sandbox: `columns` cannot be used with the format sandbox",
    ),
    (
        "sources/sandbox",
        {"format": "concord", "path": "data/raw/sandbox.yaml", "columns": {"respnse": "x"}},
        r"columns\.respnse is not a key of the interchange.*mean response\?",
    ),
    (
        "sources/sandbox",
        {"format": "trl", "path": "data/raw/sandbox.yaml"},
        r"sources\.sandbox\.options\.objective is missing; add it",
    ),
    (
        "sources/sandbox",
        {
            "format": "table",
            "path": "data/raw/sandbox.yaml",
            "options": {"kind": "comparison", "constants": {"objective": "helpfull"}},
        },
        r"options\.constants\.objective: unknown objective 'helpfull'; did you mean helpful\?",
    ),
    (
        "sources/sandbox",
        {"format": "trl", "path": "data/raw/sandbox.yaml", "options": {"objective": "honst"}},
        r"sources\.sandbox\.options\.objective: unknown objective 'honst'; did you mean honest\?",
    ),
    (
        "sources/sandbox",
        {"format": "hub", "path": "data/raw/sandbox.yaml"},
        r"data/raw/sandbox\.yaml\.dataset is missing; add it",
    ),
    (
        "sources/sandbox",
        {"format": "hub", "path": "data/raw/gone.yaml"},
        r"data/raw/gone\.yaml does not exist",
    ),
    ("gate/champion", "models/champ", r"gate\.champion: models/champ does not exist"),
    ("select/reference", "mah_dpo", r"select\.reference is 'mah_dpo', which is not a policy with"),
    ("select/at_least", {"helful": 0.1}, r"select\.at_least\.helful: unknown objective; did you"),
    ("select/at_least", {"helpful": "sft x"}, r"select\.at_least\.helpful.*'sft x' is not a bound"),
    ("select/rule", "best", r"select\.rule: unknown name; allowed: .*given"),
    ("prepare/validation", 1.5, r"prepare\.validation: .*less than 1"),
    (
        "prepare/near_duplicates",
        0.3,
        r"prepare\.near_duplicates: .*greater than or equal to 0\.5 \(given 0\.3\)",
    ),
    (
        "prepare/near_duplicates",
        80,
        r"prepare\.near_duplicates: .*less than or equal to 1 \(given 80\)",
    ),
    ("prepare/near_duplicates", True, r"prepare\.near_duplicates: .*valid number"),
    ("ingest/max_quarantine_share", 2, r"ingest\.max_quarantine_share: .*less than or equal to 1"),
    ("sources", {}, r"sources must be a mapping with at least one name"),
    ("sources/sandbox/format", "sandbx", r"sources\.sandbox: unknown format 'sandbx'"),
    (
        "sources/sandbox/path",
        "data/raw/gone.yaml",
        r"sources\.sandbox\.path: data/raw/gone\.yaml does not exist",
    ),
    (
        "sources/sandbox/prompts",
        "vlaues",
        r"sources\.sandbox\.prompts: no objective has the domain 'vlaues'.*mean values\?",
    ),
    ("sources/sandbox/options", {"cap": 1}, r"sources\.sandbox\.options\.cap is an unknown key"),
    (
        "model/name",
        "models/gone",
        r"model\.name: models/gone does not exist; fetch it as described",
    ),
    (
        "model/files",
        "models",
        r"model\.files is models, so changes to models/base would not rerun any stage",
    ),
    ("model/chat_template", "gone.jinja", r"model\.chat_template: gone\.jinja does not exist"),
    (
        "process_labels/gamma",
        0.9,
        r"gamma is 0\.9, but the step scores of math_accuracy are multiplied.*gamma: 1, or eval",
    ),
    (
        "policies/grpo/process_rewards",
        {"math_acuracy": "mean"},
        r"policies\.grpo\.process_rewards\.math_acuracy: unknown objective; did you mean math_acc",
    ),
    ("policies/grpo/process_rewards", {"honest": "sum"}, r"grpo\.process_rewards\.honest"),
    ("policies/sft/process_rewards", {"honest": "mean"}, r"process_rewards is an unknown key"),
    ("budget", {"polcy": 3}, r"budget\.polcy: unknown stage; did you mean policy\?"),
    ("budget", {"policy@gone": 3}, r"budget\.policy@gone: unknown stage"),
    ("budget", {"policy": -3}, r"budget\.policy is -3; it must be a positive number"),
    ("budget", 3, r"budget must be a mapping"),
]


@pytest.mark.parametrize(
    ("path", "value", "message"), BAD, ids=[f"{path}={value}"[:60] for path, value, _ in BAD]
)
def test_an_error_names_its_key(
    sandbox: Params, root: Path, path: str, value: Any, message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        check.run(_edited(sandbox, path, value), root)


@pytest.mark.parametrize("method", ["soup", "mod", "conditioned"])
def test_only_a_policy_with_a_stock_checkpoint_is_published(
    sandbox: Params, root: Path, method: str
) -> None:
    training = {"learning_rate": 1.0e-4, "steps": 75, "batch_size": 42}
    edited = _edited(sandbox, "policies/rival", {"method": method, "training": training})
    check.run(edited, root)
    edited = _edited(edited, "select/policy", "rival")
    if method == "soup":
        check.run(edited, root)
        return
    with pytest.raises(
        ParamsError, match=rf"select\.policy: .* '{method}' .* rival cannot be published"
    ):
        check.run(edited, root)


def test_all_problems_are_reported_at_once(sandbox: Params, root: Path) -> None:
    wrong = _edited(_edited(sandbox, "select/policy", "x"), "gate/objectives/margins", {"y": 0.1})
    with pytest.raises(ParamsError) as caught:
        check.run(wrong, root)
    assert [line.split(" ")[0] for line in str(caught.value).splitlines()] == [
        "params.yaml",
        "select.policy:",
        "gate.objectives.margins.y:",
    ]


def _no_config(root: Path, params: Params) -> None:
    (root / params["model"]["name"] / "config.json").rename(
        root / params["model"]["name"] / "notes.txt"
    )


def _empty_source(root: Path, params: Params) -> None:
    (root / params["sources"]["sandbox"]["path"]).write_bytes(b"")


def _empty_folder(root: Path, params: Params) -> None:
    (root / params["sources"]["sandbox"]["path"]).unlink()
    (root / params["sources"]["sandbox"]["path"]).mkdir()


def _wrong_world(root: Path, params: Params) -> None:
    path = root / params["sources"]["sandbox"]["path"]
    path.write_text(path.read_text().replace("world: dev", "world: locked"))


def _not_pulled(root: Path, params: Params) -> None:
    path = root / params["sources"]["sandbox"]["path"]
    path.rename(f"{path}.dvc")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_config, r"model\.name: models/base has no config\.json"),
        (_empty_source, r"sources\.sandbox\.path: .* is empty"),
        (_empty_folder, r"sources\.sandbox\.path: .* is empty"),
        (_wrong_world, r"sandbox\.yaml\.world: .*'dev'"),
        (_not_pulled, r"sources\.sandbox\.path: .* does not exist; run `dvc pull`"),
    ],
)
def test_problems_outside_params_are_reported(
    sandbox: Params, root: Path, spoil: Callable[[Path, Params], None], message: str
) -> None:
    spoil(root, sandbox)
    with pytest.raises(ParamsError, match=message):
        check.run(sandbox, root)


@pytest.mark.parametrize(
    ("revision", "fits"), [("a" * 40, True), ("main", False), ("A" * 40, False), (None, False)]
)
def test_a_hub_model_must_be_pinned(
    sandbox: Params, root: Path, revision: str | None, fits: bool
) -> None:
    model = {**sandbox["model"], "name": "owner/model", "revision": revision}
    if fits:
        check.run({**sandbox, "model": model}, root)
        return
    with pytest.raises(ParamsError, match=r"40 hexadecimal digits|pin model\.revision"):
        check.run({**sandbox, "model": model}, root)


def test_a_custom_verifier(sandbox: Params, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "checks_of_this_test.py").write_text("def is_even(response, reference): return 1.0")
    monkeypatch.syspath_prepend(root)
    check.run(
        _edited(sandbox, "objectives/math_accuracy/verifier", "checks_of_this_test:is_even"), root
    )


def test_the_file_of_a_custom_verifier_must_be_a_dep_of_check(
    sandbox: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package includes its `__init__.py` and the modules that it imports."""
    (root / "judging_pk").mkdir()
    (root / "judging_pk/__init__.py").write_text("STRICT = True")
    (root / "judging_pk/even.py").write_text(
        "import judging_pk_base\ndef verify(response, reference): return 1.0"
    )
    (root / "judging_pk_base.py").write_text("")
    monkeypatch.syspath_prepend(root)
    edited = _edited(sandbox, "objectives/math_accuracy/verifier", "judging_pk.even:verify")
    graph = "stages: {check: {cmd: python -m tasks.check, deps: [%s]}}"
    (root / "dvc.yaml").write_text(graph % "concord, tasks")
    with pytest.raises(ParamsError) as error:
        check.run(edited, root)
    assert [
        line.split(" is not a dep")[0].split()[-1] for line in str(error.value).split("\n")[1:]
    ] == [
        "judging_pk/__init__.py",
        "judging_pk/even.py",
        "judging_pk_base.py",
    ]
    (root / "dvc.yaml").write_text(graph % "concord, tasks, judging_pk, judging_pk_base.py")
    check.run(edited, root)
    stages = {"policy": "policies", "sft": None, "anchors": None}
    listings = code.listings(edited, stages, root.resolve())
    assert "even.py" in listings["anchors"]
    assert "even.py" not in listings["sft"]


def test_an_edit_of_a_function_reruns_the_stages_that_call_it(
    sandbox: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC runs `check` after the edit; the listings that changed are those of these stages."""
    verifier = "def is_even(response, reference): return 1.0"
    judge = "def grade(messages, answer): return 1.0"
    texts = {"edited_verifier": verifier, "edited_labels": judge, "edited_evaluation": judge}
    for name, text in texts.items():
        (root / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(root)
    kind = {"kind": "function", "function": "edited_labels:grade"}
    edited = _edited(sandbox, "process_labels/judges", {"mine": kind})
    edited = _edited(edited, "process_labels/objectives/helpful", {"judge": "mine"})
    edited = _edited(edited, "objectives/math_accuracy/verifier", "edited_verifier:is_even")
    kind = {"kind": "function", "function": "edited_evaluation:grade"}
    edited = _edited(edited, "evaluate/judge", {"judges": {"helpful": kind}})
    stages = {name: key for name, key in check.STAGES.items() if name != "check"}

    def changed(name: str) -> set[str]:
        before = code.listings(edited, stages, root)
        (root / f"{name}.py").write_text(texts[name].replace("1.0", "0.25"))
        after = code.listings(edited, stages, root)
        return {stage.partition("@")[0] for stage in after if after[stage] != before[stage]}

    assert changed("edited_labels") == {"process_labels"}
    assert changed("edited_evaluation") == {"evaluate", "candidate"}
    scoring = changed("edited_verifier")
    assert {"anchors", "rollouts", "evaluate"} <= scoring
    assert scoring.isdisjoint({"ingest", "prepare", "sft", "front", "gate", "report"})


def _with_judge(sandbox: Params, **judge: Any) -> Params:
    """Params in which a custom judge labels `helpful`."""
    edited = _edited(
        sandbox, "process_labels/judges", {"mine": {"rubric": "r", "model": "models/sft", **judge}}
    )
    return _edited(edited, "process_labels/objectives/helpful", {"judge": "mine"})


def test_missing_requirements_of_a_judge(
    sandbox: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THE_KEY", raising=False)
    served = {"endpoint": "http://localhost:1/v1", "key": "THE_KEY"}
    unset = r"judges\.mine\.key: the environment variable THE_KEY is not set, .*; set it"
    with pytest.raises(ParamsError, match=unset):
        check.run(_with_judge(sandbox, **served), root)
    with pytest.raises(
        ParamsError, match=r"judges\.mine\.model: models/judge does not exist; correct the path"
    ):
        check.run(_with_judge(sandbox, model="models/judge"), root)
    (root / "models/judge").mkdir()
    (root / "models/judge/README.md").write_text("no model")
    with pytest.raises(ParamsError, match=r"judges\.mine\.model: models/judge has no config\.json"):
        check.run(_with_judge(sandbox, model="models/judge"), root)
    monkeypatch.setenv("THE_KEY", "s3cret")
    (root / "models/judge/config.json").write_text("{}")
    check.run(_with_judge(sandbox, **served), root)
    check.run(_with_judge(sandbox, model="models/judge"), root)


def test_judges_from_a_stage_and_unused_judges(sandbox: Params, root: Path) -> None:
    check.run(_with_judge(sandbox), root)
    idle = {"mine": {"rubric": "r", "model": "models/gone"}}
    check.run(_edited(sandbox, "process_labels/judges", idle), root)


def test_budgets_may_name_stages_and_their_items(sandbox: Params, root: Path) -> None:
    check.run(
        {**sandbox, "budget": {"policy": 60, "policy@mah_dpo": 90.5, "ingest@sandbox": 3}}, root
    )


def test_the_order_of_keys_does_not_matter(sandbox: Params, root: Path) -> None:
    def reverse_keys(value: Any) -> Any:
        return (
            {key: reverse_keys(value[key]) for key in reversed(value)}
            if isinstance(value, dict)
            else value
        )

    check.run(reverse_keys(sandbox), root)


def test_the_output_does_not_depend_on_parameter_values(
    sandbox: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    text = (ROOT / "params.yaml").read_text()
    written = []
    for seed in (0, 1):
        outputs.write_text("params.yaml", re.sub(r"data: 0", f"data: {seed}", text, count=1))
        check.main()
        written.append({file.name: file.read_bytes() for file in Path("data/code").iterdir()})
    assert written[0] == written[1]
    assert {"sft", "policy@mah_dpo", "ingest@sandbox"} <= written[0].keys()
    outputs.write_text("params.yaml", text.replace("threads:", "treads:"))
    with pytest.raises(ParamsError, match=r"runtime\.treads"):
        check.main()


@pytest.mark.parametrize("value", [..., {}])
def test_checks_are_optional(
    sandbox: Params, root: Path, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stages that read them get an empty mapping."""
    monkeypatch.chdir(root)
    outputs.write_json("params.yaml", _edited(sandbox, "checks", value))
    check.main()
    assert outputs.read_json("data/checks.json") == {}
    outputs.write_json("params.yaml", sandbox)
    check.main()
    assert outputs.read_json("data/checks.json") == sandbox["checks"]


def test_an_objective_is_never_judged_by_its_outcome_and_its_steps(
    sandbox: Params, root: Path
) -> None:
    """A second objective with the same verifier would judge the outcome as well."""
    steps = _edited(sandbox, "policies/grpo/process_rewards", {"math_accuracy": "mean"})
    check.run(steps, root)
    twin = {**steps["objectives"]["math_accuracy"], "description": "the same again"}
    both = _edited(steps, "objectives/math_right", twin)
    with pytest.raises(ParamsError, match="math_right has the same verifier, so one quality would"):
        check.run(both, root)
    check.run(_edited(both, "objectives/math_right/in_vector", False), root)


def test_process_rewards_that_cannot_work(sandbox: Params, root: Path) -> None:
    """Without a head, for a cost, and with a mean of discounted values."""
    forms = {"math_accuracy": "mean", "honest": "mean", "helpful": "difference"}
    params = _edited(sandbox, "policies/grpo/process_rewards", forms)
    params = _edited(params, "process_labels/objectives/helpful", ...)
    params = _edited(params, "anchors/directions", {"honest": -1})
    params = _edited(params, "process_labels/gamma", 0.9)
    params = _edited(params, "evaluate_rewards/solution_score", "last")
    with pytest.raises(ParamsError) as error:
        check.run(params, root)
    problems = sorted(str(error.value).split("\n")[1:])
    assert [problem.split(": ")[0].rpartition(".")[2] for problem in problems] == [
        "helpful",
        "honest",
        "math_accuracy",
    ]
    assert "no head for it; add helpful to process_labels.objectives" in problems[0]
    assert "the objective is a cost" in problems[1]
    assert "a mean of step scores is smaller for longer answers" in problems[2]


def test_policies_with_process_rewards_must_wait_for_the_model(sandbox: Params, root: Path) -> None:
    """The other policies need not, so the dep is not in dvc.yaml by default."""
    graph = "stages: {policy: {do: {deps: [%s]}}, check: {deps: [concord, tasks]}}"
    (root / "dvc.yaml").write_text(graph % "models/rewards")
    check.run(sandbox, root, graph=root / "dvc.yaml")
    steps = _edited(sandbox, "policies/grpo/process_rewards", {"math_accuracy": "mean"})
    with pytest.raises(ParamsError, match=r"add models/process_reward to stages\.policy\.do\.deps"):
        check.run(steps, root, graph=root / "dvc.yaml")
    (root / "dvc.yaml").write_text(graph % "models/rewards, models/process_reward")
    check.run(steps, root, graph=root / "dvc.yaml")


def test_conversations_that_the_template_refuses_are_reported(sandbox: Params, root: Path) -> None:
    """The sandbox template knows no system turn. Files that are no data are named too."""
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    rows = [
        {"prompt": turns[1:], "chosen": "So.", "rejected": "No."},
        {"prompt": turns, "chosen": "So.", "rejected": "No."},
    ]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "pointer.jsonl").write_text("version https://git-lfs.github.com/spec/v1\n")
    source = {"format": "trl", "options": {"objective": "helpful"}}
    params = _edited(sandbox, "sources/mine", {**source, "path": "rows.jsonl"})
    params = _edited(params, "sources/cloned", {**source, "path": "pointer.jsonl"})
    with pytest.raises(ParamsError) as error:
        check.run(params, root)
    refused, pointer = str(error.value).splitlines()[1:]
    assert re.match(
        r"sources\.mine: line 2: the chat template refuses a prompt with the roles system, user: "
        "The sandbox template knows the roles user and assistant, not system",
        refused,
    )
    assert re.match(r"sources\.cloned: source \S+ is a Git LFS pointer", pointer)


def test_a_template_with_a_syntax_error_is_one_line(sandbox: Params, root: Path) -> None:
    (root / sandbox["model"]["chat_template"]).write_text("{% for m in messages %}")
    with pytest.raises(
        ParamsError, match=r"invalid:\nmodel\.chat_template: .*line 1 of it is wrong"
    ):
        check.run(sandbox, root)


@pytest.mark.parametrize("available", [False, True])
def test_cuda_is_refused_without_a_device(
    sandbox: Params, root: Path, monkeypatch: pytest.MonkeyPatch, available: bool
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: available)
    params = _edited(sandbox, "runtime/device", "cuda")
    if available:
        check.run(params, root)
    else:
        with pytest.raises(ParamsError, match=r"'cuda', but PyTorch finds no CUDA device.*auto"):
            check.run(params, root)


@pytest.mark.parametrize("arguments", [["-m", "tasks.check"], ["check.py"], ["select_weights.py"]])
def test_another_folder_than_the_root_is_one_sentence(arguments: list[str]) -> None:
    """Started in tasks/, with the project on the path as after an editable installation."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT / "tasks",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "params.yaml does not exist; run from the root of the project" in line
