"""Marks in the corpus are true, and no problem of the locked world is marked."""

import itertools
import random
import re

from concord.sandbox import corpus, marking
from concord.sandbox.sentences import acts
from concord.sandbox.world import World

DEV, LOCKED, BOOKS = (World.build(name, 0) for name in ("dev", "locked", "books"))


def without_flag(messages):
    return [
        {**messages[0], "content": messages[0]["content"].removeprefix(marking.FLAG)},
        *messages[1:],
    ]


def lines(text):
    """Lines without their marks, and the marks."""
    parts = [line.rpartition(" ") for line in text.split("\n\n")]
    return [part[0] for part in parts], [part[2] for part in parts]


def sentences(text):
    """Sentences with inline marks, as (sentence, mark)."""
    return re.findall(r"([^.!?\n]+[.!?]) (right|wrong)\b", text)


def test_step_marks_agree_with_gold():
    rng, seen = random.Random(0), set()
    for _ in range(200):
        messages, text = marking.solution(DEV, rng)
        steps, marks = lines(text)
        gold = DEV.step_gold(without_flag(messages), steps, "math_accuracy")
        assert marks == ["right" if each else "wrong" for each in gold]
        seen |= set(marks)
    assert seen == {"right", "wrong"}


def test_sums():
    _, text = marking.sums(
        [f"{number}+2={number + 2}" for number in range(1, 40)], random.Random(0)
    )
    sums, marks = lines(text)
    right = [int(line.split("+")[0]) + 2 == int(line.split("=")[1]) for line in sums]
    assert marks == ["right" if each else "wrong" for each in right]
    assert set(right) == {True, False}


def agrees(act, situation):
    if act.kind == "hint":
        step = situation.right
        return (act.slots["a"], act.slots["op"], act.slots["b"]) == (
            str(step.left),
            step.operation,
            str(step.right),
        )
    return (
        act.slots["number"] == str(situation.answer)
        if act.kind == "tell"
        else act.kind == f"find_{situation.mistake}"
    )


def test_sentences_of_tutors_are_marked_by_the_dialogue():
    rng, seen = random.Random(0), set()
    for _ in range(200):
        messages, text = marking.turn(DEV, rng)
        situation = DEV.dialogues.situation(without_flag(messages))
        for sentence, mark in sentences(text):
            (act,) = acts(sentence)
            assert mark == ("right" if agrees(act, situation) else "wrong"), (messages, sentence)
            seen.add((act.kind.split("_")[0], mark))
    assert seen == set(itertools.product(("find", "hint", "tell"), ("right", "wrong")))


def test_statements_are_marked_by_the_encyclopedia():
    creatures = [(world, name) for world in (DEV, LOCKED) for name in list(world.facts.table)[:5]]
    _, text = marking.entries(creatures, random.Random(0))
    for (world, creature), paragraph in zip(creatures, text.split("\n\n"), strict=True):
        for sentence, mark in sentences(paragraph):
            (act,) = acts(sentence)
            assert mark == ("right" if world.facts.true(act, creature) else "wrong")


def answer_and_mark(document):
    """A whole answer, and whether it is marked right."""
    response, _, mark = document[1].partition(marking.END)
    assert mark in (" right", " wrong")
    return response, mark == " right"


def test_whole_turns_are_marked_by_every_mistake_hint_and_answer_they_give():
    rng, seen = random.Random(0), set()
    for _ in range(200):
        document = marking.whole_turn(DEV, rng)
        response, right = answer_and_mark(document)
        situation = DEV.dialogues.situation(document[0])
        statements = [
            act
            for act in acts(response)
            if act.kind in ("hint", "tell") or act.kind.startswith("find")
        ]
        assert right == all(agrees(act, situation) for act in statements)
        seen |= {(act.kind.split("_")[0], right) for act in statements}
    assert seen == set(itertools.product(("find", "hint", "tell"), (True, False)))


def test_whole_answers_are_marked_by_every_claim_they_make():
    rng, seen = random.Random(0), set()
    for _ in range(200):
        document = marking.whole_answer(DEV, rng)
        response, right = answer_and_mark(document)
        question = DEV.facts.questions[document[0][0]["content"]]
        claims = [act for act in acts(response) if act.kind in ("color", "place", "food")]
        assert right == all(DEV.facts.true(act, question.subject) for act in claims)
        seen.add(right)
    assert seen == {True, False}


def test_a_corpus_without_marks() -> None:
    """The base model that learned from it has never read a mark."""
    drawn = list(itertools.islice(corpus.documents(3, marks=False), 1000))
    assert not any(messages[0]["content"].startswith(marking.FLAG) for messages, _ in drawn)
    assert not any(re.search(r" (right|wrong)$", text, re.MULTILINE) for _, text in drawn)
    kinds = {messages[0]["content"] for messages, _ in drawn}
    assert {"Sums.", "Facts."} < kinds


def test_problems_dialogues_and_answers_of_the_locked_world_are_never_marked():
    drawn = itertools.islice(corpus.documents(3), 4000)
    marked = [
        m for m, text in drawn if m[0]["content"].startswith(marking.FLAG) or marking.END in text
    ]
    assert 1700 < len(marked) < 2060
    for messages in marked:
        content = without_flag(messages)[0]["content"]
        if content in ("Sums.", "Facts.") or content in DEV.facts.questions:
            assert content not in LOCKED.facts.questions
            continue
        problem = content.removeprefix("Problem: ").partition(" Solution: ")[0]
        assert len(DEV.problems.steps(problem) or BOOKS.problems.steps(problem)) >= 2
        assert not LOCKED.problems.steps(problem)
