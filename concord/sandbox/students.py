"""The simulated student over several turns: it answers or leaves by the probabilities of gold."""

import random
from collections.abc import Callable

from concord.sandbox import tutoring
from concord.sandbox.sentences import acts
from concord.sandbox.world import Messages, World

Reply = Callable[[list[Messages]], list[str]]


def roll(
    world: World, messages: list[Messages], reply: Reply, turns: int, seed: int
) -> dict[str, float]:
    """Rolls every dialogue on for at most `turns` tutor turns.

    `reply` answers a batch of dialogues. Returns shares over dialogues: `solved` (the student got it right), `engaged`
    (never left), `told` (the answer was given away), and `turns`, the mean number of tutor turns. The draws of dialogue
    i and turn t depend on (seed, i, t) alone, so that policies are compared on common random numbers.
    """
    dialogues = [list(dialogue) for dialogue in messages]
    solved, left, told = set[int](), set[int](), set[int]()
    spent = 0
    for turn in range(turns):
        open_ones = [i for i in range(len(dialogues)) if i not in solved and i not in left]
        if not open_ones:
            break
        spent += len(open_ones)
        for i, text in zip(open_ones, reply([dialogues[i] for i in open_ones]), strict=True):
            rng = random.Random(f"{seed}-{i}-{turn}")
            chance = world.gold(dialogues[i], text)
            told |= {i} if any(act.kind == "tell" for act in acts(text)) else set()
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
        "told": len(told) / n,
        "turns": spent / n,
    }
