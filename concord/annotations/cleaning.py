"""What is removed from an annotation before it is read: empty system turns and end tokens."""

import re
from typing import Any

ANSWERS = ("a", "b", "response")
END = re.compile(
    r"(\s*(<\|im_end\|>|<\|eot_id\|>|<\|end_of_text\|>|<\|endoftext\|>|<\|end\|>"
    r"|<end_of_turn>|<eos>|</s>))+\s*$"
)
"""End tokens of chat templates at the end of an answer. They are not part of the answer."""
END_TOKEN, EMPTY_SYSTEM = "end token of a template", "empty system turn"


def clean(annotation: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The annotation without empty system turns and end tokens, and what was removed.

    Examples:
        >>> clean({"response": "Good.<|im_end|>"})
        ({'response': 'Good.'}, ('end token of a template',))
    """
    changed: dict[str, Any] = {}
    removed: list[str] = []
    for key in ANSWERS:
        answer = annotation.get(key)
        if isinstance(answer, str) and (shorter := without_end(answer)) != answer:
            changed[key] = shorter
    responses = annotation.get("responses")
    if isinstance(responses, list) and all(isinstance(answer, str) for answer in responses):
        shorter_ones = [without_end(answer) for answer in responses]
        if shorter_ones != responses:
            changed["responses"] = shorter_ones
    if changed:
        removed.append(END_TOKEN)
    messages = annotation.get("messages")
    if isinstance(messages, list) and any(map(is_empty_system, messages)):
        changed["messages"] = [turn for turn in messages if not is_empty_system(turn)]
        removed.append(EMPTY_SYSTEM)
    return (annotation | changed if changed else annotation), tuple(removed)


def without_end(answer: str) -> str:
    """The answer without end tokens at its end; an HTML element `<s>...</s>` stays.

    Examples:
        >>> without_end("Good.</s>"), without_end("<s>Old.</s>")
        ('Good.', '<s>Old.</s>')
    """
    if ">" not in answer[-20:] or "<s>" in answer:
        return answer
    return END.sub("", answer)


def is_empty_system(turn: Any) -> bool:
    """Whether a turn is a system turn without content."""
    if not isinstance(turn, dict) or turn.get("role") not in ("system", "developer"):
        return False
    content = turn.get("content")
    return content is None or (isinstance(content, str) and not content.strip())
