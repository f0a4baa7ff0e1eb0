"""The dev world as annotators would deliver it: JSON lines of every kind, with dirt planted where real files have it.

The lines follow the interchange format of `concord.annotations.interchange`. What is planted is reported, so that a
test can demand that ingestion finds it. See them with

    python -m concord.sandbox.source data/raw/sandbox.yaml
"""

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.sandbox.annotators import ANNOTATORS, comparisons, gold, rating
from concord.sandbox.dirt import plant
from concord.sandbox.world import DOMAIN, OBJECTIVES, Prompt, World
from concord.stage.errors import ParamsError
from concord.stage.params import FORBID, read, section

Record = dict[str, Any]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=FORBID)
class Spec:
    """How much of what the annotators deliver."""

    world: Literal["dev"]
    """The world; nothing is learned from the locked one."""
    seed: Count
    """Draws prompts, answers and labels."""
    prompts: Count
    """Prompts of each domain that nobody answered."""
    demonstrations: Count
    """Answered prompts of each domain."""
    comparisons: dict[str, Count]
    """Judged pairs of each objective; `overall` is spread over the domains."""
    ratings: Count
    """Prompts of each domain whose answers are rated from 1 to 5."""
    rankings: Count
    """Prompts of each domain whose answers are ranked."""
    binary: Count
    """Prompts of each domain whose answers are judged good or bad."""
    answers: Annotated[int, Field(ge=2)]
    """Answers to each rated, ranked or judged prompt."""
    steps: Count
    """Math answers with a label for each step."""
    missing: Share
    """Share of the labels that are missing."""
    dirt: Share
    """Share of spoiled lines added to the clean ones."""


def read_spec(path: str | Path) -> Spec:
    """The spec file at `path`, checked."""
    spec = section(Spec, read(path), str(path))
    unknown = sorted(set(spec.comparisons) - {*DOMAIN, "overall"})
    if unknown:
        raise ParamsError(
            f"{path}: comparisons names {', '.join(unknown)}; the sandbox has {', '.join([*DOMAIN, 'overall'])}"
        )
    return spec


def lines(path: str | Path) -> Iterator[str]:
    """The delivered lines, dirt among them."""
    return iter(_delivery(path)[0])


def planted(path: str | Path) -> dict[str, int]:
    """How many rows of each kind of dirt stand in the lines, by the reason that ingestion should give."""
    return _delivery(path)[1]


def _delivery(path: str | Path) -> tuple[list[str], dict[str, int]]:
    spec = read_spec(path)
    records = _distinct(records_of(spec))
    return plant(records, spec.dirt, random.Random(f"dirt-{spec.seed}"))


def _distinct(records: Iterator[Record]) -> list[Record]:
    seen: set[str] = set()
    kept = []
    for record in records:
        if (
            record["kind"] == "comparison"
        ):  # the same pair must not come with both answers, but where dirt plants it
            key = json.dumps(
                [
                    record["messages"],
                    sorted([record["a"], record["b"]]),
                    record["objective"],
                    record["annotator"],
                ]
            )
        elif record["kind"] == "prompt":
            key = json.dumps(record["messages"])
        else:
            key = json.dumps(record, sort_keys=True)
        if key not in seen:
            seen.add(key)
            kept.append(record)
    return kept


def records_of(spec: Spec) -> Iterator[Record]:
    """The clean records."""
    world = World.build(spec.world, spec.seed)
    rng = random.Random(f"source-{spec.seed}")
    for domain in OBJECTIVES:
        for prompt in world.prompts(domain, spec.prompts, 1):
            yield {
                "kind": "prompt",
                **_head(prompt),
                "domain": domain,
                "reference": prompt.reference,
            }
        for prompt in world.prompts(domain, spec.demonstrations, 2):
            yield {
                "kind": "demonstration",
                **_head(prompt),
                "domain": domain,
                "author": rng.choice(ANNOTATORS),
                "response": world.write(prompt.messages, rng),
                "finish_reason": "stop",
            }
        yield from _labelled(world, domain, spec, rng)
    for objective, count in spec.comparisons.items():
        for judged in comparisons(world, objective, count, spec.seed):
            yield _comparison(judged, rng)
    yield from _step_labels(world, spec, rng)


def _head(prompt: Prompt) -> Record:
    return {"group_id": prompt.group_id, "messages": prompt.messages}


def _comparison(judged: Record, rng: random.Random) -> Record:
    pair = [("a", judged["chosen"]), ("b", judged["rejected"])]
    if rng.random() < 0.5:
        pair = [("b", judged["chosen"]), ("a", judged["rejected"])]
    shown = dict(sorted(pair))
    return {
        "kind": "comparison",
        "group_id": judged["group_id"],
        "messages": judged["messages"],
        "objective": judged["objective"],
        "a": shown["a"],
        "b": shown["b"],
        "preferred": pair[0][0],
        "annotator": judged["annotator"],
    }


def _labelled(world: World, domain: str, spec: Spec, rng: random.Random) -> Iterator[Record]:
    """Ratings, rankings and binary labels: the same answers judged on every objective of the domain, some missing."""
    kinds = ["rating"] * spec.ratings + ["ranking"] * spec.rankings + ["binary"] * spec.binary
    for kind, prompt in zip(kinds, world.prompts(domain, len(kinds), 3), strict=True):
        answers = list(
            dict.fromkeys(world.write(prompt.messages, rng) for _ in range(spec.answers))
        )
        for objective in OBJECTIVES[domain]:
            annotator = rng.choice(ANNOTATORS)
            scores = {
                answer: gold(world, prompt, answer, objective)
                for answer in answers
                if rng.random() >= spec.missing
            }
            yield from _judged(kind, prompt, objective, annotator, scores, rng)


def _judged(
    kind: str,
    prompt: Prompt,
    objective: str,
    annotator: str,
    scores: dict[str, float],
    rng: random.Random,
) -> Iterator[Record]:
    common = {"kind": kind, **_head(prompt), "objective": objective, "annotator": annotator}
    noisy = {answer: rating(score, annotator, rng) for answer, score in scores.items()}
    if kind == "ranking":
        levels = sorted(set(noisy.values()), reverse=True)
        if len(noisy) > 1:
            yield {
                **common,
                "responses": list(noisy),
                "ranks": [levels.index(value) + 1 for value in noisy.values()],
            }
        return
    for answer, value in noisy.items():
        if kind == "rating":
            yield {**common, "response": answer, "rating": value, "scale": [1, 5]}
        else:
            yield {**common, "response": answer, "label": int(value > 3)}


def _step_labels(world: World, spec: Spec, rng: random.Random) -> Iterator[Record]:
    for prompt in world.prompts("math", spec.steps, 4):
        parts = world.write(prompt.messages, rng).split("\n\n")
        steps = [part + "\n\n" for part in parts[:-1]] + parts[-1:]
        labels = [
            None if rng.random() < spec.missing else label
            for label in world.step_gold(prompt.messages, steps, "math_accuracy")
        ]
        yield {
            "kind": "steps",
            **_head(prompt),
            "objective": "math_accuracy",
            "steps": steps,
            "labels": labels,
            "label_kind": "human",
        }


if __name__ == "__main__":
    sys.stdout.writelines(line + "\n" for line in lines(sys.argv[1]))
    sys.stderr.write(json.dumps(planted(sys.argv[1]), indent=1) + "\n")
