"""What the splits have in common: prompts must not, answers and phrases may, and the report says how many do."""

from collections.abc import Iterable, Mapping

import pandas as pd

from concord.prepared.dedupe import normalise, prompt_key

WORDS = 8
"""Length of the phrases that are looked for in other splits."""

Contents = dict[str, set[str]]


def overlap(splits: Mapping[str, Iterable[pd.DataFrame]]) -> dict[str, dict[str, float]]:
    """Per held-out split, the share of its groups, prompts, answers and prompts' phrases that occur in training.

    Raises AssertionError where a group or a prompt does: the splits were made so that none can.
    """
    contents = {split: _contents(frames) for split, frames in splits.items()}
    train = contents.pop("train")
    shares = {
        split: {kind: _share(own[kind], train[kind]) for kind in own}
        for split, own in contents.items()
    }
    for split, share in shares.items():
        assert share["groups"] == share["prompts"] == 0, (
            f"{split} and train have prompts in common: {share}"
        )
    return shares


def _contents(frames: Iterable[pd.DataFrame]) -> Contents:
    found: Contents = {
        "groups": set(),
        "prompts": set(),
        "responses": set(),
        f"phrases_of_{WORDS}_words": set(),
    }
    seen: set[int] = set()
    for frame in frames:
        found["groups"].update(frame["group_id"])
        for column in {"response", "chosen", "rejected"} & set(frame.columns):
            found["responses"].update(frame[column].map(normalise))
        for messages in frame["messages"]:
            if id(messages) not in seen:  # pairs of one prompt share their messages
                seen.add(id(messages))
                found["prompts"].add(prompt_key(messages))
                found[f"phrases_of_{WORDS}_words"].update(_phrases(messages[-1]["content"]))
    return found


def _phrases(text: str) -> list[str]:
    words = normalise(text).split()
    return [" ".join(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)]


def _share(own: set[str], train: set[str]) -> float:
    return len(own & train) / len(own) if own else 0.0
