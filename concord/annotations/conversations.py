"""Whether the chat template accepts every shape of conversation that a source has.

A shape is the sequence of roles. One prompt of each shape is rendered, as the stages will do.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from concord.annotations import interchange
from concord.annotations.record import Record, RowError

ROWS = 1000
"""Annotations by which the shapes of a source are known."""
MOST_SHAPES = 30
SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


class Conversation(NamedTuple):
    """The first prompt of its shape."""

    file: str
    line: int
    messages: list[dict[str, str]]

    def where(self) -> str:
        """File and line."""
        return f"{self.file} line {self.line}".strip()


def of_each_shape(records: Iterable[Record]) -> list[Conversation]:
    """The first prompt of each shape among the first annotations. Raises DataError."""
    first: dict[tuple[str, ...], Conversation] = {}
    for record in islice(records, ROWS):
        if record.row is None or len(first) >= MOST_SHAPES:
            continue
        try:
            messages = interchange.rows(record.row)[0]["messages"]
        except RowError:
            continue
        roles = tuple(turn["role"] for turn in messages)
        first.setdefault(roles, Conversation(record.file, record.line, messages))
    return list(first.values())


class Template:
    """A chat template with the special tokens of a model, rendered as `transformers` does."""

    def __init__(self, path: Path, model: Path) -> None:
        self.source = path.read_text(encoding="utf-8")
        self.tokens = special_tokens(model)

    def problems(self, conversations: Iterable[Conversation]) -> Iterator[str]:
        """One line for each conversation that the template refuses or does not show in full."""
        for conversation in conversations:
            roles = ", ".join(turn["role"] for turn in conversation.messages)
            try:
                text = self.render(conversation.messages)
            except ValueError as error:
                yield (
                    f"{conversation.where()}: the chat template refuses a prompt with the roles "
                    f"{roles}: {error}; name another template in model.chat_template, or change "
                    "the rows"
                )
                continue
            for turn in conversation.messages:
                if turn["role"] != "assistant" and turn["content"].strip() not in text:
                    yield (
                        f"{conversation.where()}: the chat template leaves out the text of the "
                        f"{turn['role']} turn in a prompt with the roles {roles}; name another "
                        "template in model.chat_template, or change the rows"
                    )
                    break

    def render(self, messages: list[dict[str, str]]) -> str:
        """The prompt with the header of the answer. Raises ValueError for any error."""
        from jinja2 import TemplateError, TemplateSyntaxError
        from transformers.utils.chat_template_utils import render_jinja_template

        options: dict[str, Any] = {"chat_template": self.source, "add_generation_prompt": True}
        options |= self.tokens
        try:
            rendered: Any = render_jinja_template([messages], **options)
        except TemplateSyntaxError as error:
            raise ValueError(f"line {error.lineno} of it is wrong: {error.message}") from None
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
            raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
        return str(rendered[0][0])


def special_tokens(model: Path) -> dict[str, str]:
    """The special tokens that the folder of a model names, such as `bos_token`."""
    file = model / "tokenizer_config.json"
    try:
        settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    tokens = {}
    for name in SPECIAL_TOKENS:
        token = settings.get(name)
        tokens[name] = str(token.get("content", "") if isinstance(token, dict) else token or "")
    return tokens
