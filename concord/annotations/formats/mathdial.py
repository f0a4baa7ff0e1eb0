"""MathDial: teachers tutor a simulated student who made a mistake; each turn has a teaching move.

Reads the files of https://github.com/eth-nlped/mathdial (arXiv 2305.14536); other keys are ignored:

    {"qid": 6000025, "question": "...", "student_incorrect_solution": "...",
     "student_profile": "Mariana is ...",
     "conversation": "Teacher: (generic)Hi ...|EOM|Student: Sure. ...|EOM|Teacher: (telling)No."}

The dialogue begins with the problem and the student's solution, in the words of MRBench. The
student is the user and may also be called by the name in the profile. Consecutive turns of one
speaker are joined.

Makes, for each state of the dialogue that ends with the student:

- A prompt of the domain `tutoring`: the dialogue up to there.
- A demonstration by the author `teacher`, the teacher's next turn, if all its moves are in
  `demonstrations`.
- A binary label of the same turn for each of `objectives`: 1 if all its moves are in the
  objective's list, else 0.

A dialogue with an unknown speaker or move is rejected. The problem is the group.

Options:
- `prompts`: which states become prompts: all, first or none. Default: all.
- `demonstrations`: the moves to imitate. Default: generic, focus, probing and telling.
- `objectives`: objective -> moves that are labelled 1. Default: not_telling, with all moves except
  telling.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import TUTORING, clean_text, tutor_prompt
from concord.annotations.fields import integer, shorten, text
from concord.annotations.record import RowError
from concord.annotations.shapes import Shape
from concord.stage.params import FORBID

Move = Literal["generic", "focus", "probing", "telling"]
MOVES: tuple[Move, ...] = ("generic", "focus", "probing", "telling")
END_OF_TURN = "|EOM|"
TURN = re.compile(r"\s*(?P<speaker>[^:]+?)\s*:(?P<words>.*)", re.DOTALL)
MOVED = re.compile(r"\s*\((?P<move>\w+)\)(?P<words>.*)", re.DOTALL)
PROBLEM = (
    "Hi, could you please provide a step-by-step solution for the question below? "
    "The question is: {}"
)
"""The tutor's first turn of these dialogues in MRBench."""
SHAPES = (Shape(("question", "student_incorrect_solution", "conversation")),)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    prompts: Literal["all", "first", "none"] = "all"
    """Which states of a dialogue become prompts."""
    demonstrations: list[Move] = field(default_factory=lambda: list(MOVES))
    """The moves to imitate."""
    objectives: dict[str, Annotated[list[Move], Field(min_length=1)]] = field(
        default_factory=lambda: {"not_telling": ["generic", "focus", "probing"]}
    )
    """Objective -> the moves that are labelled 1. All others are labelled 0."""


@plain_dataclass(frozen=True)
class DialogueTurn:
    """One turn of a dialogue. Only the teacher's turns have moves."""

    role: str
    words: str
    moves: frozenset[str] = frozenset()


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the annotations of every state of the dialogue that ends with the student."""
    group, turns = integer(row, "qid"), dialogue(row)
    states = [index for index, turn in enumerate(turns) if turn.role == "user"]
    for index in states:
        messages = tutor_prompt((turn.role, turn.words) for turn in turns[: index + 1])
        prompt = {"group_id": group, "messages": messages}
        if options.prompts == "all" or (options.prompts == "first" and index == states[0]):
            yield {"kind": "prompt", **prompt, "domain": TUTORING, "reference": None}
        if index + 1 < len(turns):
            yield from answer_annotations(prompt, turns[index + 1], options)


def answer_annotations(
    prompt: dict[str, Any], answer: DialogueTurn, options: Options
) -> Iterator[dict[str, Any]]:
    """Yields the demonstration and the labels of one turn of the teacher."""
    shared = {**prompt, "response": clean_text(answer.words), "author": "teacher"}
    if answer.moves.issubset(options.demonstrations):
        yield {"kind": "demonstration", **shared, "domain": TUTORING}
    for objective, moves in options.objectives.items():
        yield {
            "kind": "binary",
            **shared,
            "objective": objective,
            "label": int(answer.moves.issubset(moves)),
            "annotator": "mathdial",
        }


def dialogue(row: dict[str, Any]) -> list[DialogueTurn]:
    """The problem, the student's solution and the conversation, as alternating turns."""
    profile = text(row, "student_profile").split()
    roles = {"Teacher": "assistant", **dict.fromkeys(["Student", *profile[:1]], "user")}
    opening = [
        DialogueTurn("assistant", PROBLEM.format(text(row, "question"))),
        DialogueTurn("user", text(row, "student_incorrect_solution")),
    ]
    parts = text(row, "conversation").split(END_OF_TURN)
    turns = [*opening, *(parse_turn(part, roles) for part in parts)]
    return [
        join_turns(list(group)) for _, group in itertools.groupby(turns, key=lambda turn: turn.role)
    ]


def parse_turn(part: str, roles: dict[str, str]) -> DialogueTurn:
    """Parses one turn of a conversation. `roles` maps speakers to roles.

    Examples:
        >>> parse_turn("Student: It is 6.", {"Student": "user"})
        DialogueTurn(role='user', words=' It is 6.', moves=frozenset())
        >>> parse_turn("Teacher: (focus)Why?", {"Teacher": "assistant"})
        DialogueTurn(role='assistant', words='Why?', moves=frozenset({'focus'}))
    """
    match = TURN.fullmatch(part)
    if match is None or match["speaker"] not in roles:
        allowed = ", ".join(f"{name}:" for name in roles)
        raise RowError(
            "unknown_role",
            "conversation",
            f"a turn is {shorten(part)}; it must begin with one of {allowed}",
        )
    role = roles[match["speaker"]]
    if role == "user":
        return DialogueTurn(role, match["words"])
    moved = MOVED.fullmatch(match["words"])
    if moved is None or moved["move"] not in MOVES:
        raise RowError(
            "off_scale",
            "conversation",
            f"a turn is {shorten(part)}; its move must be one of {', '.join(MOVES)}",
        )
    return DialogueTurn(role, moved["words"], frozenset([moved["move"]]))


def join_turns(turns: list[DialogueTurn]) -> DialogueTurn:
    """Joins consecutive turns of one speaker. The result has all of their moves."""
    words = "\n".join(turn.words for turn in turns)
    moves = frozenset[str]().union(*(turn.moves for turn in turns))
    return DialogueTurn(turns[0].role, words, moves)
