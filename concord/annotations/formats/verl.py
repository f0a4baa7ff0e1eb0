"""verl: prompts for reinforcement learning with an answer that a verifier can check.

Reads the Parquet files of https://verl.readthedocs.io (prepare data):

    {"data_source": "openai/gsm8k", "prompt": [{"role": "user", "content": "..."}],
     "ability": "math", "reward_model": {"style": "rule", "ground_truth": "72"}}

Makes a prompt from each row, with `reward_model.ground_truth` as its reference. A row without an
answer becomes a prompt without reference only if `references` is false. The first user turn is the
group.

Options:
- `domain`: the domain of the prompts. Default: null, the row's `ability`.
- `references`: whether a row must have an answer. Default: true.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.columns import MISSING, at
from concord.annotations.dialogues import group_id, spoken
from concord.annotations.fields import mapping, required, text, wrong_type
from concord.annotations.shapes import Row, Shape
from concord.stage.params import FORBID


def likely_options(rows: Sequence[Row]) -> dict[str, Any]:
    """Prompts without references, if no row has an answer."""
    answers = (at(dict(row), "reward_model.ground_truth") for row in rows)
    has_answer = any(answer is not MISSING and answer is not None for answer in answers)
    return {} if has_answer else {"references": False}


SHAPES = (
    Shape(("prompt", "ability", "reward_model"), likely_options),
    Shape(("prompt", "data_source", "reward_model"), likely_options),
)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    domain: str | None = None
    """The domain of the prompts; null for the row's `ability`."""
    references: bool = True
    """Whether a row must have an answer."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the prompt of a row."""
    messages = spoken(row, "prompt")
    yield {
        "kind": "prompt",
        "group_id": group_id(messages),
        "messages": messages,
        "domain": text(row, "ability") if options.domain is None else options.domain,
        "reference": reference(row, options.references),
    }


def reference(row: dict[str, Any], is_required: bool) -> str | None:
    """The answer as text. Raises RowError if it is required and missing, or not one value."""
    column = "reward_model.ground_truth"
    if not is_required and (row.get("reward_model") or {}).get("ground_truth") is None:
        return None
    value = required(mapping(row, "reward_model"), "ground_truth", column)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong_type(column, "text or a number", value)
    return str(value)
