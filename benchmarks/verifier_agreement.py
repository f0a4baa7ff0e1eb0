"""Verdicts of Concord's verifiers and of math-verify, on a table of cases and on graded solutions.

    python -m benchmarks.verifier_agreement [--cases FILE] [--gsm8k FOLDER] [--answers 2000]

The table is `tests/rewards/verifiers/cases.tsv`, or another file of the same form: verifier, 1 for
right or 0 for wrong, response, reference. math-verify reads responses of `math_answer` with its
defaults, and those of `multiple_choice` with its extraction of letters. The script prints both
results for each topic of the table, and the cases that one of them gets wrong.

FOLDER has the files of https://github.com/openai/grade-school-math. Of its solutions by models,
with a grade for each, the first `--answers` are read as the source format gsm8k reads them. The
script prints how often the verifiers agree with each other and with the grades, and each solution
on which they do not.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from math_verify import (
    ExprExtractionConfig,
    LatexExtractionConfig,
    StringExtractionConfig,
    parse,
    verify,
)

from concord.annotations.files import json_lines
from concord.annotations.formats.gsm8k import GRADED, final_answer, formatted
from concord.rewards.verifiers import final_answer as marks
from concord.rewards.verifiers.dispatch import find

CASES = Path("tests/rewards/verifiers/cases.tsv")
TARGETS = {
    "math_answer": (LatexExtractionConfig(), ExprExtractionConfig()),
    "multiple_choice": (StringExtractionConfig(strings=tuple("ABCDEFGHIJ")),),
}
"""Verifier -> what math-verify extracts."""


class Case(NamedTuple):
    """A response with what is known of it."""

    topic: str
    verifier: str
    right: bool
    response: str
    reference: str


class Verdicts(NamedTuple):
    """Both verdicts on a case."""

    case: Case
    ours: bool
    math_verify: bool


def read_cases(file: Path) -> Iterator[Case]:
    """Yields the cases that math-verify can read."""
    topic = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            topic = line.removeprefix("#").strip()
            continue
        verifier, right, response, reference = line.split("\t")
        if verifier in TARGETS:
            yield Case(topic, verifier, right == "1", response, reference)


def read_solutions(folder: Path) -> Iterator[Case]:
    """Yields graded solutions in the order of the file. The topic names the line and the model."""
    for line, record in enumerate(json_lines(folder / GRADED, GRADED), 1):
        row = record.row or {}
        reference = final_answer(row.get("ground_truth", ""))
        for author, graded in row.items():
            if isinstance(graded, dict) and reference:
                response, right = formatted(graded["solution"]), graded["is_correct"]
                yield Case(f"line {line}, {author}", "math_answer", right, response, reference)


def by_math_verify(case: Case) -> bool:
    """The verdict of math-verify, with its defaults."""
    targets = TARGETS[case.verifier]
    marked = any(mark in case.reference for mark in ("$", r"\[", r"\(", r"\boxed", "####"))
    latex = case.verifier == "math_answer" and not marked
    gold = parse(f"${case.reference}$" if latex else case.reference, targets)
    return bool(verify(gold, parse(case.response, targets)))


def judge(cases: Iterable[Case]) -> list[Verdicts]:
    """Both verdicts on every case, and their time."""
    cases = list(cases)
    started = time.perf_counter()
    verifiers = {name: find(name) for name in TARGETS}
    ours = [verifiers[case.verifier](case.response, case.reference) == 1 for case in cases]
    middle = time.perf_counter()
    other = [by_math_verify(case) for case in cases]
    ended = time.perf_counter()
    print(f"{len(cases)} cases: {middle - started:.0f} s, math-verify {ended - middle:.0f} s")
    return [Verdicts(*row) for row in zip(cases, ours, other, strict=True)]


def print_table(verdicts: list[Verdicts]) -> None:
    """Prints wrong verdicts by topic, and each case that one of the two gets wrong."""
    print(
        "\n| topic | cases | refused | wrong | wrongly right | math-verify: wrong | wrongly right |"
    )
    print("|---|---|---|---|---|---|---|")
    topics = list(dict.fromkeys(each.case.topic for each in verdicts))
    for topic in [*topics, "all"]:
        rows = [each for each in verdicts if topic in (each.case.topic, "all")]
        errors = [
            [verdict for verdict, right in pairs if verdict != right]
            for pairs in (
                [(each.ours, each.case.right) for each in rows],
                [(each.math_verify, each.case.right) for each in rows],
            )
        ]
        refused = sum(not each.case.right for each in rows)
        cells = [
            len(rows),
            refused,
            *(count for each in errors for count in (len(each), sum(each))),
        ]
        print(f"| {topic} | {' | '.join(map(str, cells))} |")
    print()
    for case, ours, other in verdicts:
        if ours != case.right or other != case.right:
            who = " and ".join(
                name
                for name, verdict in (("concord", ours), ("math-verify", other))
                if verdict != case.right
            )
            print(f"{who} wrong: {case.response}  {'==' if case.right else '!='}  {case.reference}")


def print_agreement(verdicts: list[Verdicts]) -> None:
    """Prints how often verdicts and grades agree, and each solution on which they do not."""
    counts = Counter((each.case.right, each.ours, each.math_verify) for each in verdicts)
    print("\n| grade | concord | math-verify | solutions |\n|---|---|---|---|")
    for key, count in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"| {' | '.join('right' if part else 'wrong' for part in key)} | {count} |")
    agree = sum(each.ours == each.math_verify for each in verdicts)
    print(f"\nBoth verifiers agree on {agree} of {len(verdicts)}.")
    for case, ours, other in verdicts:
        if not case.right == ours == other:
            marked = marks.final_answer(case.response)
            print(
                f"{case.topic}: answer {marked!r}, reference {case.reference!r}, "
                f"grade {case.right}, concord {ours}, math-verify {other}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=Path, default=CASES, help="table of cases")
    parser.add_argument("--gsm8k", type=Path, help="folder with example_model_solutions.jsonl")
    parser.add_argument("--answers", type=int, default=2000, help="number of graded solutions")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    print_table(judge(read_cases(given.cases)))
    if given.gsm8k:
        print_agreement(judge(list(read_solutions(given.gsm8k))[: given.answers]))


if __name__ == "__main__":
    main()
