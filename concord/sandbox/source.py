"""Deliveries of the dev world's annotators: JSON lines of every kind, with the faults of real
files.

The lines follow the interchange format of `concord.annotations.interchange`. The planted faults are
counted, so that a test can check that ingestion finds them. To see the lines:

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
    """How much the annotators deliver."""

    world: Literal["dev"]
    """The world; nothing is learned from `locked`."""
    seed: Count
    """Seed of prompts, answers and labels."""
    prompts: Count
    """Unanswered prompts per domain."""
    demonstrations: Count
    """Answered prompts per domain."""
    comparisons: dict[str, Count]
    """Judged pairs per objective; `overall` is spread over the domains."""
    ratings: Count
    """Prompts per domain with answers rated from 1 to 5."""
    rankings: Count
    """Prompts per domain with ranked answers."""
    binary: Count
    """Prompts per domain with answers judged good or bad."""
    answers: Annotated[int, Field(ge=2)]
    """Answers per rated, ranked or judged prompt."""
    steps: Count
    """Math answers with a label per step."""
    missing: Share
    """Share of missing labels."""
    dirt: Share
    """Faulty lines to add, as a share of the clean ones."""


def read_spec(path: str | Path) -> Spec:
    """Reads and checks the spec at `path`. Raises ParamsError for unknown objectives."""
    spec = section(Spec, read(path), str(path))
    unknown = sorted(set(spec.comparisons) - {*DOMAIN, "overall"})
    if unknown:
        raise ParamsError(
            f"{path}: comparisons has unknown objectives: {', '.join(unknown)}. "
            f"Use {', '.join([*DOMAIN, 'overall'])}."
        )
    return spec


def lines(path: str | Path) -> Iterator[str]:
    """The delivered lines, including the faulty ones."""
    return iter(_delivery(path)[0])


def planted(path: str | Path) -> dict[str, int]:
    """Number of faulty lines by the reason that ingestion should report."""
    return _delivery(path)[1]


def _delivery(path: str | Path) -> tuple[list[str], dict[str, int]]:
    spec = read_spec(path)
    records = _distinct(records_of(spec))
    return plant(records, spec.dirt, random.Random(f"dirt-{spec.seed}"))


def _distinct(records: Iterator[Record]) -> list[Record]:
    seen: set[str] = set()
    kept = []
    for record in records:
        if record["kind"] == "comparison":
            # only planted faults may contain one pair with both preferences
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
                **_prompt_fields(prompt),
                "domain": domain,
                "reference": prompt.reference,
            }
        for prompt in world.prompts(domain, spec.demonstrations, 2):
            yield {
                "kind": "demonstration",
                **_prompt_fields(prompt),
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


def _prompt_fields(prompt: Prompt) -> Record:
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
    """Ratings, rankings or binary labels: each answer on every objective, some labels missing."""
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
    common = {
        "kind": kind,
        **_prompt_fields(prompt),
        "objective": objective,
        "annotator": annotator,
    }
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
            **_prompt_fields(prompt),
            "objective": "math_accuracy",
            "steps": steps,
            "labels": labels,
            "label_kind": "human",
        }


if __name__ == "__main__":
    sys.stdout.writelines(line + "\n" for line in lines(sys.argv[1]))
    sys.stderr.write(json.dumps(planted(sys.argv[1]), indent=1) + "\n")
