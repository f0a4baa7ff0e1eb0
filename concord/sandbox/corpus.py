"""Training corpus of the base model: simulated authors of all worlds, sums, facts, and marked work.

Only the base model sees the words and facts of the locked world. Annotations, reward models and
policies see `dev` alone.
"""

import random
from collections.abc import Iterator

from concord.sandbox import marking
from concord.sandbox.arithmetic import LIMIT, apply
from concord.sandbox.sentences import say
from concord.sandbox.world import Messages, World

SHARES = {
    "math": 0.18,
    "values": 0.13,
    "tutoring": 0.13,
    "sums": 0.03,
    "entries": 0.06,
    "marked": 0.47,
}
BITS = {"steps": 0.36, "sentences": 0.2, "sums": 0.04, "entries": 0.08}
WHOLE = {"tutoring": 0.22, "values": 0.1}
MARKED = BITS | WHOLE
"""Shares of marked work: marked part by part (BITS), or once at the end, by domain (WHOLE)."""
Document = tuple[Messages, str]


def documents(seed: int, marks: bool = True) -> Iterator[Document]:
    """Endless (messages, response) pairs; the prompt of sums and entries names the task.

    Without `marks`, there is no marked work, and the other shares grow in proportion.
    """
    shares = {name: share for name, share in SHARES.items() if marks or name != "marked"}
    rng = random.Random(f"corpus-{seed}")
    worlds = [World.build(name, seed) for name in ("dev", "locked")]
    books = World.build("books", seed)  # has the facts of dev
    creatures = [(world, creature) for world in worlds for creature in world.facts.table]
    while True:
        domain = rng.choices(list(shares), weights=list(shares.values()))[0]
        if domain == "sums":
            yield _sums(rng)
            continue
        if domain == "entries":
            yield _entries(rng.sample(creatures, 4), rng)
            continue
        if domain == "marked":
            yield _marked(rng.choice((worlds[0], books)), creatures, rng)
            continue
        world = rng.choice(worlds if domain == "values" else [*worlds, books])
        prompt = world.prompts(domain, 1, rng.getrandbits(48))[0]
        yield prompt.messages, world.write(prompt.messages, rng)


def _marked(world: World, creatures: list[tuple[World, str]], rng: random.Random) -> Document:
    kind = rng.choices(list(MARKED), weights=list(MARKED.values()))[0]
    if kind == "sums":
        return marking.sums(_sums(rng)[1].split("\n\n"), rng)
    if kind == "entries":
        return marking.entries(rng.sample(creatures, 4), rng)
    if kind in WHOLE:
        return marking.WHOLE[kind](world, rng)
    return marking.solution(world, rng) if kind == "steps" else marking.turn(world, rng)


def _sums(rng: random.Random) -> Document:
    lines: list[str] = []
    while len(lines) < 8:
        left, operation, right = rng.randint(1, LIMIT), rng.choice("++--*"), rng.randint(2, 11)
        if operation == "*":
            right = 2 + right % 2
        result = apply(left, operation, right)
        if 0 < result <= LIMIT:
            lines.append(f"{left}{operation}{right}={result}")
    return [{"role": "user", "content": "Sums."}], "\n\n".join(lines)


def _entries(creatures: list[tuple[World, str]], rng: random.Random) -> Document:
    """True statements about some creatures, one paragraph each."""
    paragraphs = [
        " ".join(
            say(name, rng, creature=creature, value=value)
            for name, value in world.facts.table[creature].items()
        )
        for world, creature in creatures
    ]
    return [{"role": "user", "content": "Facts."}], "\n\n".join(paragraphs)
