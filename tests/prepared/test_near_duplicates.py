"""Near-duplicate prompts: definition, search and report."""

import json
from pathlib import Path
from random import Random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.prepared import near_duplicates as near
from concord.prepared.near_duplicates import Link
from concord.stage.errors import DataError

LONG = (
    "Tom has 4 apples and goes to the market with his sister, where 3 of them break. "
    "How many are whole, then?"
)


def _plain(text: str) -> str:
    return near.comparison_text([{"role": "user", "content": text}])


def _links(texts: list[str], similarity: float = 0.8) -> list[tuple[int, int]]:
    links = near.find_links(
        [str(row) for row in range(len(texts))], [_plain(text) for text in texts], similarity
    )
    return [(link.one, link.other) for link in links]


def test_jaccard_similarity_of_shingles() -> None:
    """abcdefg has the shingles abcde, bcdef, cdefg; abcdefh shares the first two: 2 of 4."""
    assert near.jaccard(near.shingles("abcdefg"), near.shingles("abcdefh")) == 0.5
    assert near.shingles("ab") == {"ab"}
    assert near.jaccard(near.shingles(""), near.shingles("")) == 1


def test_text_ignores_case_spacing_and_punctuation_but_keeps_arithmetic_signs() -> None:
    assert _plain("Well, 1,000  Apples (or 2.5)?") == _plain("well 1000 apples; or 2.5")
    assert _plain("1,2,3") == "1 2 3"
    assert _plain("2+3") == _plain("2 + 3") != _plain("2 - 3")
    turns = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    assert near.comparison_text(turns) == "a b"


@pytest.mark.parametrize(
    ("text", "similar"),
    [
        (LONG.replace(",", "").replace("?", "!"), True),
        (LONG.replace("market", "markets"), True),
        (f"Hello! {LONG}", True),
        (LONG.replace("3", "2"), False),
        (LONG.replace("4", "4.5"), False),
        ("Tom has 4 apples, and 3 of them are red. What does he do with the others?", False),
    ],
)
def test_different_numbers_make_different_problems_and_commas_do_not(
    text: str, similar: bool
) -> None:
    assert _links([LONG, text]) == ([(0, 1)] if similar else [])


def test_prompts_of_one_group_are_not_compared() -> None:
    texts = [_plain(LONG), _plain(f"Hello! {LONG}")]
    assert near.find_links(["a", "a"], texts, 0.8) == []
    assert [link[1:] for link in near.find_links(["a", "b"], texts, 0.8)] == [(0, 1)]


def test_prompts_without_words_have_no_near_duplicates() -> None:
    assert _links(["???", "!!!"]) == []
    assert _links([]) == []


@given(st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0]))
def test_candidates_are_rarely_missed_at_the_threshold(similarity: float) -> None:
    bands, rows = near.banding(similarity)
    assert bands * rows <= near.PERMUTATIONS
    assert 1 - (1 - similarity**rows) ** bands >= near.RECALL


WORDS = [
    f"{first}{second}"
    for first in ("ka", "mo", "ri", "tel", "zu")
    for second in ("ba", "do", "ne", "shi", "var")
]


def _edited(words: list[str], random: Random) -> list[str]:
    """The words with one of them replaced, removed or inserted."""
    index, word = random.randrange(len(words)), random.choice(WORDS)
    return [*words[:index], *random.choice([[word], [], [words[index], word]]), *words[index + 1 :]]


def test_families_equal_those_of_an_exhaustive_search() -> None:
    """60 texts of 30 words in five versions; each version edits 1 to 4 words of the last."""
    random, texts = Random(0), []
    for _ in range(60):
        words = [random.choice(WORDS) for _ in range(30)]
        for _ in range(5):
            texts.append(" ".join(words))
            for _ in range(random.randint(1, 4)):
                words = _edited(words, random)
    cut = [near.shingles(text) for text in texts]
    every = range(len(texts))
    alike = {(a, b) for b in every for a in range(b) if near.jaccard(cut[a], cut[b]) >= 0.8}
    links = set(_links(texts))
    assert links <= alike
    assert 20 < len(alike) < 600
    assert {row for pair in links for row in pair} == {row for pair in alike for row in pair}
    assert _families(links) == _families(alike)


def _families(pairs: set[tuple[int, int]]) -> set[frozenset[int]]:
    families: dict[int, frozenset[int]] = {}
    for pair in pairs:
        joined = frozenset(pair).union(*(families.get(row, frozenset()) for row in pair))
        families.update(dict.fromkeys(joined, joined))
    return set(families.values())


def test_progress_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORD_PROGRESS", str(tmp_path / "progress"))
    _links([LONG, LONG + " Say it."])
    assert (
        json.loads((tmp_path / "progress").read_text().splitlines()[-1])["label"]
        == "near duplicates"
    )


def test_held_out_prompts_near_training_are_counted_by_family() -> None:
    """Family 0 to 2 has one prompt in the training split; family 3 and 4 has none."""
    links = [Link(0.9, 0, 1), Link(0.9, 1, 2), Link(0.9, 3, 4)]
    assert near.count_near_train(links, ["test", "validation", "train", "test", "test"]) == {
        "validation": 1,
        "test": 1,
    }


def test_the_report_shows_the_least_similar_pairs_near_their_first_difference() -> None:
    texts = ["x" * 50 + " one", "x" * 50 + " other", "y", "y"]
    report = near.report(
        texts, [Link(1.0, 2, 3), Link(0.85, 0, 1)], 0.8, {"a": "a", "b": "a", "c": "c", "d": "d"}
    )
    assert report.pop("samples") == [
        {"similarity": 0.85, "one": "x" * 38 + " one", "other": "x" * 38 + " other"},
        {"similarity": 1.0, "one": "y", "other": "y"},
    ]
    assert report == {
        "similarity": 0.8,
        "prompts": 4,
        "near_duplicates": 4,
        "groups": 4,
        "groups_merged": 1,
    }


def test_a_group_with_most_prompts_of_a_domain_is_refused() -> None:
    """Two of four prompts can be merged, three cannot; groups that are already large may stay."""
    prompts = pd.DataFrame({"domain": ["math"] * 4, "group_id": list("abcd")})
    near.check_group_sizes(prompts, {"a": "a", "b": "a", "c": "c", "d": "d"}, 0.8)
    with pytest.raises(
        DataError,
        match=r"near_duplicates 0\.8 merges 3 of the 4 prompts of domain math into one group",
    ):
        near.check_group_sizes(prompts, {"a": "a", "b": "a", "c": "a", "d": "d"}, 0.8)
    near.check_group_sizes(prompts.assign(group_id=list("aaad")), {"a": "a", "d": "d"}, 0.8)
