"""Simulated students: they answer correctly and stay with the gold probabilities."""

import random
from collections.abc import Callable

from concord.sandbox import tutoring
from concord.sandbox.sentences import acts
from concord.sandbox.world import Messages, World

Reply = Callable[[list[Messages]], list[str]]


def simulate(
    world: World, messages: list[Messages], reply: Reply, turns: int, seed: int
) -> dict[str, float]:
    """Continues every dialogue for at most `turns` tutor turns; returns shares over dialogues.

    `reply` answers a batch of dialogues. The result has `solved` (the student got it right),
    `engaged` (the student never left), `told` (the tutor gave the answer away), and `turns`, the
    mean number of tutor turns. The draws of dialogue i and turn t depend on (seed, i, t) alone, so
    policies are compared on common random numbers.
    """
    dialogues = [list(dialogue) for dialogue in messages]
    solved, left, given_away = set[int](), set[int](), set[int]()
    spent = 0
    for turn in range(turns):
        active = [i for i in range(len(dialogues)) if i not in solved and i not in left]
        if not active:
            break
        spent += len(active)
        for i, text in zip(active, reply([dialogues[i] for i in active]), strict=True):
            rng = random.Random(f"{seed}-{i}-{turn}")
            chance = world.gold(dialogues[i], text)
            given_away |= {i} if any(act.kind == "tell" for act in acts(text)) else set()
            right, stays = (
                rng.random() < chance["tutor_accuracy"],
                rng.random() < chance["tutor_engagement"],
            )
            solved |= {i} if right else set()
            left |= set() if stays else {i}
            answer = tutoring.student_reply(
                right, world.lexicon, world.dialogues.situation(dialogues[i]), rng
            )
            dialogues[i] += [
                {"role": "assistant", "content": text},
                {"role": "user", "content": answer},
            ]
    n = len(dialogues)
    return {
        "solved": len(solved) / n,
        "engaged": 1 - len(left) / n,
        "told": len(given_away) / n,
        "turns": spent / n,
    }
