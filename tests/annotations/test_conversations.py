"""The chat template must accept every shape of conversation of a source."""

import json
from pathlib import Path
from typing import Any

import pytest

from concord.annotations import reader
from concord.annotations.conversations import Conversation, Template, of_each_shape

USER, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
SYSTEM = {"role": "system", "content": "Be brief."}
PLAIN = "{% for m in messages %}{{ bos_token }}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{{ m['content'] }}{% endfor %}"
)
ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}"
    "{{ m['content'] }}{% endfor %}"
)
SILENT = "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}{% endfor %}"


def template(folder: Path, source: str) -> Template:
    (folder / "chat.jinja").write_text(source, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"bos_token": {"content": "<s>"}}')
    return Template(folder / "chat.jinja", folder)


@pytest.mark.parametrize(
    ("source", "messages", "problem"),
    [
        (PLAIN, [SYSTEM, USER, ANSWER, USER], None),
        (NO_SYSTEM, [USER, ANSWER, USER], None),
        (NO_SYSTEM, [SYSTEM, USER], "refuses a prompt with the roles system, user: System role"),
        (ALTERNATING, [ANSWER, USER], "with the roles assistant, user: Roles must alternate"),
        (SILENT, [SYSTEM, USER], "leaves out the text of the system turn"),
        ("{% for m in messages %}{{ m }", [USER], "line 1 of it is wrong"),
        ("{{ messages[3]['content'] }}", [USER], "refuses a prompt with the roles user"),
        ("{{ messages[0]['content'] + 1 }}", [USER], "refuses a prompt with the roles user"),
        ("{{ nothing.at_all }}", [USER], "refuses a prompt with the roles user"),
        ("{{ 1 / 0 }}", [USER], "refuses a prompt with the roles user"),
    ],
)
def test_template_is_tried_on_a_prompt(
    tmp_path: Path, source: str, messages: list[dict[str, str]], problem: str | None
) -> None:
    lines = list(template(tmp_path, source).problems([Conversation("", 7, messages)]))
    assert len(lines) == (problem is not None)
    assert all(line.startswith("line 7: ") and str(problem) in line for line in lines)
    assert all("\n" not in line and "model.chat_template" in line for line in lines)


def test_special_tokens_of_the_model_are_used(tmp_path: Path) -> None:
    assert template(tmp_path, PLAIN).render([USER]) == "<s>user: Why?\n"


def test_one_conversation_of_each_shape_is_taken(tmp_path: Path) -> None:
    prompts: list[list[Any]] = [[USER], [SYSTEM, USER], [USER], [USER, ANSWER, USER], [ANSWER]]
    rows = [{"prompt": prompt, "chosen": "Yes.", "rejected": "No."} for prompt in prompts]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shapes = of_each_shape(reader.read("trl", path, {"objective": "helpful"}, {}))
    assert [shape.line for shape in shapes] == [1, 2, 4]  # the last row is quarantined
