"""How to load and prompt a checkpoint, in Markdown: the part of a model card that users copy."""

from __future__ import annotations

from pathlib import Path

from concord.lm.chat import Messages
from concord.lm.types import Tokenizer

FRONT_MATTER = """library_name: transformers
pipeline_tag: text-generation
tags: [concord, preference-optimization, multi-objective]
"""
"""What the Hugging Face Hub reads at the start of a card, without the licence."""
EXAMPLE: Messages = [{"role": "user", "content": "How can I sleep better?"}]
LONGEST = 2000
"""Characters of a rendered example that are shown."""


def usage(
    folder: Path, tokenizer: Tokenizer, example: Messages = EXAMPLE, temperature: float = 1.0
) -> str:
    """The section `Use` of a card: code that answers the example, and the format of its prompt.

    Args:
        folder: where the checkpoint is.
        tokenizer: its tokenizer, with the chat template.
        example: a prompt.
        temperature: the sampling temperature that the code sets.
    """
    rendered = tokenizer.apply_chat_template(
        list(example), add_generation_prompt=True, tokenize=False
    )
    turns = ",\n".join(f"    {dict(turn)!r}" for turn in example)
    return f"""## Use

A stock checkpoint: any engine that reads the format of Transformers serves it, without Concord.

```python
from transformers import pipeline

chat = pipeline("text-generation", model="{folder.as_posix()}")
messages = [
{turns},
]
answer = chat(messages, max_new_tokens=256, do_sample=True, temperature={temperature:g})
print(answer[0]["generated_text"][-1]["content"])
```

The chat template in the folder writes the prompt. The messages above become this text, after \
which the model writes the answer and `{tokenizer.decode([tokenizer.eos_token_id])}`:

````text
{rendered[:LONGEST]}
````

A prompt in another format is outside of what the model was trained on.
"""
