"""Near-duplicate prompts, such as copies of a dialogue that differ in commas or in a greeting.

The similarity of two prompts is the Jaccard similarity of their sets of shingles: runs of 5
characters of the joined turns, without case, spacing and punctuation (Broder, "On the resemblance
and containment of documents", 1997). Prompts with different numbers are never near duplicates:
"Tom has 4 apples" and "Tom has 5 apples" are different problems, and so are variants of a problem
that ask for different unknowns.

Candidates come from MinHash signatures with locality-sensitive hashing and are verified with the
exact similarity. The permutations are fixed and the hashes depend only on the text, so whether two
prompts are found to be similar does not depend on other prompts. The running time is linear in the
number of prompts and quadratic in the size of the largest family of near duplicates.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import pandas as pd

from concord.prepared.prompt_keys import normalise, prompt_keys
from concord.prepared.union_find import Partition
from concord.stage import progress
from concord.stage.errors import DataError

SHINGLE = 5
"""Characters per shingle."""
PERMUTATIONS = 128
"""Length of a MinHash signature."""
RECALL = 0.99
"""Probability that two prompts exactly at the threshold become candidates; it grows with the
similarity."""
MAX_GROUP_SHARE = 0.5
"""Largest share of a domain's prompts that may be merged into one group."""
SAMPLES = 5
"""Number of pairs shown in the report."""
BEFORE, AFTER = 40, 120
"""Characters shown before and after the first difference of two prompts."""
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d]+|[-+*/^=<>%]")
NUMBER = re.compile(r"\d+(?:\.\d+)?")


class Link(NamedTuple):
    """Two near duplicates, given by their indices in the table of prompts."""

    similarity: float
    one: int
    other: int


def prompts(tables: Mapping[str, pd.DataFrame], domains: Mapping[str, str]) -> pd.DataFrame:
    """The distinct prompts of each domain.

    Args:
        tables: the prepared tables; those without a column `domain` have a column `objective`.
        domains: objective -> its domain.

    Returns a table with the columns prompt (its key), domain, group_id and text.
    """
    distinct = pd.concat(
        frame[["group_id", "messages"]].assign(
            prompt=prompt_keys(frame),
            domain=frame["domain"]
            if "domain" in frame.columns
            else frame["objective"].map(domains),
        )
        for frame in tables.values()
    )
    distinct = distinct.drop_duplicates(["prompt", "domain"]).sort_values(
        ["prompt", "domain"], ignore_index=True
    )
    return distinct.assign(text=distinct.pop("messages").map(comparison_text))


def comparison_text(messages: Sequence[Mapping[str, str]]) -> str:
    """The words, numbers and arithmetic signs of a prompt, joined by spaces.

    Examples:
        >>> comparison_text([{"role": "user", "content": "Well, 1,000 Apples + 2?"}])
        'well 1000 apples + 2'
    """
    text = " ".join(normalise(turn["content"]) for turn in messages if turn["role"] != "system")
    return " ".join(WORD.findall(THOUSANDS.sub("", text)))


def shingles(text: str) -> frozenset[str]:
    """All runs of 5 characters of a text; a shorter text is its only shingle.

    Examples:
        >>> sorted(shingles("abcdef"))
        ['abcde', 'bcdef']
    """
    return frozenset(
        text[start : start + SHINGLE] for start in range(max(1, len(text) - SHINGLE + 1))
    )


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Size of the intersection divided by size of the union; neither set may be empty.

    Examples:
        >>> jaccard(frozenset("abc"), frozenset("bcd"))
        0.5
    """
    common = len(one & other)
    return common / (len(one) + len(other) - common)


def banding(similarity: float) -> tuple[int, int]:
    """Number of bands and rows per band of the index.

    The number of rows r is the largest with which a pair at `similarity` s becomes a candidate with
    probability `RECALL` or more. A band of r rows matches with probability s^r, so b bands miss a
    pair with probability (1 - s^r)^b.
    """
    return next(
        (PERMUTATIONS // rows, rows)
        for rows in range(PERMUTATIONS // 2, 0, -1)
        if (1 - similarity**rows) ** (PERMUTATIONS // rows) <= 1 - RECALL
    )


def find_links(groups: Sequence[str], texts: Sequence[str], similarity: float) -> list[Link]:
    """Finds near duplicates in different groups.

    `groups` and `texts` have one entry per prompt. The links are a spanning forest: they connect
    all members of a family, but do not contain every pair of members. Prompts without words have no
    near duplicates.
    """
    from datasketch import MinHash, MinHashLSH

    numbers = [frozenset(NUMBER.findall(text)) for text in texts]
    count = Counter(numbers)
    # Only prompts whose numbers occur in another prompt can have near duplicates.
    candidates = [row for row, values in enumerate(numbers) if count[values] > 1 and texts[row]]
    indexes = {
        numbers[row]: MinHashLSH(num_perm=PERMUTATIONS, params=banding(similarity))
        for row in candidates
    }
    encoded = ([shingle.encode() for shingle in shingles(texts[row])] for row in candidates)
    signatures = MinHash.generator(encoded, num_perm=PERMUTATIONS, seed=1, hashfunc=crc32)
    families: Partition[int] = Partition()
    links = []
    for row, signature in zip(
        progress.track(candidates, len(candidates), "near duplicates"), signatures, strict=True
    ):
        index, row_shingles = indexes[numbers[row]], shingles(texts[row])
        for other in sorted(index.query(signature)):
            if groups[other] == groups[row] or families.root(other) == families.root(row):
                continue
            exact = jaccard(row_shingles, shingles(texts[other]))
            if exact >= similarity:
                families.join(families.root(other), [families.root(row)])
                links.append(Link(exact, other, row))
        index.insert(row, signature, check_duplication=False)
    return links


def check_group_sizes(distinct: pd.DataFrame, groups: Mapping[str, str], similarity: float) -> None:
    """Raises DataError if merging near duplicates puts most prompts of a domain into one group.

    Args:
        distinct: the table of `prompts`.
        groups: group -> merged group.
        similarity: the threshold, for the message.
    """
    for domain, rows in distinct.groupby("domain"):
        sizes = rows.groupby(rows["group_id"].map(groups))["group_id"].agg(["size", "nunique"])
        largest = sizes.loc[sizes["nunique"] > 1, "size"].max()
        if largest > MAX_GROUP_SHARE * len(rows):
            raise DataError(
                f"prepare.near_duplicates {similarity:g} merges {largest} of the {len(rows)} "
                f"prompts of domain {domain} into one group, which cannot be divided between the "
                "splits; raise the similarity (1 merges only prompts that differ in punctuation), "
                "or set it to null to keep near duplicates in separate groups"
            )


def count_near_train(links: Iterable[Link], splits: Sequence[str]) -> dict[str, int]:
    """Held-out split -> number of its prompts with a near duplicate in the training split.

    `splits` has the split of each prompt. All prompts of a family of near duplicates count as near
    duplicates of each other.
    """
    families: Partition[int] = Partition()
    for link in links:
        families.join(families.root(link.one), [families.root(link.other)])
    roots = families.roots()
    in_train = {root for row, root in roots.items() if splits[row] == "train"}
    near = Counter(splits[row] for row, root in roots.items() if root in in_train)
    return {split: near[split] for split in ("validation", "test")}


def report(
    texts: Sequence[str], links: Sequence[Link], similarity: float, groups: Mapping[str, str]
) -> dict[str, Any]:
    """Counts near duplicates and merged groups, and shows samples.

    Args:
        texts: the texts of all prompts.
        links: the result of `find_links` on these texts.
        similarity: the threshold.
        groups: group -> merged group.

    The samples are the least similar pairs. Each text starts shortly before the first difference.
    """
    return {
        "similarity": similarity,
        "prompts": len(texts),
        "near_duplicates": len({row for link in links for row in (link.one, link.other)}),
        "groups": len(groups),
        "groups_merged": len(groups) - len(set(groups.values())),
        "samples": [
            _sample(link, texts[link.one], texts[link.other]) for link in sorted(links)[:SAMPLES]
        ],
    }


def _sample(link: Link, one: str, other: str) -> dict[str, Any]:
    differences = (
        position for position, (a, b) in enumerate(zip(one, other, strict=False)) if a != b
    )
    start = max(0, next(differences, min(len(one), len(other))) - BEFORE)
    end = start + BEFORE + AFTER
    return {"similarity": link.similarity, "one": one[start:end], "other": other[start:end]}
