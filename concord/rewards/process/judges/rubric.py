"""The question that a judge is asked: rubric, conversation, answer."""

from __future__ import annotations

from concord.lm.chat import Messages

QUESTION = """You judge one answer in a conversation by this rubric:

{rubric}

The conversation:

{conversation}

The answer to judge, which may stop before its end; judge what is there:

{answer}
"""


def question(rubric: str, messages: Messages, answer: str, dropped: int = 0) -> str:
    """What a judge is asked, up to how to reply, without the first `dropped` characters of conversation and answer."""
    conversation = conversation_text(messages)
    answer, conversation = (
        _without_start(answer, dropped - len(conversation)),
        _without_start(conversation, dropped),
    )
    return QUESTION.format(rubric=rubric.strip(), conversation=conversation, answer=answer)


def conversation_text(messages: Messages) -> str:
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in messages)


def _without_start(text: str, dropped: int) -> str:
    """A text without its beginning, which is marked."""
    return f"[...]{text[dropped:]}" if dropped > 0 else text
