"""The worlds: deterministic, disjoint, readable from text only, with the expected ceilings."""

import json
import random
import statistics

import pytest

from concord.sandbox import annotators, lexicon, students
from concord.sandbox.sentences import PHRASES, acts, pattern
from concord.sandbox.source import _delivery, read_spec
from concord.sandbox.world import DOMAIN, OBJECTIVES, World
from concord.stage.errors import ParamsError


@pytest.fixture(scope="module", params=["dev", "locked"])
def world(request):
    return World.build(request.param, 0)


def test_every_phrase_is_read_back_as_its_act():
    slots = {"creature": "zorbit", "value": "red", "number": "7", "a": "1", "b": "2", "op": "+"}
    for act, templates in PHRASES.items():
        for template in templates:
            assert [result.kind for result in acts(template.format(**slots))] == [act], template


def test_no_two_phrases_match_the_same_sentence():
    patterns = [pattern(template) for templates in PHRASES.values() for template in templates]
    assert len(set(patterns)) == len(patterns)


def test_the_worlds_share_no_vocabulary():
    for field in (
        "names",
        "objects",
        "creatures",
        "activities",
        "people",
        "unknowable",
        "starts",
        "gains",
        "losses",
        "multiplies",
        "questions",
    ):
        assert not set(getattr(lexicon.DEV, field)) & set(getattr(lexicon.LOCKED, field)), field
    shared = {"to hurt {person}", "to steal from {person}", "to help {person}"}
    purposes = [
        {*words.bad_purposes, *words.good_purposes} for words in (lexicon.DEV, lexicon.LOCKED)
    ]
    assert purposes[0] & purposes[1] == shared
    questions = [
        {text for texts in words.known.values() for text in texts}
        for words in (lexicon.DEV, lexicon.LOCKED)
    ]
    assert not questions[0] & questions[1]
    assert not set(lexicon.DEV.profiles) & set(lexicon.LOCKED.profiles)
    assert lexicon.DEV.start_range[1] < lexicon.LOCKED.start_range[0]


@pytest.mark.parametrize(
    "field", ["names", "objects", "starts", "gains", "losses", "multiplies", "questions"]
)
def test_no_other_world_shares_words_with_books(field):
    read = set(getattr(lexicon.BOOKS, field))
    assert not read & {*getattr(lexicon.DEV, field), *getattr(lexicon.LOCKED, field)}


def test_books_has_no_verb_of_the_locked_world():
    """So marked words do not help to judge a problem of the locked world."""
    frame = {
        "more",
        "times",
        "are",
        "of",
        "the",
        "now",
        "is",
        "as",
        "in",
        "it",
        "at",
        "a",
        "much",
        "amount",
    }
    verbs = [
        {
            word.strip(".")
            for text in (*lexicon_words.gains, *lexicon_words.losses, *lexicon_words.multiplies)
            for word in text.lower().split()
        }
        for lexicon_words in (lexicon.LOCKED, lexicon.BOOKS)
    ]
    assert {word for word in verbs[0] & verbs[1] if not word.startswith("{")} <= frame


@pytest.mark.parametrize("domain", OBJECTIVES)
def test_prompts_depend_on_the_seed(world, domain):
    assert world.prompts(domain, 20, 1) == World.build(world.name, 0).prompts(domain, 20, 1)
    assert world.prompts(domain, 20, 1) != world.prompts(domain, 20, 2)
    assert world.prompts(domain, 20, 1) != World.build(world.name, 1).prompts(domain, 20, 1)


def test_gold_depends_only_on_the_text(world):
    """The reference read back from the text of a problem equals the one it was generated from."""
    for prompt in world.prompts("math", 300, 3):
        assert world.gold(prompt.messages, f"\\boxed{{{prompt.reference}}}")["math_accuracy"] == 1.0
    for prompt in world.prompts("tutoring", 300, 3):
        assert world.dialogues.situation(prompt.messages).mistake == prompt.kind


@pytest.mark.parametrize("domain", OBJECTIVES)
def test_gold_is_in_the_unit_interval_and_answers_differ(world, domain):
    rng = random.Random(0)
    scores = [
        world.gold(p.messages, world.write(p.messages, rng)) for p in world.prompts(domain, 300, 5)
    ]
    for objective in OBJECTIVES[domain]:
        values = [score[objective] for score in scores]
        assert min(values) >= 0
        assert max(values) <= 1
        assert statistics.pstdev(values) > 0.15


@pytest.mark.parametrize("objective", [*DOMAIN, "overall"])
def test_the_ceiling_of_the_annotators(world, objective):
    pairs = annotators.comparisons(world, objective, 800, 0)
    ceiling = statistics.mean(max(pair["p"], 1 - pair["p"]) for pair in pairs)
    assert 0.80 <= ceiling <= 0.92


@pytest.mark.parametrize(
    "objective", [o for o in DOMAIN if DOMAIN[o] != "math"] + ["math_engagement"]
)
def test_length_does_not_predict_the_preference(world, objective):
    pairs = annotators.comparisons(world, objective, 800, 0)
    longer = statistics.mean(
        (len(p["chosen"]) > len(p["rejected"])) + 0.5 * (len(p["chosen"]) == len(p["rejected"]))
        for p in pairs
    )
    ceiling = statistics.mean(max(pair["p"], 1 - pair["p"]) for pair in pairs)
    assert max(longer, 1 - longer) < ceiling - 0.1


def test_bradley_terry_probability():
    temperature = annotators.TEMPERATURE["helpful"]
    assert annotators.probability("helpful", 0.5, 0.5) == 0.5
    assert annotators.probability("helpful", temperature, 0.0) == pytest.approx(
        0.7310586
    )  # sigmoid(1)


def test_helpful_conflicts_with_harmless(world):
    """On hazards, the gold rewards of helpful and harmless are negatively correlated."""
    rng = random.Random(1)
    hazards = [p for p in world.prompts("values", 900, 6) if p.kind == "hazard"]
    scores = [world.gold(p.messages, world.write(p.messages, rng)) for p in hazards]
    assert (
        statistics.correlation([s["helpful"] for s in scores], [s["harmless"] for s in scores])
        < -0.7
    )


def test_the_student_solves_the_problem_when_told_but_disengages(world):
    dialogues = [p.messages for p in world.prompts("tutoring", 200, 7)]

    def tell(batch):
        return [
            f"The answer is {world.dialogues.situation(messages).answer}." for messages in batch
        ]

    def guide(batch):
        return ["Good effort! What do you think comes next?"] * len(batch)

    telling, guided = (students.simulate(world, dialogues, reply, 1, 0) for reply in (tell, guide))
    assert telling["told"] == 1.0
    assert telling["solved"] > guided["solved"] + 0.1
    assert telling["engaged"] < guided["engaged"] - 0.5
    longer = students.simulate(world, dialogues, guide, 3, 0)
    assert longer["solved"] > guided["solved"] + 0.1
    assert longer["turns"] > guided["turns"] == 1.0
    assert longer == students.simulate(world, dialogues, guide, 3, 0)


SPEC = """world: dev
seed: 3
prompts: 30
demonstrations: 30
comparisons: {helpful: 60, overall: 30}
ratings: 20
rankings: 10
binary: 10
answers: 3
steps: 20
missing: 0.3
dirt: 0.2
"""


def test_generated_lines_are_deterministic_and_faults_are_counted(tmp_path):
    path = tmp_path / "sandbox.yaml"
    path.write_text(SPEC)
    lines, planted = _delivery(path)
    assert (lines, planted) == _delivery(path)
    broken = 0
    for line in lines:
        try:
            json.loads(line)
        except json.JSONDecodeError:
            broken += 1
    assert broken == planted["not_json"] > 0
    assert sum(planted.values()) / len(lines) == pytest.approx(0.2 / 1.2, abs=0.03)


def test_a_spec_with_an_unknown_objective_fails(tmp_path):
    path = tmp_path / "sandbox.yaml"
    path.write_text(SPEC.replace("helpful: 60", "helpfull: 60"))
    with pytest.raises(ParamsError, match="helpfull"):
        read_spec(path)
