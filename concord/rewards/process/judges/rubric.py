"""The question for a judge: rubric, conversation and answer."""

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
    """The question without the instruction on how to reply.

    The first `dropped` characters are left out and marked by `[...]`: first those of the
    conversation, then those of the answer.
    """
    conversation = conversation_text(messages)
    answer, conversation = (
        _without_start(answer, dropped - len(conversation)),
        _without_start(conversation, dropped),
    )
    return QUESTION.format(rubric=rubric.strip(), conversation=conversation, answer=answer)


def conversation_text(messages: Messages) -> str:
    """The conversation as text: the role and the content of each turn, separated by blank lines.

    Examples:
        >>> conversation_text([{"role": "user", "content": "2 + 2?"}])
        'user: 2 + 2?'
    """
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in messages)


def _without_start(text: str, dropped: int) -> str:
    """The text without its first `dropped` characters; `[...]` marks the gap."""
    return f"[...]{text[dropped:]}" if dropped > 0 else text
