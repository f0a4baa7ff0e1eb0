"""Labels of a domain that no recipe knows, a tea house: three files, as a new user brings them.

An answer may greet the guest, says how to make the tea, may go into detail, and may warn. An editor
compared answers (CSV), three people rated them (JSON lines), and one ranked them (Parquet). The
files share questions.
"""

import csv
import json
import random
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

FOLDER = Path("data/raw/tea")
TEAS = ["green", "black", "mint", "white", "herb", "ginger", "rose", "apple", "lemon", "iced"]
PROBLEMS = {
    "is too strong": "Use less of it.",
    "has no taste": "Let it stay in the water.",
    "is cold": "Use a warm cup.",
    "is too hot": "Let it cool.",
    "smells bad": "Use new leaves.",
    "is bitter": "Use cooler water.",
}
GREETING, DETAIL, WARNING = (
    "Welcome, and thank you!",
    "Then wait. Then try it again.",
    "Be careful.",
)
QUESTIONS = [(f"My {tea} tea {what}. What now?", what) for tea in TEAS for what in PROBLEMS]
CHOICES = list(product([False, True], repeat=3))
"""Whether an answer greets, goes into detail, and warns."""
PEOPLE = {"ann": 0, "bob": -1, "eva": 1}
"""Person -> how kindly they rate."""
RECIPE = """\
model: {name: models/base}
sources:
  pairs:
    format: table
    path: data/raw/tea/pairs.csv
    columns: {a: first, b: second, preferred: better}
    options: {kind: comparison, prompt: question, constants: {objective: warm, annotator: editor}}
  ratings:
    format: table
    path: data/raw/tea/ratings.jsonl
    columns: {response: answer, annotator: person}
    options: {kind: rating, prompt: question, constants: {scale: [1, 5]}}
  rankings:
    format: table
    path: data/raw/tea/rankings.parquet
    columns: {responses: answers, annotator: person}
    options: {kind: ranking, prompt: question, constants: {objective: brief}}
objectives:
  warm: {domain: tea, description: greets the guest}
  brief: {domain: tea, description: is short}
prepare: {demonstrations: preferred}
sft: {training: {learning_rate: 2.0e-3, steps: 100, batch_size: 16}}
policies:
  steered: {method: mah_dpo, pairs: annotations, beta: 0.3, head_learning_rate: 1.5e-3,
    training: {steps: 40, batch_size: 24}}
"""


def answer(problem: str, greets: bool, details: bool, warns: bool) -> str:
    parts = [GREETING * greets, PROBLEMS[problem], DETAIL * details, WARNING * warns]
    return " ".join(part for part in parts if part)


def pairs(draw: random.Random) -> list[dict[str, Any]]:
    """The editor prefers the answer that greets."""
    rows = []
    for question, problem in QUESTIONS:
        warm = draw.choice([choice for choice in CHOICES if choice[0]])
        plain = draw.choice([choice for choice in CHOICES if not choice[0]])
        better = draw.choice("ab")
        first, second = (warm, plain) if better == "a" else (plain, warm)
        sides = {"first": answer(problem, *first), "second": answer(problem, *second)}
        rows.append({"question": question, **sides, "better": better})
    return rows


def ratings(draw: random.Random) -> list[dict[str, Any]]:
    """Three people rate how warm an answer is, from 1 to 5."""
    return [
        {
            "question": question,
            "answer": answer(problem, *choice),
            "objective": "warm",
            "rating": (4 if choice[0] else 2) + mood * draw.randint(0, 1),
            "person": person,
        }
        for question, problem in QUESTIONS
        for choice in draw.sample(CHOICES, 3)
        for person, mood in PEOPLE.items()
    ]


def rankings(draw: random.Random) -> list[dict[str, Any]]:
    """One person ranks four answers, the shortest first."""
    rows = []
    for question, problem in QUESTIONS:
        answers = [answer(problem, *choice) for choice in draw.sample(CHOICES, 4)]
        lengths = [len(text.split()) for text in answers]
        ranks = [1 + sum(other < length for other in lengths) for length in lengths]
        rows.append({"question": question, "answers": answers, "ranks": ranks, "person": "dee"})
    return rows


def write(project: Path, recipe: str) -> dict[str, int]:
    """Writes the three files and the recipe; source -> its rows."""
    draw, folder = random.Random(0), project / FOLDER
    folder.mkdir(parents=True)
    makers: dict[str, Callable[[random.Random], list[dict[str, Any]]]]
    makers = {"pairs": pairs, "ratings": ratings, "rankings": rankings}
    rows = {name: make(draw) for name, make in makers.items()}
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows["pairs"][0])
        writer.writeheader()
        writer.writerows(rows["pairs"])
    lines = [json.dumps(row) + "\n" for row in rows["ratings"]]
    (folder / "ratings.jsonl").write_text("".join(lines), encoding="utf-8")
    pd.DataFrame(rows["rankings"]).to_parquet(folder / "rankings.parquet")
    (project / recipe).write_text(RECIPE, encoding="utf-8")
    return {name: len(each) for name, each in rows.items()}
