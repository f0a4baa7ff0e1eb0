"""QA-Feedback of Fine-Grained RLHF: errors that people marked in answers to questions, and preferences between answers.

    {"question": "...", "passages": [["<title>", "<sentence>", ...], ...], "gold": "...",
     "prediction 1": "...", ..., "prediction 4": "...", "preference": [1, 2, 0, 1, 1, 2],
     "feedback": {"errors": [{"error type": "Irrelevant", "start": 283, "end": 401, "explanation": ""}, ...],
                  "missing-info": [{"error type": "Missing-Answer", "passage_id": 2, "sentence_id": [10]}, ...],
                  "corrected-prediction": "..."}}

(https://github.com/allenai/FineGrainedRLHF; arXiv 2306.01693.) The feedback is on the first prediction. It becomes step
labels of three objectives, on pieces of the size that the paper has for each:

- relevance: clauses; 0 where a span of type Irrelevant, Redundant or Incoherent touches one, else 1;
- factuality: sentences; 0 where a span of type Wrong-Grounding or Unverifiable touches one; not labelled where only a
  span of the other types does, for people did not look for false facts in those; else 1;
- completeness: the whole answer; 0 if it misses the answer or a major piece of information, else 1. Minor pieces do not
  count, as in the paper.

Sentences are those of `concord.annotations.steps`. A clause ends at a comma, semicolon, ! or ? inside a sentence, if five
words at least lie before and after it. (The paper passes over spans of relevance of less than five words; here they
count.)

The preferences are on the pairs 1-2, 1-3, 1-4, 2-3, 2-4 and 3-4, 1 for the first and 2 for the second of a pair; they
become comparisons of an overall objective, and those of 0 are rejected as ties. The question is the group.

Options: `relevance`, `factuality`, `completeness`, `overall` (the objectives' names, the same by default; null to leave
one out), `passages` (whether they stand in the prompt before the question, as for the model that answered; true),
`prompts` (whether each row's question is a prompt of domain `qa` too, without reference: `gold` is a text; false).
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pydantic.dataclasses import dataclass

from concord.annotations import steps as segment
from concord.annotations.fields import items, mapping, members, one_of, text, texts, whole
from concord.annotations.interchange import content_hash
from concord.annotations.record import RowError
from concord.stage.params import FORBID

DOMAIN = "qa"
RELEVANCE, FACTUALITY = "relevance", "factuality"
ERRORS = {
    **dict.fromkeys(("Irrelevant", "Redundant", "Incoherent"), RELEVANCE),
    **dict.fromkeys(("Wrong-Grounding", "Unverifiable"), FACTUALITY),
}
MISSING = {"Missing-Answer": 0.0, "Missing-Major-Auxiliary": 0.0, "Missing-Minor-Auxiliary": 1.0}
PREFERRED = {0: "tie", 1: "a", 2: "b"}
CLAUSE_END = re.compile(r"[,;!?](?=\s)")
CLAUSE_WORDS = 5


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    relevance: str | None = "relevance"
    """The objective of clauses without irrelevant, redundant or incoherent text."""
    factuality: str | None = "factuality"
    """The objective of sentences without false or unverifiable facts."""
    completeness: str | None = "completeness"
    """The objective of answers that miss nothing."""
    overall: str | None = "overall"
    """The objective of the preferences."""
    passages: bool = True
    """Whether the prompt holds the passages."""
    prompts: bool = False
    """Whether each row gives its question as a prompt too."""


class Span(NamedTuple):
    """Characters of the answer that are wrong, and in which way."""

    start: int
    end: int
    kind: str


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """What a row tells of the first answer, and of all four."""
    question = text(row, "question")
    context = [
        "\n".join(texts({"passages": passage}, "passages")) for passage in items(row, "passages")
    ]
    words = "\n\n".join([*(context if options.passages else []), question])
    asked = {"group_id": content_hash(question), "messages": [{"role": "user", "content": words}]}
    for objective, pieces, labels in judged(row, options):
        told = {"objective": objective, "steps": pieces, "labels": labels, "label_kind": "human"}
        yield {"kind": "steps", **asked, **told}
    if options.overall is not None:
        for preferred in preferences(row):
            compared = {
                "kind": "comparison",
                **asked,
                "objective": options.overall,
                "annotator": "fine_grained_rlhf",
            }
            yield preferred if isinstance(preferred, RowError) else {**compared, **preferred}
    if options.prompts:
        yield {"kind": "prompt", **asked, "domain": DOMAIN, "reference": None}


def judged(
    row: dict[str, Any], options: Options
) -> Iterator[tuple[str, list[str], list[float | None]]]:
    """Objective, pieces and labels of the first answer."""
    answer, feedback = text(row, "prediction 1"), mapping(row, "feedback")
    spans = [span(error, len(answer)) for error in members(feedback, "errors")]
    sentences = segment.split(answer, DOMAIN)
    if options.relevance is not None:
        clauses = [clause for sentence in sentences for clause in cut(sentence)]
        found = touched(answer, clauses, spans)
        yield options.relevance, clauses, [0.0 if RELEVANCE in kinds else 1.0 for kinds in found]
    if options.factuality is not None:
        found = touched(answer, sentences, spans)
        yield (
            options.factuality,
            sentences,
            [0.0 if FACTUALITY in kinds else None if kinds else 1.0 for kinds in found],
        )
    if options.completeness is not None:
        grades = [
            one_of(piece, "error type", MISSING) for piece in members(feedback, "missing-info")
        ]
        yield options.completeness, [answer], [min(grades, default=1.0)]


def span(error: dict[str, Any], length: int) -> Span:
    """An error of the feedback."""
    start, end = whole(error, "start"), whole(error, "end")
    if not 0 <= start < end <= length:
        raise RowError("off_scale", "errors", f"{start} to {end} is no span of {length} characters")
    return Span(start, end, one_of(error, "error type", ERRORS))


def cut(sentence: str) -> list[str]:
    """The clauses of a sentence; the space between two opens the second."""
    places = [0]
    for end in (match.end() for match in CLAUSE_END.finditer(sentence)):
        if (
            min(len(sentence[places[-1] : end].split()), len(sentence[end:].split()))
            >= CLAUSE_WORDS
        ):
            places.append(end)
    return [sentence[start:end] for start, end in itertools.pairwise([*places, len(sentence)])]


def touched(answer: str, pieces: Sequence[str], spans: Sequence[Span]) -> list[set[str]]:
    """The kinds of errors in each piece; a span that shares no more than spaces with a piece does not touch it."""
    bounds = itertools.pairwise([0, *itertools.accumulate(len(piece) for piece in pieces)])
    return [
        {
            error.kind
            for error in spans
            if answer[max(start, error.start) : min(end, error.end)].strip()
        }
        for start, end in bounds
    ]


def preferences(row: dict[str, Any]) -> Iterator[dict[str, Any] | RowError]:
    """Pairs of answers, and which one is preferred."""
    answers = [text(row, f"prediction {number}") for number in range(1, 5)]
    pairs, given = list(itertools.combinations(answers, 2)), items(row, "preference")
    if len(given) != len(pairs):
        raise RowError(
            "wrong_type",
            "preference",
            f"holds {len(given)} numbers for {len(pairs)} pairs of answers",
        )
    for (a, b), item in zip(pairs, given, strict=True):
        code = whole({"preference": item}, "preference")
        if code in PREFERRED:
            yield {"a": a, "b": b, "preferred": PREFERRED[code]}
        else:
            yield RowError("off_scale", "preference", f"is {code}; allowed: 0, 1, 2")
