"""QA-Feedback of Fine-Grained RLHF: errors marked in answers, and preferences between answers.

Reads the files of https://github.com/allenai/FineGrainedRLHF (arXiv 2306.01693):

    {"question": "...", "passages": [["<title>", "<sentence>", ...], ...], "gold": "...",
     "prediction 1": "...", ..., "prediction 4": "...", "preference": [1, 2, 0, 1, 1, 2],
     "feedback": {"errors": [{"error type": "Irrelevant", "start": 283, "end": 401}, ...],
                  "missing-info": [{"error type": "Missing-Answer", "passage_id": 2,
                                    "sentence_id": [10]}, ...],
                  "corrected-prediction": "..."}}

Makes, for each question, which is also the group:

- Step labels of relevance. The steps are clauses of the first prediction. The label is 0 if a span
  of type Irrelevant, Redundant or Incoherent overlaps the clause, else 1.
- Step labels of factuality. The steps are sentences. The label is 0 if a span of type
  Wrong-Grounding or Unverifiable overlaps the sentence. It is null if only spans of the other types
  do, because annotators did not check the facts in those. Else it is 1.
- A step label of completeness. The only step is the whole answer. The label is 0 if the answer or a
  major piece of information is missing, else 1. Missing minor pieces do not count, as in the paper.
- Six comparisons of an overall objective, one for each pair of the four predictions in the order
  1-2, 1-3, 1-4, 2-3, 2-4, 3-4. A preference of 1 or 2 names the better one of the pair; 0 is a tie
  and is rejected.
- With `prompts`, a prompt of the domain `qa` without reference, because `gold` is free text.

Sentences are split as in `concord.annotations.steps`. A clause ends at a comma, semicolon,
exclamation mark or question mark within a sentence if at least five words precede and follow it.
Unlike in the paper, spans of relevance errors with fewer than five words count.

Options:
- `relevance`, `factuality`, `completeness`, `overall`: the names of the objectives; null leaves one
  out. Default: the same names.
- `passages`: whether the prompt contains the passages before the question, as it did for the model
  that answered. Default: true.
- `prompts`: whether each question also becomes a prompt of the domain `qa`. Default: false.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pydantic.dataclasses import dataclass

from concord.annotations import steps as segment
from concord.annotations.fields import integer, items, mapping, mappings, one_of, text, texts
from concord.annotations.interchange import content_hash
from concord.annotations.record import RowError
from concord.annotations.shapes import Shape
from concord.stage.params import FORBID

DOMAIN = "qa"
RELEVANCE, FACTUALITY = "relevance", "factuality"
ERRORS = {
    **dict.fromkeys(("Irrelevant", "Redundant", "Incoherent"), RELEVANCE),
    **dict.fromkeys(("Wrong-Grounding", "Unverifiable"), FACTUALITY),
}
"""Type of error -> the objective that it counts against."""
MISSING = {"Missing-Answer": 0.0, "Missing-Major-Auxiliary": 0.0, "Missing-Minor-Auxiliary": 1.0}
"""Kind of missing information -> label of completeness."""
PREFERRED = {0: "tie", 1: "a", 2: "b"}
CLAUSE_END = re.compile(r"[,;!?](?=\s)")
CLAUSE_WORDS = 5
Label = float | None
SHAPES = (Shape(("question", "passages", "prediction 1", "feedback"), {"prompts": True}),)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    relevance: str | None = "relevance"
    """The objective of clauses without irrelevant, redundant or incoherent text; null for none."""
    factuality: str | None = "factuality"
    """The objective of sentences without wrong or unverifiable facts; null for none."""
    completeness: str | None = "completeness"
    """The objective of answers without missing information; null for none."""
    overall: str | None = "overall"
    """The objective of the preferences; null for none."""
    passages: bool = True
    """Whether the prompt contains the passages before the question."""
    prompts: bool = False
    """Whether each question also becomes a prompt of the domain `qa`."""


class Span(NamedTuple):
    """A marked error: characters `start` to `end` of the answer."""

    start: int
    end: int
    objective: str
    """The objective that the error counts against."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """Yields the step labels of the first prediction and the comparisons of all four."""
    question = text(row, "question")
    passages = [
        "\n".join(texts({"passages": passage}, "passages")) for passage in items(row, "passages")
    ]
    content = "\n\n".join([*(passages if options.passages else []), question])
    prompt = {
        "group_id": content_hash(question),
        "messages": [{"role": "user", "content": content}],
    }
    for objective, pieces, labels in labelled_pieces(row, options):
        yield {
            "kind": "steps",
            **prompt,
            "objective": objective,
            "steps": pieces,
            "labels": labels,
            "label_kind": "human",
        }
    if options.overall is not None:
        judged = {"objective": options.overall, "annotator": "fine_grained_rlhf"}
        for pair in preferences(row):
            if isinstance(pair, RowError):
                yield pair
            else:
                yield {"kind": "comparison", **prompt, **judged, **pair}
    if options.prompts:
        yield {"kind": "prompt", **prompt, "domain": DOMAIN, "reference": None}


def labelled_pieces(
    row: dict[str, Any], options: Options
) -> Iterator[tuple[str, list[str], list[Label]]]:
    """Yields (objective, pieces of the first prediction, their labels)."""
    answer, feedback = text(row, "prediction 1"), mapping(row, "feedback")
    spans = [error_span(error, len(answer)) for error in mappings(feedback, "errors")]
    sentences = segment.split(answer, DOMAIN)
    if options.relevance is not None:
        pieces = [clause for sentence in sentences for clause in clauses(sentence)]
        errors = errors_in(answer, pieces, spans)
        labels: list[Label] = [0.0 if RELEVANCE in objectives else 1.0 for objectives in errors]
        yield options.relevance, pieces, labels
    if options.factuality is not None:
        errors = errors_in(answer, sentences, spans)
        yield options.factuality, sentences, [factuality(objectives) for objectives in errors]
    if options.completeness is not None:
        grades = [
            one_of(missing, "error type", MISSING) for missing in mappings(feedback, "missing-info")
        ]
        yield options.completeness, [answer], [min(grades, default=1.0)]


def factuality(objectives: set[str]) -> Label:
    """The label of factuality of a sentence with errors against these objectives.

    Examples:
        >>> factuality(set()), factuality({"relevance"}), factuality({"relevance", "factuality"})
        (1.0, None, 0.0)
    """
    if FACTUALITY in objectives:
        return 0.0
    return None if objectives else 1.0


def error_span(error: dict[str, Any], length: int) -> Span:
    """Reads a marked error in an answer of `length` characters."""
    start, end = integer(error, "start"), integer(error, "end")
    if not 0 <= start < end <= length:
        raise RowError(
            "off_scale", "errors", f"the span {start} to {end} is not within {length} characters"
        )
    return Span(start, end, one_of(error, "error type", ERRORS))


def clauses(sentence: str) -> list[str]:
    """Splits a sentence into clauses. The space between two clauses belongs to the second one.

    Examples:
        >>> clauses("Pears, which grow on tall trees, are green or even very dark red.")
        ['Pears, which grow on tall trees,', ' are green or even very dark red.']
    """
    starts = [0]
    for end in (match.end() for match in CLAUSE_END.finditer(sentence)):
        before, after = sentence[starts[-1] : end].split(), sentence[end:].split()
        if min(len(before), len(after)) >= CLAUSE_WORDS:
            starts.append(end)
    return [sentence[start:end] for start, end in itertools.pairwise([*starts, len(sentence)])]


def errors_in(answer: str, pieces: Sequence[str], spans: Sequence[Span]) -> list[set[str]]:
    """The objectives of the errors that overlap each piece. An overlap of only spaces is none."""
    bounds = itertools.pairwise([0, *itertools.accumulate(len(piece) for piece in pieces)])
    return [
        {
            span.objective
            for span in spans
            if answer[max(start, span.start) : min(end, span.end)].strip()
        }
        for start, end in bounds
    ]


def preferences(row: dict[str, Any]) -> Iterator[dict[str, Any] | RowError]:
    """Yields the six pairs of predictions, with the preferred one."""
    answers = [text(row, f"prediction {number}") for number in range(1, 5)]
    pairs, codes = list(itertools.combinations(answers, 2)), items(row, "preference")
    if len(codes) != len(pairs):
        raise RowError(
            "wrong_type",
            "preference",
            f"contains {len(codes)} numbers for {len(pairs)} pairs of answers",
        )
    for (a, b), item in zip(pairs, codes, strict=True):
        code = integer({"preference": item}, "preference")
        if code in PREFERRED:
            yield {"a": a, "b": b, "preferred": PREFERRED[code]}
        else:
            yield RowError("off_scale", "preference", f"is {code}; allowed: 0, 1, 2")
