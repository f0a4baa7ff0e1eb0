"""MathDial: teachers help a student, played by a model, who solved a problem wrongly; each turn of theirs has a move.

    {"qid": 6000025, "question": "...", "student_incorrect_solution": "...", "student_profile": "Mariana is ...",
     "conversation": "Teacher: (generic)Hi ...|EOM|Student: Sure. ...|EOM|Teacher: (telling)No, ..."}

(https://github.com/eth-nlped/mathdial; other keys are ignored.) The dialogue begins with the problem and the student's
solution, as MRBench tells it; the student, also called by the name in the profile, is the user, and consecutive turns
of one speaker are joined (`concord.annotations.dialogues`). Then, wherever the student has spoken:

- the dialogue so far is a prompt of domain `tutoring`;
- what the teacher says next is a demonstration by the author `teacher`, if its moves are among those to imitate;
- it is a binary label of each objective: 1 if its moves are all among the objective's, else 0.

A dialogue with an unknown speaker or move is rejected whole. The problem is the group.

Options: `prompts` (all states of a dialogue, the first one, or none), `demonstrations` (moves to imitate; all four),
`objectives` (objective -> moves of which it is true; not_telling, true of all but telling).
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import TUTORING, clean, tutored
from concord.annotations.fields import short, text, whole
from concord.annotations.record import RowError
from concord.stage.params import FORBID

Move = Literal["generic", "focus", "probing", "telling"]
MOVES: tuple[Move, ...] = ("generic", "focus", "probing", "telling")
END_OF_TURN = "|EOM|"
TURN = re.compile(r"\s*(?P<speaker>[^:]+?)\s*:(?P<words>.*)", re.DOTALL)
MOVED = re.compile(r"\s*\((?P<move>\w+)\)(?P<words>.*)", re.DOTALL)
PROBLEM = "Hi, could you please provide a step-by-step solution for the question below? The question is: {}"
"""How MRBench lets the tutor begin these dialogues."""


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    prompts: Literal["all", "first", "none"] = "all"
    """Which states of a dialogue are prompts."""
    demonstrations: list[Move] = field(default_factory=lambda: list(MOVES))
    """Moves to imitate."""
    objectives: dict[str, Annotated[list[Move], Field(min_length=1)]] = field(
        default_factory=lambda: {"not_telling": ["generic", "focus", "probing"]}
    )
    """Objective -> the moves that are labelled 1, the others being labelled 0."""


@plain_dataclass(frozen=True)
class Said:
    """One turn of a dialogue."""

    role: str
    words: str
    moves: frozenset[str] = frozenset()


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Every state of the dialogue that ends with the student, and how the teacher answers."""
    group, spoken = whole(row, "qid"), dialogue(row)
    states = [place for place, turn in enumerate(spoken) if turn.role == "user"]
    for place in states:
        so_far = tutored((turn.role, turn.words) for turn in spoken[: place + 1])
        shared = {"group_id": group, "messages": so_far}
        if options.prompts == "all" or (options.prompts == "first" and place == states[0]):
            yield {"kind": "prompt", **shared, "domain": TUTORING, "reference": None}
        for answer in spoken[place + 1 : place + 2]:
            yield from answered(
                {**shared, "response": clean(answer.words), "author": "teacher"}, answer, options
            )


def answered(told: dict[str, Any], answer: Said, options: Options) -> Iterator[dict[str, Any]]:
    """What one answer of the teacher's becomes."""
    if answer.moves.issubset(options.demonstrations):
        yield {"kind": "demonstration", **told, "domain": TUTORING}
    for objective, moves in options.objectives.items():
        judged = {
            "objective": objective,
            "label": int(answer.moves.issubset(moves)),
            "annotator": "mathdial",
        }
        yield {"kind": "binary", **told, **judged}


def dialogue(row: dict[str, Any]) -> list[Said]:
    """The problem, the student's solution and what was said about it, speakers taking turns."""
    profile = text(row, "student_profile").split()
    roles = {"Teacher": "assistant", **dict.fromkeys(["Student", *profile[:1]], "user")}
    given = [
        Said("assistant", PROBLEM.format(text(row, "question"))),
        Said("user", text(row, "student_incorrect_solution")),
    ]
    spoken = [turn(part, roles) for part in text(row, "conversation").split(END_OF_TURN)]
    return [
        joined(list(turns))
        for _, turns in itertools.groupby([*given, *spoken], key=lambda said: said.role)
    ]


def turn(part: str, roles: dict[str, str]) -> Said:
    """'Teacher: (focus)Why?' as a turn."""
    found = TURN.fullmatch(part)
    if found is None or found["speaker"] not in roles:
        allowed = ", ".join(f"{name}:" for name in roles)
        raise RowError(
            "unknown_role", "conversation", f"a turn is {short(part)}; it may begin with {allowed}"
        )
    role = roles[found["speaker"]]
    if role == "user":
        return Said(role, found["words"])
    moved = MOVED.fullmatch(found["words"])
    if moved is None or moved["move"] not in MOVES:
        raise RowError(
            "off_scale",
            "conversation",
            f"a turn is {short(part)}; its move may be {', '.join(MOVES)}",
        )
    return Said(role, moved["words"], frozenset([moved["move"]]))


def joined(turns: list[Said]) -> Said:
    """Consecutive turns of one speaker as one, with all of their moves."""
    words = "\n".join(turn.words for turn in turns)
    return Said(turns[0].role, words, frozenset[str]().union(*(turn.moves for turn in turns)))
