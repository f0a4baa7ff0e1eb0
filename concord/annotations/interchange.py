"""The interchange format: the keys of an annotation, and the table rows that it becomes.

An annotation is a JSON object with these keys:

- `kind`: one of the kinds below.
- `group_id`: the prompt or dialogue. All annotations of a group, in any source, go to the same
  split.
- `messages`: the prompt, a list of {role: system|user|assistant, content}. User and assistant
  alternate, and the last turn is the user's.

The other keys depend on the kind (optional keys in brackets):

    prompt         domain, reference (the correct answer, or null)
    demonstration  response, domain, author
    comparison     objective, a, b, preferred ("a", "b" or "tie"), annotator, [margin],
                   [authors: of a and of b]
    rating         objective, response, rating, scale [worst, best], annotator, [author];
                   for a cost, the worst rating is the larger number
    ranking        objective, responses, ranks (1 is best, ties allowed), annotator,
                   [authors: of each response]
    binary         objective, response, label (0 or 1), annotator, [author]
    steps          objective, steps, labels (in [0, 1] or null, one per step), label_kind

`author` is the model or person that wrote a response. It is not a label; baselines use it to
measure how much of a label can be predicted from style. A `finish_reason` of "length" marks a
truncated response, which is rejected. Other keys are ignored.

This module checks structure and types. Values are checked by `concord.annotations.schemas`.
"""

import functools
import hashlib
import json
import operator
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import xxhash

from concord.annotations.fields import (
    given,
    is_empty,
    items,
    number,
    person,
    required,
    shorten,
    text,
    texts,
    wrong_type,
)
from concord.annotations.record import RowError

ROLES = ("system", "user", "assistant")
ROLE = operator.itemgetter("role")
FIELDS = (
    "kind",
    "group_id",
    "messages",
    "domain",
    "reference",
    "response",
    "author",
    "objective",
    "annotator",
    "a",
    "b",
    "preferred",
    "margin",
    "rating",
    "scale",
    "responses",
    "ranks",
    "label",
    "steps",
    "labels",
    "label_kind",
    "finish_reason",
    "authors",
)
"""All keys that are read."""
Row = dict[str, Any]
RowWithAuthors = tuple[Row, Row]
"""The columns of a row, and its author columns.

Author columns are not part of `row_id`: the same response with the same label is a duplicate,
whichever author is given.
"""


def table_of(record: Mapping[str, Any]) -> str:
    """The table of an annotation, or "" if its kind is unknown.

    Examples:
        >>> table_of({"kind": "ranking"})
        'ratings'
    """
    kind = record.get("kind")
    return KINDS[kind][0] if isinstance(kind, str) and kind in KINDS else ""


def rows(record: Mapping[str, Any]) -> list[Row]:
    """Converts an annotation to table rows, without the source columns. Raises RowError.

    Examples:
        >>> prompt = {"group_id": "1", "messages": [{"role": "user", "content": "Name a colour."}]}
        >>> judged = {"objective": "helpful", "annotator": "crowd"}
        >>> annotation = {"kind": "rating", "response": "Red.", "rating": 4, "scale": [1, 5]}
        >>> [row["rating"] for row in rows({**prompt, **judged, **annotation})]
        [0.75]
    """
    kind = text(record, "kind")
    if kind not in KINDS:
        raise RowError(
            "wrong_type",
            "kind",
            f"{kind!r} is not a kind of annotation; allowed: {', '.join(KINDS)}",
        )
    if record.get("finish_reason") == "length":
        raise RowError(
            "truncated_response", "finish_reason", "the response was cut off at a length limit"
        )
    table, build = KINDS[kind]
    messages, group = _messages(record), _group(record)
    built = build(record)
    for row, authors in built:
        row["messages"] = messages
        row["row_id"] = quick_hash(table, row)
        row["group_id"] = group
        if table == "prompts":
            row["prompt_id"] = content_hash("messages", messages)
        row.update(authors)
    return [row for row, _ in built]


def content_hash(*content: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of JSON content.

    Examples:
        >>> content_hash("Why?") == content_hash("Why?")
        True
        >>> len(content_hash({"a": 1}, [2]))
        16
    """
    written = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(written.encode("utf-8", errors="surrogatepass")).hexdigest()[:16]


def quick_hash(*content: Any) -> str:
    """The XXH3 hash of JSON content, 16 hexadecimal digits.

    Ten times as fast as `content_hash`, but not cryptographic. It is used to find duplicates.
    """
    return xxhash.xxh3_64_hexdigest(orjson.dumps(content, option=orjson.OPT_SORT_KEYS))


def _prompt(record: Mapping[str, Any]) -> list[RowWithAuthors]:
    reference = None if record.get("reference") is None else text(record, "reference")
    return [({"domain": text(record, "domain"), "reference": reference}, {})]


def _demonstration(record: Mapping[str, Any]) -> list[RowWithAuthors]:
    row = {"response": text(record, "response"), "domain": text(record, "domain")}
    return [(row, {"author": text(record, "author")})]


def _comparison(record: Mapping[str, Any]) -> list[RowWithAuthors]:
    chosen, rejected = text(record, "a"), text(record, "b")
    given(record, "preferred")
    preferred = text(record, "preferred")
    if preferred == "tie":
        raise RowError(
            "tie",
            "preferred",
            "neither answer is preferred, so nothing can be learned from the pair",
        )
    if preferred not in ("a", "b"):
        raise RowError("off_scale", "preferred", f"is {preferred!r}; allowed: a, b, tie")
    chosen_author, rejected_author = _authors(record, 2)
    margin = None if is_empty(record.get("margin")) else number(record, "margin")
    if margin == 0:
        raise RowError("tie", "margin", "is 0, so neither answer is preferred")
    if preferred == "b":
        chosen, rejected = rejected, chosen
        chosen_author, rejected_author = rejected_author, chosen_author
    row = {
        "chosen": chosen,
        "rejected": rejected,
        "margin": margin,
        **_objective_and_annotator(record),
    }
    return [(row, {"chosen_author": chosen_author, "rejected_author": rejected_author})]


def _rating(record: Mapping[str, Any]) -> list[RowWithAuthors]:
    scale = items(record, "scale")
    if len(scale) != 2:
        raise wrong_type("scale", "[worst, best]", scale)
    worst, best = (number({"scale": bound}, "scale") for bound in scale)
    if worst == best:
        raise RowError("off_scale", "scale", f"[{worst:g}, {best:g}] is empty")
    given(record, "rating")
    response, rating = text(record, "response"), number(record, "rating")
    return [_rating_row(record, response, rating, worst, best, "rating", _author(record))]


def _ranking(record: Mapping[str, Any]) -> list[RowWithAuthors]:
    responses, ranks = items(record, "responses"), items(record, "ranks")
    if len(responses) != len(ranks) or len(responses) < 2:
        raise RowError(
            "wrong_type",
            "ranks",
            f"{len(ranks)} ranks for {len(responses)} responses; "
            "give one rank per response, and at least two responses",
        )
    answers = texts(record, "responses")
    numbers = [number({"ranks": rank}, "ranks") for rank in ranks]
    if len(set(answers)) < len(answers):
        raise RowError(
            "identical_responses", "responses", "the ranking contains the same answer twice"
        )
    # Rank 1 is best, so the scale runs from the last rank to 1.
    return [
        _rating_row(record, answer, rank, len(answers), 1, "ranking", author)
        for answer, rank, author in zip(
            answers, numbers, _authors(record, len(answers)), strict=True
        )
    ]


def _binary(record: Mapping[str, Any]) -> list[RowWithAuthors]:
    given(record, "label")
    label = number(record, "label")
    if label not in (0, 1):
        raise RowError("off_scale", "label", f"is {label}; allowed: 0, 1")
    response = text(record, "response")
    return [_rating_row(record, response, label, 0, 1, "binary", _author(record))]


def _steps(record: Mapping[str, Any]) -> list[RowWithAuthors]:
    steps = texts(record, "steps")
    labels = [
        None if label is None else number({"labels": label}, "labels")
        for label in items(record, "labels")
    ]
    if len(steps) != len(labels):
        raise RowError(
            "wrong_type",
            "labels",
            f"{len(labels)} labels for {len(steps)} steps; give one label per step",
        )
    row = {"steps": steps, "labels": labels, "objective": text(record, "objective")}
    return [({**row, "label_kind": text(record, "label_kind")}, {})]


KINDS: dict[str, tuple[str, Callable[[Mapping[str, Any]], list[RowWithAuthors]]]] = {
    "prompt": ("prompts", _prompt),
    "demonstration": ("demonstrations", _demonstration),
    "comparison": ("comparisons", _comparison),
    "rating": ("ratings", _rating),
    "ranking": ("ratings", _ranking),
    "binary": ("ratings", _binary),
    "steps": ("steps", _steps),
}
"""Kind -> its table, and the function that builds the rows."""


def _author(record: Mapping[str, Any]) -> str | None:
    return None if record.get("author") is None else text(record, "author")


def _authors(record: Mapping[str, Any], count: int) -> list[str | None]:
    """The authors of `count` answers; None for unknown ones."""
    if record.get("authors") is None:
        return [None] * count
    authors = items(record, "authors")
    if len(authors) != count:
        raise RowError(
            "wrong_type",
            "authors",
            f"{len(authors)} authors for {count} answers; give one author per answer",
        )
    return [None if author is None else text({"authors": author}, "authors") for author in authors]


def _rating_row(
    record: Mapping[str, Any],
    response: str,
    raw: float,
    worst: float,
    best: float,
    kind: str,
    author: str | None,
) -> RowWithAuthors:
    """A row of the table `ratings`, with the raw rating mapped linearly to [0, 1]."""
    if not min(worst, best) <= raw <= max(worst, best):
        raise RowError("off_scale", "rating", f"{raw:g} lies outside {worst:g} to {best:g}")
    row = {
        "response": response,
        "rating": (raw - worst) / (best - worst),
        "raw_rating": raw,
        "scale_low": worst,
        "scale_high": best,
        **_objective_and_annotator(record),
        "kind": kind,
    }
    return row, {"author": author}


def _objective_and_annotator(record: Mapping[str, Any]) -> Row:
    return {"objective": text(record, "objective"), "annotator": person(record)}


def _messages(record: Mapping[str, Any]) -> list[dict[str, str]]:
    messages = list(map(_message, items(record, "messages")))
    _check_roles(tuple(map(ROLE, messages)))
    return messages


@functools.cache
def _check_roles(roles: tuple[str, ...]) -> None:
    """Raises RowError unless the roles alternate and end with the user."""
    turns = roles[1:] if roles[:1] == ("system",) else roles
    if not turns or turns[-1] != "user" or "system" in turns:
        raise RowError(
            "roles_do_not_alternate",
            "messages",
            f"must end with the user's turn, but is {shorten([*roles])}",
        )
    if any(map(operator.eq, turns, turns[1:])):
        raise RowError(
            "roles_do_not_alternate",
            "messages",
            f"one role speaks twice in a row: {shorten([*roles])}",
        )


def _message(message: Any) -> dict[str, str]:
    if not isinstance(message, dict):
        raise wrong_type("messages", "a list of {role, content}", message)
    role, content = text(message, "role", "messages"), text(message, "content", "messages")
    if role not in ROLES:
        raise RowError("unknown_role", "messages", f"{role!r}; allowed: {', '.join(ROLES)}")
    if not content.strip():
        raise RowError("empty_prompt", "messages", f"the content of a {role} turn is empty")
    return {"role": role, "content": content}


def _group(record: Mapping[str, Any]) -> str:
    group = required(record, "group_id")
    if type(group) is int:
        return str(group)
    if not isinstance(group, str):
        raise wrong_type("group_id", "text or a whole number", group)
    return text(record, "group_id")
