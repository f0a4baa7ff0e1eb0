"""All rows of a group are in one split, whatever other data there is."""

from collections import Counter
from random import Random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.prepared import leakage, splits

GROUPS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("pqrstuvw")), min_size=1, max_size=20
)


def _frame(rows: list[tuple[str, str]]) -> pd.DataFrame:
    messages = [[{"role": "user", "content": prompt}] for _, prompt in rows]
    return pd.DataFrame(
        {"group_id": [group for group, _ in rows], "messages": messages}, dtype=object
    )


def test_shares_are_kept() -> None:
    """Of 10,000 groups, 15 % are 1,500 with a standard deviation of 36."""
    counts = Counter(splits.split_of(str(group), "0", 0.15, 0.05) for group in range(10_000))
    assert abs(counts["validation"] - 1500) < 4 * 36
    assert abs(counts["test"] - 500) < 4 * 22


@given(st.text(), st.text(), st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0, 0.1))
def test_a_larger_share_never_moves_a_row_into_training(
    group: str, salt: str, validation: float, test: float, more: float
) -> None:
    before = splits.split_of(group, salt, validation, test)
    after = splits.split_of(group, salt, validation + more, test)
    assert 0 <= splits.position(group, salt) < 1
    assert after == before or (before, after) == ("train", "validation")


def test_a_different_salt_gives_different_splits() -> None:
    drawn = [
        [splits.split_of(str(group), salt, 0.5, 0) for group in range(50)] for salt in ("0", "1")
    ]
    assert drawn[0] != drawn[1]


def test_groups_with_a_common_prompt_are_merged() -> None:
    """b and a share p, c and b share q: they take the name of one of them."""
    frames = [_frame([("b", "p"), ("a", "P "), ("c", "q")]), _frame([("b", "q"), ("d", "r")])]
    first = min("abc", key=lambda group: splits.position(group, "0"))
    assert splits.merge_groups(frames, "0") == {"a": first, "b": first, "c": first, "d": "d"}


@given(st.sets(st.text(max_size=3), min_size=1), st.text(), st.floats(0, 0.4), st.floats(0, 0.4))
def test_merged_groups_take_the_most_held_out_split(
    members: set[str], salt: str, validation: float, test: float
) -> None:
    (name,) = set(splits.join_groups([members], salt).values())
    shares = (salt, validation, test)
    each = {splits.split_of(member, *shares) for member in members}
    assert splits.split_of(name, *shares) == max(each, key=splits.SPLITS.index)


def test_the_price_of_merging_is_as_documented() -> None:
    """Of 5,000 groups of four members, 1 - 0.85^4 = 47.8 % are held out at a share of 15 %."""
    rows = [(f"{source}{number}", str(number)) for number in range(5000) for source in "abcd"]
    names = set(splits.merge_groups([_frame(rows)], "0").values())
    counts = Counter(splits.split_of(name, "0", 0, 0.15) for name in names)
    assert len(names) == 5000
    assert abs(counts["test"] - 5000 * (1 - 0.85**4)) < 4 * 35


WORDS = ["apple", "river", "stone", "cloud", "tiger", "piano", "lemon", "maple", "ocean", "candle"]


def _appended(random: Random, number: int) -> pd.DataFrame:
    """Twenty rows: new prompts, prompts of other groups, and near duplicates of earlier ones."""
    rows = []
    for row in range(20):
        kind = random.choice(["new", "shared", "near"])
        words = Random(random.randrange(number * 20 + 20)).choices(WORDS, k=9)
        if kind == "new":
            rows.append((f"g{number}.{row}", " ".join(words)))
        elif kind == "shared":
            rows.append(
                (f"g{random.randrange(number + 1)}.{random.randrange(20)}", " ".join(words))
            )
        else:
            rows.append((f"g{number}.{row}", " ".join(words[:8]) + f" {random.choice(WORDS)}"))
    return _frame(rows).assign(objective="kind")


@pytest.mark.parametrize("seed", range(2))
def test_ten_appends_never_move_a_row_into_training(seed: int) -> None:
    """Rows that were validation or test yesterday are never trained on, nor test rows chosen by.

    The appended rows join groups: by a name, by a common prompt, and as near duplicates.
    """
    random, data, yesterday = Random(seed), pd.DataFrame(), dict[int, str]()
    moves = Counter[tuple[str, str]]()
    for number in range(11):
        data = pd.concat([data, _appended(random, number)], ignore_index=True)
        frame = data.assign(row=range(len(data)))
        tables = {"pairs": splits.regroup(frame, splits.merge_groups([frame], str(seed)))}
        tables, _, _ = splits.merge_near_duplicates(tables, {"kind": "d"}, 0.7, str(seed), 0.2, 0.2)
        parts = splits.divide(tables["pairs"], str(seed), 0.2, 0.2)
        today = {row: split for split, part in parts.items() for row in part["row"]}
        assert len(today) == len(data)
        for row, split in yesterday.items():
            moves[split, today[row]] += split != today[row]
        yesterday = today
    order = splits.SPLITS.index
    assert not {move: n for move, n in moves.items() if n and order(move[1]) < order(move[0])}
    assert sum(moves.values()) > 20, "the appends join no groups, so the test shows nothing"


def test_sizes_are_compared_with_what_was_asked() -> None:
    """15 % of 1,000 prompts are 150 with a standard deviation of 11: 160 is chance, 300 is not."""
    prompts = {"train": 540, "validation": 160, "test": 300}
    groups = {"train": 540, "validation": 160, "test": 2}
    report = splits.sizes(prompts, groups, 0.15, 0.15)
    assert report["test"] == {
        "asked": 0.15, "got": 0.3, "prompts": 300, "groups": 2, "by_chance": False,
    }  # fmt: skip
    assert report["validation"]["by_chance"]
    shown, warning = splits.size_lines(report)
    assert "validation 160 (16.0%, asked 15.0%)" in shown
    assert "prepare.test asks for 15.0%" in warning
    assert "2 groups with 300 prompts" in warning


@given(GROUPS)
def test_no_prompt_or_group_is_in_two_splits(rows: list[tuple[str, str]]) -> None:
    frame = _frame(rows)
    merged = splits.regroup(frame, splits.merge_groups([frame], "0"))
    parts = splits.divide(merged, "0", 0.3, 0.3)
    assert sum(map(len, parts.values())) == len(frame)
    shares = leakage.overlap({name: leakage.contents_of([part]) for name, part in parts.items()})
    assert all(share["prompts"] == share["groups"] == 0 for share in shares.values())


@given(GROUPS, st.randoms())
def test_the_order_of_rows_does_not_matter(rows: list[tuple[str, str]], random: Random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert splits.merge_groups([_frame(rows)], "0") == splits.merge_groups([_frame(shuffled)], "0")


def test_leaks_are_reported_and_leaking_prompts_refused() -> None:
    """One of two test responses is in the training split, and no phrase of eight words."""
    train = _frame([("a", "one two three four five six seven eight nine")]).assign(response="Yes.")
    test = pd.concat(
        [_frame([("b", "x")]).assign(response="yes. "), _frame([("b", "x")]).assign(response="no")]
    )
    trained = leakage.contents_of([train])
    shares = leakage.overlap({"train": trained, "test": leakage.contents_of([test])})["test"]
    assert shares == {"groups": 0, "prompts": 0, "responses": 0.5, "phrases_of_8_words": 0}
    longer = leakage.contents_of([_frame([("c", "and one two three four five six seven eight")])])
    assert leakage.overlap({"train": trained, "test": longer})["test"]["phrases_of_8_words"] == 0.5
    with pytest.raises(AssertionError, match="prompts in common"):
        leakage.overlap({"train": trained, "test": trained})
