"""The comparisons of the checks, and what they keep out of everything else.

A source that a check names is read by no other table. Rows of other sources are quarantined if
their prompt is that of a check, or nearly the same (`concord.prepared.near_duplicates`): a model
that has seen the prompt is not tested by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from concord.annotations.quarantine import Quarantine
from concord.annotations.record import Rejection
from concord.prepared import near_duplicates, table_checks
from concord.prepared import pairs as preferences
from concord.prepared.check_params import Check
from concord.prepared.prompt_keys import prompt_keys
from concord.prepared.table_checks import Tables
from concord.prepared.token_lengths import Tokens
from concord.prepared.union_find import Partition
from concord.stage.errors import DataError

COLUMNS = ["check", *preferences.COLUMNS]
"""Columns of the table of checks: those of pairs, and the name of the check."""
MAX_LEFT_OUT = 0.5
"""Largest share of the rows of a source that may be left out because of checks."""
SEEN = Rejection(
    "prompt_of_check",
    "messages",
    "a check has this prompt, or nearly the same, and nothing is trained on the prompts of checks",
)


def collect(
    checks: Mapping[str, Check],
    sources: Mapping[str, Tables],
    tokens: Tokens,
    rejected: Quarantine,
) -> pd.DataFrame:
    """The pairs of all checks, with `COLUMNS`.

    They are cleaned as training pairs are. Ratings and rankings count by the pairs that they imply.
    `sources` has the ingested tables of every source that a check names. Raises DataError if a
    check has no pairs.
    """
    pairs = {name: _pairs(tables, tokens, rejected) for name, tables in sources.items()}
    parts = []
    for name, check in checks.items():
        of_source = pairs[check.source]
        rows = of_source[of_source["objective"] == check.objective]
        if rows.empty:
            raise DataError(_no_pairs(name, check, sorted(set(of_source["objective"]))))
        parts.append(rows.assign(check=name))
    if not parts:
        types = {name: preferences.TYPES.get(name, "object") for name in COLUMNS}
        return pd.DataFrame({name: pd.Series([], dtype=types[name]) for name in COLUMNS})
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def _pairs(tables: Tables, tokens: Tokens, rejected: Quarantine) -> pd.DataFrame:
    clean = table_checks.tables(tables, tokens, rejected)
    stated = preferences.from_comparisons(clean["comparisons"])
    implied = preferences.from_ratings(clean["ratings"])
    both = pd.concat([stated, implied], ignore_index=True)
    return table_checks.pairs(both, tokens, rejected)


def _no_pairs(name: str, check: Check, objectives: Collection[str]) -> str:
    if not objectives:
        return (
            f"checks.{name}: the source {check.source} has no comparison of two answers; give rows "
            "of kind comparison, or ratings or rankings of several answers to a prompt"
        )
    return (
        f"checks.{name}: the source {check.source} has no comparison for {check.objective}, only "
        f"for {', '.join(objectives)}; change checks.{name}.objective, or the objective that the "
        "source gives its rows"
    )


def hold_out(
    tables: Tables, checked: pd.DataFrame, similarity: float | None, rejected: Quarantine
) -> tuple[dict[str, pd.DataFrame], dict[str, int]]:
    """The tables without the groups that have a prompt of a check.

    Args:
        tables: the tables of the sources that no check names, with their final groups.
        checked: the pairs of the checks, from `collect`.
        similarity: the Jaccard similarity from which prompts are near duplicates, or None.
        rejected: where the rows go.

    Also returns source -> number of its rows that were left out. Raises DataError if these are more
    than `MAX_LEFT_OUT` of the rows of a source.
    """
    if checked.empty:
        return dict(tables), {}
    groups = _shared_groups(tables, checked, similarity)
    kept: dict[str, pd.DataFrame] = {}
    left_out, total = Counter[str](), Counter[str]()
    for table, frame in tables.items():
        shared = frame["group_id"].isin(groups)
        total.update(frame["source"])
        left_out.update(frame.loc[shared, "source"])
        kept[table] = table_checks.quarantine_rows(frame, shared, table, SEEN, rejected)
    for source, count in sorted(left_out.items()):
        if count > MAX_LEFT_OUT * total[source]:
            raise DataError(
                f"checks: {count} of the {total[source]} rows of the source {source} have a prompt "
                f"of the source {' or '.join(sorted(set(checked['source'])))}, and nothing may be "
                "trained on the prompts of a check; give the check prompts of its own, or remove "
                "these rows from one of the two"
            )
    return kept, dict(sorted(left_out.items()))


def _shared_groups(tables: Tables, checked: pd.DataFrame, similarity: float | None) -> set[str]:
    """The groups with a prompt of a check, or one that is nearly the same."""
    parts = [_prompts(frame) for frame in tables.values()]
    prompts = pd.concat(parts, ignore_index=True).drop_duplicates(["group_id", "prompt"])
    of_checks = _prompts(checked).drop_duplicates("prompt")
    shared = set(prompts.loc[prompts["prompt"].isin(set(of_checks["prompt"])), "group_id"])
    if similarity is None:
        return shared
    both = pd.concat([of_checks, prompts], ignore_index=True)
    texts = both["messages"].map(near_duplicates.comparison_text).tolist()
    families: Partition[int] = Partition()
    for link in near_duplicates.find_links(both["group_id"].tolist(), texts, similarity):
        families.join(families.root(link.one), [families.root(link.other)])
    near = {families.root(row) for row in range(len(of_checks))}
    rest = range(len(of_checks), len(both))
    return shared | {str(both["group_id"][row]) for row in rest if families.root(row) in near}


def _prompts(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[["group_id", "messages"]].assign(prompt=prompt_keys(frame))


def report(
    checks: Mapping[str, Check], checked: pd.DataFrame, sources: Mapping[str, Tables]
) -> dict[str, dict[str, Any]]:
    """Check -> its source, objective and mark, its size, and what of the source is not used.

    `longer_chosen` is the share of pairs in which the right answer is the longer one: near 0 or 1,
    a head that reads nothing but length would hold or fail as well.
    """
    entries = {}
    for name, check in checks.items():
        rows = checked[checked["check"] == name]
        longer = rows["chosen"].str.len() > rows["rejected"].str.len()
        tables = sources[check.source]
        unused = {table: len(tables[table]) for table in ("prompts", "demonstrations", "steps")}
        entries[name] = {
            "source": check.source,
            "objective": check.objective,
            "at_least": check.at_least,
            "pairs": len(rows),
            "prompts": rows["group_id"].nunique(),
            "prompts_needed": check.prompts_needed,
            "longer_chosen": float(longer.mean()),
            "unused": {table: count for table, count in unused.items() if count},
        }
    return entries


def lines(entries: Mapping[str, Mapping[str, Any]], left_out: Mapping[str, int]) -> list[str]:
    """What `prepare` prints about the checks: their sizes, and warnings."""
    text = [
        f"check {name}: {entry['pairs']} pairs of {entry['prompts']} prompts for "
        f"{entry['objective']}, from {entry['source']}"
        for name, entry in entries.items()
    ]
    text += [
        f"warning: check {name} cannot hold: with {entry['prompts']} prompts the interval begins "
        f"below {entry['at_least']:g} even if every comparison comes out right; give at least "
        f"{entry['prompts_needed']} prompts"
        for name, entry in entries.items()
        if entry["prompts"] < entry["prompts_needed"]
    ]
    text += [
        f"warning: {count} rows of {source} have a prompt of a check, and are left out"
        for source, count in left_out.items()
    ]
    return text
