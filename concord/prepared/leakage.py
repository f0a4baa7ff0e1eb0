"""Overlap between splits: none for prompts; reported for responses and phrases."""

from collections.abc import Iterable, Mapping

import pandas as pd

from concord.prepared.prompt_keys import normalise, prompt_key

WORDS = 8
"""Length of the phrases that are compared between splits, in words."""

Contents = dict[str, set[str]]
"""Kind of content -> the distinct values in one split."""


def overlap(contents: Mapping[str, Contents]) -> dict[str, dict[str, float]]:
    """For each held-out split, the share of its content that also occurs in the training split.

    `contents` maps a split to the result of `contents_of`. Raises AssertionError if a group or a
    prompt is in both: the splitting rules this out.
    """
    train = contents["train"]
    shares = {
        split: {kind: _share(values, train[kind]) for kind, values in held_out.items()}
        for split, held_out in contents.items()
        if split != "train"
    }
    for split, share in shares.items():
        assert share["groups"] == share["prompts"] == 0, (
            f"{split} and train have prompts in common: {share}"
        )
    return shares


def contents_of(frames: Iterable[pd.DataFrame]) -> Contents:
    """The groups, prompts, responses and phrases of the prompts in the tables of one split."""
    contents: Contents = {
        "groups": set(),
        "prompts": set(),
        "responses": set(),
        f"phrases_of_{WORDS}_words": set(),
    }
    seen: set[int] = set()
    for frame in frames:
        contents["groups"].update(frame["group_id"])
        for column in {"response", "chosen", "rejected"} & set(frame.columns):
            contents["responses"].update(frame[column].map(normalise))
        for messages in frame["messages"]:
            if id(messages) not in seen:  # Pairs of one prompt share their messages.
                seen.add(id(messages))
                contents["prompts"].add(prompt_key(messages))
                contents[f"phrases_of_{WORDS}_words"].update(_phrases(messages[-1]["content"]))
    return contents


def _phrases(text: str) -> list[str]:
    words = normalise(text).split()
    return [" ".join(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)]


def _share(held_out: set[str], train: set[str]) -> float:
    return len(held_out & train) / len(held_out) if held_out else 0.0
