"""Prompts that are nearly the same, such as copies of one dialogue that differ in commas or in a greeting.

The similarity of two prompts is the Jaccard similarity of their sets of shingles, runs of 5 characters (Broder,
"On the resemblance and containment of documents", 1997), of the turns joined, without case, spacing and punctuation.
Prompts that do not hold the same numbers are two problems, however alike they are: "Tom has 4 apples" is no near
duplicate of "Tom has 5 apples", nor is a problem of its variant with another unknown.

Candidates come from MinHash signatures and locality-sensitive hashing, and are verified by the exact similarity. The
permutations are fixed and the hashes depend on the text alone, so whether two prompts are found depends on no other.
The work grows with the number of prompts, and with the square of the largest family of near duplicates.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import pandas as pd

from concord.prepared.dedupe import normalise, prompt_keys
from concord.prepared.union_find import Partition
from concord.stage import progress
from concord.stage.errors import DataError

SHINGLE = 5
"""Characters of a shingle."""
PERMUTATIONS = 128
RECALL = 0.99
"""Probability that two prompts at the threshold become candidates; more alike ones do with a higher one."""
MOST = 0.5
"""Share of a domain's prompts that may become one group."""
SAMPLES = 5
BEFORE, AFTER = 40, 120
"""Characters that a sample shows around the place where two prompts part."""
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d]+|[-+*/^=<>%]")
NUMBER = re.compile(r"\d+(?:\.\d+)?")


class Link(NamedTuple):
    """Two near duplicates, by their places in the table of prompts."""

    similarity: float
    one: int
    other: int


def prompts(tables: Mapping[str, pd.DataFrame], domains: Mapping[str, str]) -> pd.DataFrame:
    """The distinct prompts in each domain: prompt (its key), domain, group_id, text; `domains` has the objectives'."""
    asked = pd.concat(
        frame[["group_id", "messages"]].assign(
            prompt=prompt_keys(frame),
            domain=frame["domain"]
            if "domain" in frame.columns
            else frame["objective"].map(domains),
        )
        for frame in tables.values()
    )
    asked = asked.drop_duplicates(["prompt", "domain"]).sort_values(
        ["prompt", "domain"], ignore_index=True
    )
    return asked.assign(text=asked.pop("messages").map(plain))


def plain(messages: Sequence[Mapping[str, str]]) -> str:
    """The words, numbers and signs of arithmetic of a prompt, joined by spaces; 1,000 is 1000."""
    told = " ".join(normalise(turn["content"]) for turn in messages if turn["role"] != "system")
    return " ".join(WORD.findall(THOUSANDS.sub("", told)))


def shingles(text: str) -> frozenset[str]:
    """The runs of 5 characters of a text; a shorter text is one itself."""
    return frozenset(
        text[start : start + SHINGLE] for start in range(max(1, len(text) - SHINGLE + 1))
    )


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Size of the intersection over that of the union."""
    common = len(one & other)
    return common / (len(one) + len(other) - common)


def banding(similarity: float) -> tuple[int, int]:
    """Bands and rows of the index: as many rows as leave a pair at `similarity` the probability `RECALL`.

    A band of r rows is equal with probability s^r, so b bands miss a pair with (1 - s^r)^b.
    """
    return next(
        (PERMUTATIONS // rows, rows)
        for rows in range(PERMUTATIONS // 2, 0, -1)
        if (1 - similarity**rows) ** (PERMUTATIONS // rows) <= 1 - RECALL
    )


def links(groups: Sequence[str], texts: Sequence[str], similarity: float) -> list[Link]:
    """Near duplicates in different groups: enough pairs to reach every member of a family from every other.

    Every prompt with a near duplicate in another group stands in one pair at least. A prompt without a word has none.
    """
    from datasketch import MinHash, MinHashLSH

    numbers = [frozenset(NUMBER.findall(text)) for text in texts]
    count = Counter(numbers)
    shared = [place for place, held in enumerate(numbers) if count[held] > 1 and texts[place]]
    indexes = {
        numbers[place]: MinHashLSH(num_perm=PERMUTATIONS, params=banding(similarity))
        for place in shared
    }
    cut = ([shingle.encode() for shingle in shingles(texts[place])] for place in shared)
    signatures = MinHash.generator(cut, num_perm=PERMUTATIONS, seed=1, hashfunc=crc32)
    families: Partition[int] = Partition()
    found = []
    for place, signature in zip(
        progress.track(shared, len(shared), "near duplicates"), signatures, strict=True
    ):
        index, own = indexes[numbers[place]], shingles(texts[place])
        for other in sorted(index.query(signature)):
            if groups[other] == groups[place] or families.root(other) == families.root(place):
                continue
            if (alike := jaccard(own, shingles(texts[other]))) >= similarity:
                families.join(families.root(other), [families.root(place)])
                found.append(Link(alike, other, place))
        index.insert(place, signature, check_duplication=False)
    return found


def demand_variety(asked: pd.DataFrame, groups: Mapping[str, str], similarity: float) -> None:
    """Raises DataError where near duplicates make one group of more than half of a domain's prompts."""
    for domain, rows in asked.groupby("domain"):
        sizes = rows.groupby(rows["group_id"].map(groups))["group_id"].agg(["size", "nunique"])
        largest = sizes.loc[sizes["nunique"] > 1, "size"].max()
        if largest > MOST * len(rows):
            raise DataError(
                f"prepare.near_duplicates {similarity:g} makes one group of {largest} of the {len(rows)} prompts of "
                f"domain {domain}, and a group lies in one split as a whole; raise the similarity (1: all but "
                "punctuation is equal), or set null to leave near duplicates where they fall"
            )


def near_train(found: Iterable[Link], splits: Sequence[str]) -> dict[str, int]:
    """Held-out split -> its prompts in a family of near duplicates that has one in train too; `splits` are by place."""
    families: Partition[int] = Partition()
    for link in found:
        families.join(families.root(link.one), [families.root(link.other)])
    roots = families.roots()
    trained = {root for place, root in roots.items() if splits[place] == "train"}
    near = Counter(splits[place] for place, root in roots.items() if root in trained)
    return {split: near[split] for split in ("validation", "test")}


def report(
    texts: Sequence[str], found: Sequence[Link], similarity: float, groups: Mapping[str, str]
) -> dict[str, Any]:
    """How many prompts are near duplicates of one in another group, how many groups went up in others, and samples.

    `groups` is what each group belongs to now. The samples are the least similar pairs, from shortly before the place
    where they part.
    """
    return {
        "similarity": similarity,
        "prompts": len(texts),
        "near_duplicates": len({place for link in found for place in (link.one, link.other)}),
        "groups": len(groups),
        "groups_merged": len(groups) - len(set(groups.values())),
        "samples": [
            _sample(link, texts[link.one], texts[link.other]) for link in sorted(found)[:SAMPLES]
        ],
    }


def _sample(link: Link, one: str, other: str) -> dict[str, Any]:
    parted = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    start = max(0, next(parted, min(len(one), len(other))) - BEFORE)
    end = start + BEFORE + AFTER
    return {"similarity": link.similarity, "one": one[start:end], "other": other[start:end]}
