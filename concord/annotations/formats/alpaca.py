"""Alpaca: instructions with an optional input, and an answer or a pair of answers.

Reads the files of https://github.com/tatsu-lab/stanford_alpaca (CC-BY-NC-4.0) and the Alpaca form
of LLaMA-Factory, https://llamafactory.readthedocs.io:

    {"instruction": "...", "input": "...", "output": "...", "system": "...",
     "history": [[..., ...]]}
    {"instruction": "...", "input": "...", "chosen": "...", "rejected": "..."}

Makes a demonstration from a row with `output`, and a comparison from a row with `chosen` and
`rejected`. The prompt is the instruction, followed by a blank line and the input if there is one.
`system` and `history` become turns before it. The first user turn is the group.

Options:
- `domain`: the domain of the demonstrations. Default: null; rows with `output` are rejected.
- `objective`: the objective of the comparisons. Default: null; rows with pairs are rejected.
- `annotator`: who judged the pairs. Default: alpaca.
- `ignore`: columns with context that is dropped, such as tools. Default: none.
"""

from collections.abc import Iterator
from dataclasses import field
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.context import with_context
from concord.annotations.dialogues import answer_turns, spoken
from concord.annotations.fields import text
from concord.annotations.judgements import comparison, demonstration
from concord.annotations.record import RowError
from concord.annotations.shapes import DOMAIN, OBJECTIVE, Shape
from concord.stage.params import FORBID

SHAPES = (
    Shape(("instruction", "output"), {"domain": DOMAIN}),
    Shape(("instruction", "chosen", "rejected"), {"objective": OBJECTIVE}),
)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    domain: str | None = None
    """The domain of the demonstrations; null rejects rows with `output`."""
    objective: str | None = None
    """The objective of the comparisons; null rejects rows with `chosen` and `rejected`."""
    annotator: str = "alpaca"
    """Who judged the pairs."""
    ignore: list[str] = field(default_factory=list)
    """Columns with context that is dropped."""

    def __post_init__(self) -> None:
        if self.domain is None and self.objective is None:
            raise ValueError(
                "the options name neither a domain nor an objective; give `domain` for rows with "
                "`output`, or `objective` for rows with `chosen` and `rejected`"
            )


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the demonstration or the comparison of a row."""
    prompt = with_context(row, spoken(row, "instruction"), options.ignore)
    if row.get("chosen") is None and row.get("rejected") is None:
        if options.domain is None:
            raise RowError("missing_key", "chosen", "there is no `chosen`, and no option `domain`")
        answer = {"role": "assistant", "content": text(row, "output")}
        yield demonstration([*prompt, answer], options.domain, "output")
        return
    if options.objective is None:
        raise RowError("missing_key", "output", "there is no `output`, and no option `objective`")
    answers = (last_answer(row, "chosen"), last_answer(row, "rejected"))
    yield comparison(prompt, answers, "a", options.objective, options.annotator)


def last_answer(row: dict[str, Any], key: str) -> str:
    """The answer under `key`: a text, or the last of its turns."""
    turns = answer_turns(row, key)
    if not turns or turns[-1]["role"] != "assistant":
        raise RowError("roles_do_not_alternate", key, "does not end with an assistant turn")
    return turns[-1]["content"]
