"""The stage `prepare`, on a small source and on a sandbox source with planted errors."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from concord.evaluation.policies.judgeable import Judging
from concord.objectives import Objective
from concord.prepared import splits
from concord.sandbox.source import planted
from concord.stage import outputs
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import Model, section
from tasks import ingest, prepare
from tasks.prepare import Plan, PrepareParams

OBJECTIVES = {
    "fun": Objective("math", "", reward="r"),
    "clear": Objective("math", "", reward="r"),
    "right": Objective("math", "", verifier="math_answer"),
}
PLAN = Plan(["mine"], OBJECTIVES, {"r": ["clear", "fun"], "f": ["fun"]})
SHARES = PrepareParams(0.25, 0.25)
EVALUATE = {"protocol": "sandbox", "prompts": 10, "validation_prompts": 10}


def _prompt(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"What is {number} plus {number}?"}]


def _lines(number: int) -> list[dict[str, Any]]:
    """All rows of one prompt."""
    shared = {"group_id": f"g{number}", "messages": _prompt(number)}
    compared = {
        **shared,
        "kind": "comparison",
        "objective": "fun",
        "annotator": "x",
        "b": f"dull {number}",
    }
    rated = {**shared, "kind": "rating", "objective": "clear", "annotator": "x", "scale": [0, 1]}
    steps = {"steps": ["a\n\n", f"{number}"], "labels": [1, None], "label_kind": "human"}
    return [
        {**shared, "kind": "prompt", "domain": "math", "reference": str(2 * number)},
        {
            **shared,
            "kind": "demonstration",
            "domain": "math",
            "response": f"it is {2 * number}",
            "author": "x",
        },
        {**compared, "a": f"fun {number}", "preferred": "a"},
        {**rated, "response": f"fun {number}", "rating": 0.2},
        {**rated, "response": f"clear {number}", "rating": 0.9},
        {**shared, "kind": "steps", "objective": "right", **steps},
    ]


CLEAN = [line for number in range(60) for line in _lines(number)]


@pytest.fixture
def model(tiny_model: Path) -> Model:
    return Model(
        str(tiny_model), None, str(tiny_model), str(tiny_model / "chat_template.jinja"), 64
    )


def _ingest(root: Path, lines: Sequence[dict[str, Any]], name: str = "mine") -> None:
    path = root / f"{name}.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    ingest.run(
        name,
        ingest.Source("concord", str(path)),
        ingest.IngestParams(0.5),
        root / "data" / "ingested" / name,
    )


def _prepare(
    root: Path, model: Model, lines: Sequence[dict[str, Any]], plan: Plan = PLAN, seed: int = 0
) -> Any:
    _ingest(root, lines)
    return prepare.run(SHARES, plan, model, seed, root)


def _table(root: Path, name: str) -> Any:
    return outputs.read_table(root / "data" / "prepared" / f"{name}.parquet")


def _quarantined(root: Path, reason: str) -> Any:
    table = _table(root, "quarantine")
    return table[table["reason"] == reason].reset_index(drop=True)


def test_each_consumer_has_its_folder(tmp_path: Path, model: Model) -> None:
    report = _prepare(tmp_path, model, CLEAN)
    every, held_in = {"train", "validation", "test"}, {"train", "validation"}
    folders = dict.fromkeys(("pairs", "prompts", "ratings", "steps"), every) | {"sft": held_in}
    for folder, names in {
        **folders,
        "rewards/r": every | {"labels"},
        "rewards/f": every | {"labels"},
    }.items():
        files = (tmp_path / "data" / "prepared" / folder).iterdir()
        assert {file.name for file in files} == {f"{name}.parquet" for name in names}
    assert set(_table(tmp_path, "rewards/f/train")["objective"]) == {"fun"}
    assert set(_table(tmp_path, "rewards/r/train")["objective"]) == {"fun", "clear"}
    assert len(_table(tmp_path, "pairs/train")) == len(_table(tmp_path, "rewards/r/train"))
    assert sum(report["splits"]["prompts"].values()) == 60
    assert outputs.read_json(tmp_path / "reports" / "data.json") == report


def test_a_prompt_is_in_one_split_in_every_table(tmp_path: Path, model: Model) -> None:
    report = _prepare(tmp_path, model, CLEAN)
    tables = ("sft", "pairs", "prompts", "ratings", "steps", "rewards/r")
    seen: dict[str, set[str]] = {split: set() for split in ("train", "validation", "test")}
    for table in tables:
        for file in (tmp_path / "data" / "prepared" / table).glob("*.parquet"):
            split = (
                "train" if file.stem == "labels" else file.stem
            )  # the pairs that a reward model is fitted to
            seen[split] |= set(outputs.read_table(file)["group_id"])
    assert (
        not seen["train"] & seen["validation"]
        | seen["train"] & seen["test"]
        | seen["validation"] & seen["test"]
    )
    assert report["leakage"]["test"]["prompts"] == 0


def test_ratings_imply_pairs_and_are_kept_unchanged(tmp_path: Path, model: Model) -> None:
    """Each prompt has the grades .9 and .2, which imply one pair."""
    report = _prepare(tmp_path, model, CLEAN)
    pairs = _table(tmp_path, "rewards/r/train")
    clear = pairs[pairs["objective"] == "clear"]
    assert set(clear["origin"]) == {"ratings"}
    assert all(chosen.startswith("clear") for chosen in clear["chosen"])
    assert report["objectives"]["clear"]["pairs"]["train"] == len(clear)
    labels = _table(tmp_path, "rewards/r/labels")
    assert labels[labels["objective"] == "clear"]["kind"].tolist() == ["grade"] * 2 * len(clear)
    assert set(labels[labels["objective"] == "fun"]["kind"]) == {"order"}
    assert (
        report["objectives"]["clear"]["ratings"]["train"]
        == len(_table(tmp_path, "ratings/train"))
        == 2 * len(clear)
    )


def test_missing_labels_are_counted_per_answer(tmp_path: Path, model: Model) -> None:
    """One answer has labels of both objectives, the other two of one objective each."""
    report = _prepare(tmp_path, model, CLEAN)
    shares = {name: entry["missing_label_share"] for name, entry in report["objectives"].items()}
    assert shares == pytest.approx({"fun": 1 / 3, "clear": 1 / 3, "right": 1.0})


def test_duplicates_and_contradictions_are_quarantined(tmp_path: Path, model: Model) -> None:
    prompt, demonstration, comparison, rating = CLEAN[0], CLEAN[1], CLEAN[2], CLEAN[3]
    dirt = [
        {
            **prompt,
            "group_id": "again",
            "messages": [{"role": "user", "content": "what is 0  PLUS 0?"}],
        },
        {**demonstration, "group_id": "again"},
        {**comparison, "preferred": "b"},
        {**rating, "rating": 0.8},
    ]
    report = _prepare(tmp_path, model, [*CLEAN, *dirt])
    first = len(CLEAN) + 1
    assert _quarantined(tmp_path, "duplicate_prompt")["source_line"].tolist() == [first]
    assert _quarantined(tmp_path, "duplicate")["source_line"].tolist() == [first + 1]
    both = _quarantined(tmp_path, "contradiction")
    assert both[["source_line", "table"]].values.tolist() == [
        [4, "ratings"],
        [first + 3, "ratings"],
        [3, "comparisons"],
        [first + 2, "comparisons"],
    ]
    assert {reason: entry["count"] for reason, entry in report["quarantine"].items()} == {
        "contradiction": 4,
        "duplicate": 1,
        "duplicate_prompt": 1,
    }


def test_a_prompt_with_two_references_is_quarantined(tmp_path: Path, model: Model) -> None:
    _prepare(tmp_path, model, [*CLEAN, {**CLEAN[0], "reference": "7"}])
    assert _quarantined(tmp_path, "contradiction")["column"].tolist() == ["reference", "reference"]


def test_groups_that_share_a_prompt_are_split_together(tmp_path: Path, model: Model) -> None:
    stranger = [
        {**line, "group_id": f"z{line['group_id']}", "annotator": "y"}
        for line in CLEAN
        if "b" in line
    ]
    _prepare(tmp_path, model, [*CLEAN, *stranger])
    for split in ("train", "validation"):
        pairs = _table(tmp_path, f"pairs/{split}")
        prompts = pairs["messages"].map(lambda messages: messages[-1]["content"])
        assert pairs.groupby(prompts)["group_id"].nunique().eq(1).all()
        assert set(pairs["annotator"]) == {"x", "y"}


NEAR = PrepareParams(0.25, 0.25, near_duplicates=0.8)
STORY = (
    "Ann walks to the old mill with {} friends, where they meet a miller, and counts the sacks. "
    "How many are there?"
)
AGAIN = (
    "ann walks to the old mill with {} friends where they meet a miller and then counts the "
    "sacks... How many are there"
)


def _prompt_row(text: str, group: str) -> dict[str, Any]:
    return {**CLEAN[0], "group_id": group, "messages": [{"role": "user", "content": text}]}


def _stories() -> list[dict[str, Any]]:
    """60 clean prompts, and 60 stories that differ in a number, each in two versions and groups."""
    stories = [
        (text.format(number), f"{name}{number}")
        for number in range(60)
        for name, text in (("s", STORY), ("t", AGAIN))
    ]
    return [*CLEAN, *(_prompt_row(text, group) for text, group in stories)]


def _splits(root: Path) -> dict[str, str]:
    """Prompt -> its split."""
    return {
        messages[-1]["content"]: split
        for split in ("train", "validation", "test")
        for messages in _table(root, f"prompts/{split}")["messages"]
    }


def test_near_duplicates_are_in_one_split_and_no_row_is_lost(tmp_path: Path, model: Model) -> None:
    """120 of 180 prompts form 60 pairs of near duplicates; the two groups of a pair are merged."""
    _ingest(tmp_path, _stories())
    prepare.run(SHARES, PLAN, model, 0, tmp_path)
    before = _splits(tmp_path)
    report = prepare.run(NEAR, PLAN, model, 0, tmp_path)
    after = _splits(tmp_path)
    pairs = [(STORY.format(number), AGAIN.format(number)) for number in range(60)]
    assert after.keys() == before.keys()
    assert all(after[one] == after[other] for one, other in pairs)
    assert {after[one] for one, _ in pairs} == {"train", "validation", "test"}
    summary = report["near_duplicates"]
    assert tuple(
        summary[key] for key in ("prompts", "near_duplicates", "groups", "groups_merged")
    ) == (
        180,
        120,
        180,
        60,
    )
    assert len(summary["samples"]) == 5
    for split in ("validation", "test"):
        leaked = sum({before[one], before[other]} == {"train", split} for one, other in pairs)
        assert report["leakage"][split]["near_train_before_merging"] == leaked > 0
        assert report["leakage"][split]["prompts"] == 0


def test_a_domain_of_mostly_near_duplicates_is_refused(tmp_path: Path, model: Model) -> None:
    more = [
        f"{STORY.format(0)} {first}{second}" for first in "abcdefghi" for second in "abcdefghij"
    ]
    _ingest(
        tmp_path, [*CLEAN, *(_prompt_row(text, f"m{number}") for number, text in enumerate(more))]
    )
    with pytest.raises(
        DataError,
        match=r"merges 90 of the 150 prompts of domain math into one group.*raise the similarity",
    ):
        prepare.run(NEAR, PLAN, model, 0, tmp_path)


def test_near_duplicates_are_ignored_by_default(tmp_path: Path, model: Model) -> None:
    report = _prepare(tmp_path, model, _stories())
    assert report["near_duplicates"] is None
    assert "near_train_before_merging" not in report["leakage"]["test"]
    unmerged_splits = _splits(tmp_path)
    assert any(
        unmerged_splits[STORY.format(number)] != unmerged_splits[AGAIN.format(number)]
        for number in range(60)
    )


def test_an_answer_that_is_too_long_is_not_truncated(tmp_path: Path, model: Model) -> None:
    """max_length 64 leaves 61 characters after the header (2 tokens) and the end token."""
    long = [{**CLEAN[1], "response": "x" * length} for length in (61, 62)]
    _prepare(tmp_path, model, [*CLEAN, *long])
    assert _quarantined(tmp_path, "too_long")["source_line"].tolist() == [len(CLEAN) + 2]


def test_answers_with_equal_tokens_are_not_a_pair(tmp_path: Path, model: Model) -> None:
    """The test tokenizer has ASCII tokens only."""
    _prepare(tmp_path, model, [*CLEAN, {**CLEAN[2], "a": "caf\u00e9", "b": "caf\u00ea"}])
    quarantined = _quarantined(tmp_path, "identical_responses")
    assert quarantined[["source_line", "table"]].values.tolist() == [
        [len(CLEAN) + 1, "comparisons"]
    ]


def test_the_output_does_not_depend_on_the_order_of_names(tmp_path: Path, model: Model) -> None:
    _ingest(tmp_path, CLEAN[60:], "b")
    _ingest(tmp_path, CLEAN[:60], "a")
    sections = {
        "sources": {"a": {}, "b": {}},
        "objectives": {
            name: {"domain": "math", "description": "", "reward": "r"}
            for name in ("clear", "fun", "right")
        },
        "reward_models": {
            "f": {"objectives": {"fun": {}}},
            "r": {"objectives": {"clear": {}, "fun": {}}},
        },
        "evaluate": EVALUATE,
    }
    reversed_sections: dict[str, Any] = {
        key: dict(reversed(section.items())) for key, section in sections.items()
    }
    reversed_sections["reward_models"]["r"] = {"objectives": {"fun": {}, "clear": {}}}
    contents = []
    for params in (sections, reversed_sections):
        prepare.run(SHARES, Plan.of(params), model, 0, tmp_path)
        files = sorted((tmp_path / "data" / "prepared").rglob("*.parquet"))
        contents.append(
            [file.read_bytes() for file in [*files, tmp_path / "reports" / "data.json"]]
        )
    assert contents[0] == contents[1]


def test_a_different_seed_gives_different_splits(tmp_path: Path, model: Model) -> None:
    first = set(_prepare(tmp_path, model, CLEAN) and _table(tmp_path, "prompts/train")["prompt_id"])
    second = set(
        _prepare(tmp_path, model, CLEAN, seed=1) and _table(tmp_path, "prompts/train")["prompt_id"]
    )
    assert first != second


def test_folders_of_removed_models_are_deleted(tmp_path: Path, model: Model) -> None:
    _prepare(tmp_path, model, CLEAN)
    _prepare(tmp_path, model, CLEAN, Plan(["mine"], OBJECTIVES, {"r": ["fun"]}))
    assert [path.name for path in (tmp_path / "data" / "prepared" / "rewards").iterdir()] == ["r"]


def test_labels_of_an_unknown_objective_are_refused(tmp_path: Path, model: Model) -> None:
    """60 comparisons of `fun` say `funn`, a typing error; `right` is not listed either."""
    lines = [
        {**line, "objective": "funn"} if line.get("objective") == "fun" else line for line in CLEAN
    ]
    plan = Plan(["mine"], {name: OBJECTIVES[name] for name in ("fun", "clear")}, {"r": ["clear"]})
    with pytest.raises(
        DataError,
        match=r"funn \(60 labels in the source mine, did you mean fun\?\); right \(60 labels in "
        r"the source mine\).*prepare\.ignore_objectives: \[funn, right\]",
    ):
        _prepare(tmp_path, model, lines, plan)


def test_labels_of_ignored_objectives_are_dropped_and_counted(tmp_path: Path, model: Model) -> None:
    _ingest(tmp_path, CLEAN)
    params = PrepareParams(0.25, 0.25, ignore_objectives=["clear", "right", "absent"])
    plan = Plan(["mine"], {"fun": OBJECTIVES["fun"]}, {"r": ["fun"]})
    report = prepare.run(params, plan, model, 0, tmp_path)
    assert report["unused_objectives"] == {"clear": 120, "right": 60}
    assert set(_table(tmp_path, "ratings/train")["objective"]) == set()
    assert set(_table(tmp_path, "pairs/train")["objective"]) == {"fun"}


def test_the_same_prompts_in_several_sources_are_split_once(tmp_path: Path, model: Model) -> None:
    """Four sources with groups of other names hold the same 60 prompts. No prompt is in two splits.
    Of four groups that are merged, one is held out more often than a quarter of the time, which
    `prepare` says; with equal names, the shares are kept.
    """
    names = ["a", "b", "c", "d"]
    for name in names:
        lines = [{**line, "group_id": f"{name}{line['group_id']}"} for line in CLEAN]
        lines = [
            {**line, "annotator": name} if "annotator" in line else {**line, "author": name}
            for line in lines
            if line["kind"] != "prompt" or name == "a"
        ]
        _ingest(tmp_path, lines, name)
    report = prepare.run(SHARES, Plan(names, OBJECTIVES, {"r": ["fun"]}), model, 0, tmp_path)
    sizes = report["split_sizes"]
    assert sum(entry["prompts"] for entry in sizes.values()) == 60
    assert sum(entry["groups"] for entry in sizes.values()) == 60
    assert sizes["test"]["got"] > 0.4
    assert not sizes["test"]["by_chance"]
    assert "name the group of a prompt alike" in splits.size_lines(sizes)[1]
    assert report["leakage"]["test"]["prompts"] == 0
    for name in names:
        _ingest(tmp_path, CLEAN, name)
    report = prepare.run(SHARES, Plan(names, OBJECTIVES, {"r": ["fun"]}), model, 0, tmp_path)
    assert all(entry["by_chance"] for entry in report["split_sizes"].values())


def test_the_split_of_a_prompt_does_not_depend_on_the_name_of_its_source(
    tmp_path: Path, model: Model
) -> None:
    splits = []
    for name in ("mine", "other"):
        _ingest(tmp_path, CLEAN, name)
        prepare.run(SHARES, Plan([name], OBJECTIVES, {"r": ["fun"]}), model, 0, tmp_path)
        splits.append(_splits(tmp_path))
    assert splits[0] == splits[1]


LIKELIHOOD = Judging("likelihood", 10, 10)


def test_pairs_alone_can_be_judged(tmp_path: Path, model: Model) -> None:
    """`fun` has comparisons and no ratings, also in the test split."""
    plan = Plan(["mine"], {"fun": OBJECTIVES["fun"]}, {"r": ["fun"]}, judging=LIKELIHOOD)
    lines = [line for line in CLEAN if line.get("objective", "fun") == "fun"]
    _prepare(tmp_path, model, lines, plan)
    pairs = _table(tmp_path, "pairs/test")
    assert set(pairs["origin"]) == {"comparisons"}
    assert _table(tmp_path, "ratings/test").empty


def test_what_cannot_be_judged_is_refused(tmp_path: Path, model: Model) -> None:
    """`right` has labels of steps only, and `clear` one answer per prompt."""
    with pytest.raises(DataError, match=r"judged differently on right \(domain math\); add"):
        _prepare(tmp_path, model, CLEAN, replace(PLAN, judging=LIKELIHOOD))
    two = {name: OBJECTIVES[name] for name in ("fun", "clear")}
    plan = Plan(["mine"], two, {"r": ["clear", "fun"]}, judging=LIKELIHOOD)
    _prepare(tmp_path, model, [line for line in CLEAN if line.get("objective") != "right"], plan)
    lines = [line for line in UNPAIRED if line.get("objective") != "right"]
    with pytest.raises(DataError, match=r"judged differently on clear \(domain math\)"):
        _prepare(tmp_path, model, lines, plan)


def _single_answer(number: int) -> dict[str, Any]:
    """A binary label for the only answer of each prompt, so there are no pairs."""
    shared = {"group_id": f"g{number}", "messages": _prompt(number), "response": f"clear {number}"}
    return {**shared, "kind": "binary", "objective": "clear", "annotator": "x", "label": number % 2}


UNPAIRED = [line for line in CLEAN if line.get("objective") != "clear"] + [
    _single_answer(number) for number in range(60)
]


def test_labels_of_a_single_answer_per_prompt_are_used(tmp_path: Path, model: Model) -> None:
    report = _prepare(tmp_path, model, UNPAIRED)
    assert report["objectives"]["clear"]["pairs"] == {"train": 0, "validation": 0, "test": 0}
    labels = _table(tmp_path, "rewards/r/labels")
    assert set(labels[labels["objective"] == "clear"]["kind"]) == {"grade"}
    only_clear = Plan(["mine"], OBJECTIVES, {"r": ["clear"]})
    only = [line for line in UNPAIRED if line.get("objective") != "fun"]
    assert _prepare(tmp_path, model, only, only_clear)["splits"]["pairs"] == {
        "train": 0,
        "validation": 0,
        "test": 0,
    }


def test_implied_pairs_need_pairs(tmp_path: Path, model: Model) -> None:
    plan = Plan(["mine"], OBJECTIVES, {"r": ["clear", "fun"]}, implied={"r"})
    assert _prepare(tmp_path, model, CLEAN, plan)["objectives"]["clear"]["pairs"]["train"]
    with pytest.raises(
        DataError,
        match=r"reward model r: the objective clear has \{'train': 0.*or set labels: given",
    ):
        _prepare(tmp_path, model, UNPAIRED, plan)


def test_the_plan_lists_models_fitted_to_implied_pairs() -> None:
    groups = {
        "a": {"objectives": {"fun": {}}, "labels": "implied_pairs"},
        "b": {"objectives": {"fun": {}}},
    }
    entry = {"fun": {"domain": "math", "description": "", "reward": "a"}}
    params = {"reward_models": groups, "sources": {}, "objectives": entry, "evaluate": EVALUATE}
    assert Plan.of(params, {}).implied == {"a"}


def test_constant_grades_are_refused(tmp_path: Path, model: Model) -> None:
    lines = [{**line, "label": 1} if line["kind"] == "binary" else line for line in UNPAIRED]
    with pytest.raises(
        DataError,
        match=r"reward model r: all train labels of the objective clear have the same.*add answers",
    ):
        _prepare(tmp_path, model, lines)


def test_a_reward_model_without_labels_is_refused(tmp_path: Path, model: Model) -> None:
    plan = Plan(["mine"], OBJECTIVES, {"r": ["right"]})
    with pytest.raises(
        DataError, match=r"reward model r: the objective right has \{'train': 0.* labels"
    ):
        _prepare(tmp_path, model, CLEAN, plan)
    with pytest.raises(
        ParamsError, match=r"reward_models\.r\.objectives\.funny: unknown objective"
    ):
        _prepare(tmp_path, model, CLEAN, Plan(["mine"], OBJECTIVES, {"r": ["funny"]}))


def test_a_source_that_was_not_ingested_is_named(tmp_path: Path, model: Model) -> None:
    with pytest.raises(DataError, match=r"data/ingested/mine/prompts\.parquet does not exist"):
        prepare.run(SHARES, PLAN, model, 0, tmp_path)


def test_shares_must_leave_training_data() -> None:
    with pytest.raises(ParamsError, match=r"prepare: validation 0\.5 and test 0\.5 leave no data"):
        section(PrepareParams, {"validation": 0.5, "test": 0.5}, "prepare")


SPEC = """\
world: dev
seed: 3
prompts: 30
demonstrations: 30
comparisons:
  {math_engagement: 90, helpful: 90, honest: 90, harmless: 90, tutor_accuracy: 90, overall: 90}
ratings: 15
rankings: 10
binary: 10
answers: 3
steps: 20
missing: 0.3
dirt: 0.1
"""


def test_all_planted_errors_are_quarantined(tmp_path: Path, tiny_model: Path, model: Model) -> None:
    """A contradiction counts as two rows: the planted row and the row that it contradicts."""
    spec = tmp_path / "sandbox.yaml"
    spec.write_text(SPEC)
    ingest.run(
        "mine",
        ingest.Source("sandbox", str(spec)),
        ingest.IngestParams(0.2),
        tmp_path / "data" / "ingested" / "mine",
    )
    names = (
        "math_engagement",
        "helpful",
        "honest",
        "harmless",
        "tutor_accuracy",
        "tutor_engagement",
        "overall",
    )
    objectives = {
        name: Objective("all", "", reward="r", in_vector=False)
        for name in (*names, "math_accuracy")
    }
    long = Model(model.name, None, model.files, model.chat_template, 512)
    report = prepare.run(SHARES, Plan(["mine"], objectives, {"r": ["helpful"]}), long, 0, tmp_path)
    quarantined = {reason: entry["count"] for reason, entry in report["quarantine"].items()}
    expected = planted(spec)
    expected["contradiction"] *= 2
    assert quarantined == expected
    assert len(expected) == 13
    assert (
        report["sources"]["mine"]["read"]
        == report["sources"]["mine"]["kept"] + report["sources"]["mine"]["quarantined"]
    )


def test_the_command_needs_only_the_sections_it_names(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model, tmp_path / "base")
    (tmp_path / "params.yaml").write_text(
        "seeds: {data: 0, sampling: 0}\n"
        "model: {name: base, revision: null, files: base, max_length: 64,\n"
        "  chat_template: base/chat_template.jinja}\n"
        "sources: {mine: {format: concord, path: mine.jsonl}}\n"
        "objectives: {fun: {domain: math, description: f, reward: r}}\n"
        "reward_models: {r: {objectives: {fun: {}}}}\n"
        "prepare: {validation: 0.25, test: 0.25, ignore_objectives: [clear, right]}\n"
        "evaluate: {protocol: sandbox, prompts: 10, validation_prompts: 10}\n"
    )
    outputs.write_json("data/checks.json", {})
    _ingest(tmp_path, CLEAN)
    prepare.main()
    assert (tmp_path / "reports" / "data.json").is_file()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("prompt", r"the domain math has .*add rows of kind prompt"),
        ("demonstration", r"no demonstrations"),
    ],
)
def test_prompts_and_demonstrations_are_required(
    tmp_path: Path, model: Model, kind: str, message: str
) -> None:
    _ingest(tmp_path, [line for line in CLEAN if line["kind"] != kind])
    with pytest.raises(DataError, match=message):
        prepare.run(SHARES, PLAN, model, 0, tmp_path)


def test_a_test_only_source_is_held_out_with_the_prompts_it_shares(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    """`exam` has 12 prompts of its own and 6 of `mine`, one with the very same rows."""
    exam = [line for number in range(54, 72) for line in _lines(number)]
    exam = [
        line if line["group_id"] == "g54" or "annotator" not in line else {**line, "annotator": "z"}
        for line in exam
    ]
    _ingest(tmp_path, exam, "exam")
    plan = Plan(["exam", "mine"], OBJECTIVES, PLAN.groups, test_only={"exam"})
    before = _prepare(tmp_path, model, CLEAN, Plan(["mine"], OBJECTIVES, PLAN.groups))
    report = _prepare(tmp_path, model, CLEAN, plan)
    counts = {"groups": 18, "shared_groups": 6, "other_rows": 36}
    assert report["test_only"] == {"exam": counts}
    assert "test_only" not in before
    printed = capsys.readouterr().out
    assert "exam is test-only: 18 groups. It shares 6 of them with other sources" in printed
    asked = {json.dumps(_prompt(number)) for number in range(54, 72)}
    for table in ("prompts", "ratings", "steps", "rewards/r"):
        for split in ("train", "validation"):
            frame = _table(tmp_path, f"{table}/{split}")
            assert "exam" not in set(frame["source"])
            assert not asked & {json.dumps(messages) for messages in frame["messages"]}
        test = _table(tmp_path, f"{table}/test")
        assert asked <= {json.dumps(messages) for messages in test["messages"]}
    assert report["leakage"]["test"]["prompts"] == 0


def test_ten_appends_never_move_a_row_into_training(tmp_path: Path, model: Model) -> None:
    """Each appends six stories, some of which repeat an earlier one in other words.

    The test-only source grows too, and has more and more prompts of the other.
    """
    order = ("train", "validation", "test").index
    plan = Plan(["exam", "mine"], OBJECTIVES, PLAN.groups, test_only={"exam"})
    lines, exam, before, moves = list(CLEAN), CLEAN[:6], dict[str, str](), 0
    for append in range(11):
        for story in range(6 * append, 6 * append + 6):
            again = story % 3 == 2
            text = AGAIN.format(story - 7) if again else STORY.format(story)
            lines.append(_prompt_row(text, f"s{story}"))
        exam = [*exam, *_lines(append)]
        _ingest(tmp_path, exam, "exam")
        _ingest(tmp_path, lines)
        prepare.run(NEAR, plan, model, 0, tmp_path)
        after = _splits(tmp_path)
        assert before.keys() <= after.keys()
        assert not [text for text in before if order(after[text]) < order(before[text])]
        moves += sum(after[text] != split for text, split in before.items())
        before = after
    assert moves > 5, "the appends join no groups, so the test shows nothing"


def test_a_test_only_source_is_the_whole_test_part(tmp_path: Path, model: Model) -> None:
    _ingest(tmp_path, [line for number in range(60, 70) for line in _lines(number)], "exam")
    _ingest(tmp_path, CLEAN)
    plan = Plan(["exam", "mine"], OBJECTIVES, PLAN.groups, test_only={"exam"})
    prepare.run(PrepareParams(0.25, 0.0), plan, model, 0, tmp_path)
    assert set(_table(tmp_path, "ratings/test")["source"]) == {"exam"}
    assert set(_table(tmp_path, "ratings/train")["source"]) == {"mine"}


def test_the_plan_reads_the_roles() -> None:
    sources = {"a": {"format": "table", "path": "x", "role": "test"}, "b": {}}
    objectives = {"fun": {"domain": "math", "description": "", "verifier": "math_answer"}}
    params = {
        "sources": sources,
        "objectives": objectives,
        "reward_models": {},
        "evaluate": EVALUATE,
    }
    assert Plan.of(params, {}).test_only == {"a"}
