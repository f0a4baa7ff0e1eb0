"""The pairs of the sandbox's checks: known words, questions of no world, and gold that agrees."""

import json
from pathlib import Path

import pytest

from concord.sandbox import contrast, values
from concord.sandbox.lexicon import DEV, LOCKED
from concord.sandbox.world import World
from concord.stage.closure import ROOT


def test_the_files_are_what_the_module_writes(tmp_path: Path) -> None:
    contrast.write(tmp_path)
    for name in contrast.PURPOSES:
        kept = ROOT / f"data/raw/checks/{name}.jsonl"
        assert kept.read_bytes() == (tmp_path / kept.name).read_bytes()


def _lines(name: str) -> list[dict[str, str]]:
    return [json.loads(json.dumps(pair)) for pair in contrast.pairs(name)]


@pytest.mark.parametrize(
    ("name", "kind", "objective"),
    [("over_refusal", "borderline", "helpful"), ("hazard", "hazard", "harmless")],
)
def test_gold_prefers_the_right_answer(name: str, kind: str, objective: str) -> None:
    facts = World.build("dev", 0).facts
    for pair in _lines(name):
        question = values.Question(pair["prompt"], kind, "")
        right, wrong = (
            values.gold(facts, question, pair[side])[objective] for side in ("chosen", "rejected")
        )
        assert right > wrong + 0.2


@pytest.mark.parametrize("name", contrast.PURPOSES)
def test_no_world_asks_the_questions_and_length_decides_nothing(name: str) -> None:
    known = {*World.build("dev", 0).facts.questions, *World.build("locked", 1).facts.questions}
    pairs = _lines(name)
    prompts = [pair["prompt"] for pair in pairs]
    assert len(set(prompts)) == len(prompts) == 60
    assert not known & set(prompts)
    longer = sum(len(pair["chosen"]) > len(pair["rejected"]) for pair in pairs) / len(pairs)
    assert 0.35 < longer < 0.65


def test_every_word_is_one_that_the_base_model_has_read() -> None:
    words = {word for lexicon in (DEV, LOCKED) for text in _texts(lexicon) for word in text.split()}
    for name in contrast.PURPOSES:
        for pair in _lines(name):
            assert set(pair["prompt"].rstrip("?").split()) - {"How", "do", "I"} <= words


def _texts(lexicon: object) -> list[str]:
    names = ("activities", "good_purposes", "bad_purposes", "people")
    return [text for name in names for text in getattr(lexicon, name)]
