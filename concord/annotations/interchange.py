"""The interchange format: what one annotation may look like, and the table rows that it becomes.

Every annotation is an object with `kind`, `group_id` (the prompt or dialogue that may not straddle splits), `messages`
(a list of {role: system|user|assistant, content}, roles taking turns, the last one the user's) and, by kind:

    prompt         domain, reference (the right answer, or null)
    demonstration  response, domain, author
    comparison     objective, a, b, preferred ("a", "b" or "tie"), annotator, [margin], [authors: of a and of b]
    rating         objective, response, rating, scale [worst, best] (of a cost the worst is the greater), annotator,
                   [author]
    ranking        objective, responses, ranks (1 is best, ties allowed), annotator, [authors: of each response]
    binary         objective, response, label (0 or 1), annotator, [author]
    steps          objective, steps, labels (in [0, 1] or null, one per step), label_kind

`author` is who wrote an answer, a model or a person: what can be told from it is style. A `finish_reason` of "length"
marks a response that was cut off. Other keys are ignored. This module checks shapes and types; values are checked on
the tables (`concord.annotations.schemas`).
"""

import functools
import hashlib
import json
import operator
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import xxhash

from concord.annotations.fields import items, number, short, text, texts, value, wrong
from concord.annotations.record import RowError

ROLES = ("system", "user", "assistant")
ROLE = operator.itemgetter("role")
FIELDS = (
    *(
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
    ),
    *(
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
    ),
    *("finish_reason", "authors"),
)
"""Every key that is read."""
Row = dict[str, Any]
Authored = tuple[Row, Row]
"""What a row says, and the columns that tell who wrote its answers: these make no other row of one, since the same
answer judged alike is the same label, whoever wrote it."""


def table_of(record: Mapping[str, Any]) -> str:
    """The table that an annotation is meant for, empty where its kind is unknown."""
    kind = record.get("kind")
    return KINDS[kind][0] if isinstance(kind, str) and kind in KINDS else ""


def rows(record: Mapping[str, Any]) -> list[Row]:
    """The rows that an annotation becomes, but for the place where it stands. Raises RowError."""
    kind = text(record, "kind")
    if kind not in KINDS:
        raise RowError(
            "wrong_type", "kind", f"{kind!r} is no kind of annotation; allowed: {', '.join(KINDS)}"
        )
    if record.get("finish_reason") == "length":
        raise RowError(
            "truncated_response", "finish_reason", "the response was cut off at a length limit"
        )
    table, build = KINDS[kind]
    messages, group = _messages(record), _group(record)
    made = build(record)
    for row, authors in made:
        row["messages"] = messages
        row["row_id"] = quick_hash(table, row)
        row["group_id"] = group
        if table == "prompts":
            row["prompt_id"] = content_hash("messages", messages)
        row.update(authors)
    return [row for row, _ in made]


def content_hash(*content: Any) -> str:
    """16 hexadecimal digits that depend on the content alone."""
    written = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(written.encode("utf-8", errors="surrogatepass")).hexdigest()[:16]


def quick_hash(*content: Any) -> str:
    """As `content_hash`, and ten times as fast: a hash for finding what is equal, not for withstanding forgers."""
    return xxhash.xxh3_64_hexdigest(orjson.dumps(content, option=orjson.OPT_SORT_KEYS))


def _prompt(record: Mapping[str, Any]) -> list[Authored]:
    reference = None if record.get("reference") is None else text(record, "reference")
    return [({"domain": text(record, "domain"), "reference": reference}, {})]


def _demonstration(record: Mapping[str, Any]) -> list[Authored]:
    row = {"response": text(record, "response"), "domain": text(record, "domain")}
    return [(row, {"author": text(record, "author")})]


def _comparison(record: Mapping[str, Any]) -> list[Authored]:
    one, other, preferred = text(record, "a"), text(record, "b"), text(record, "preferred")
    if preferred == "tie":
        raise RowError(
            "tie",
            "preferred",
            "neither answer is preferred, so nothing can be learned from the pair",
        )
    if preferred not in ("a", "b"):
        raise RowError("off_scale", "preferred", f"is {preferred!r}; allowed: a, b, tie")
    author, other_author = _authors(record, 2)
    margin = None if record.get("margin") is None else number(record, "margin")
    if preferred == "b":
        one, other, author, other_author = other, one, other_author, author
    row = {"chosen": one, "rejected": other, "margin": margin, **_judged(record)}
    return [(row, {"chosen_author": author, "rejected_author": other_author})]


def _rating(record: Mapping[str, Any]) -> list[Authored]:
    scale = items(record, "scale")
    if len(scale) != 2:
        raise wrong("scale", "[worst, best]", scale)
    worst, best = (number({"scale": bound}, "scale") for bound in scale)
    if worst == best:
        raise RowError("off_scale", "scale", f"[{worst:g}, {best:g}] is empty")
    return [
        _rated(
            record,
            text(record, "response"),
            number(record, "rating"),
            worst,
            best,
            "rating",
            _author(record),
        )
    ]


def _ranking(record: Mapping[str, Any]) -> list[Authored]:
    responses, ranks = items(record, "responses"), items(record, "ranks")
    if len(responses) != len(ranks) or len(responses) < 2:
        detail = (
            f"{len(ranks)} ranks for {len(responses)} responses; as many are needed, two at least"
        )
        raise RowError("wrong_type", "ranks", detail)
    answers = texts(record, "responses")
    places = [number({"ranks": rank}, "ranks") for rank in ranks]
    if len(set(answers)) < len(answers):
        raise RowError(
            "identical_responses", "responses", "the same answer stands twice in one ranking"
        )
    # Rank 1 is best: the scale runs from the last rank up to 1.
    ranked = zip(answers, places, _authors(record, len(answers)), strict=True)
    return [
        _rated(record, answer, place, len(answers), 1, "ranking", author)
        for answer, place, author in ranked
    ]


def _binary(record: Mapping[str, Any]) -> list[Authored]:
    label = number(record, "label")
    if label not in (0, 1):
        raise RowError("off_scale", "label", f"is {label}; allowed: 0, 1")
    return [_rated(record, text(record, "response"), label, 0, 1, "binary", _author(record))]


def _steps(record: Mapping[str, Any]) -> list[Authored]:
    steps = texts(record, "steps")
    labels = [
        None if label is None else number({"labels": label}, "labels")
        for label in items(record, "labels")
    ]
    if len(steps) != len(labels):
        raise RowError(
            "wrong_type",
            "labels",
            f"{len(labels)} labels for {len(steps)} steps; one each is needed",
        )
    row = {"steps": steps, "labels": labels, "objective": text(record, "objective")}
    return [({**row, "label_kind": text(record, "label_kind")}, {})]


KINDS: dict[str, tuple[str, Callable[[Mapping[str, Any]], list[Authored]]]] = {
    "prompt": ("prompts", _prompt),
    "demonstration": ("demonstrations", _demonstration),
    "comparison": ("comparisons", _comparison),
    "rating": ("ratings", _rating),
    "ranking": ("ratings", _ranking),
    "binary": ("ratings", _binary),
    "steps": ("steps", _steps),
}


def _author(record: Mapping[str, Any]) -> str | None:
    return None if record.get("author") is None else text(record, "author")


def _authors(record: Mapping[str, Any], count: int) -> list[str | None]:
    """Who wrote each of `count` answers; null where nobody says."""
    if record.get("authors") is None:
        return [None] * count
    found = items(record, "authors")
    if len(found) != count:
        raise RowError(
            "wrong_type", "authors", f"{len(found)} authors for {count} answers; one each is needed"
        )
    return [None if author is None else text({"authors": author}, "authors") for author in found]


def _rated(
    record: Mapping[str, Any],
    response: str,
    raw: float,
    worst: float,
    best: float,
    kind: str,
    author: str | None,
) -> Authored:
    if not min(worst, best) <= raw <= max(worst, best):
        raise RowError("off_scale", "rating", f"{raw:g} lies outside {worst:g} to {best:g}")
    rating = {
        "rating": (raw - worst) / (best - worst),
        "raw_rating": raw,
        "scale_low": worst,
        "scale_high": best,
    }
    return {"response": response, **rating, **_judged(record), "kind": kind}, {"author": author}


def _judged(record: Mapping[str, Any]) -> Row:
    return {"objective": text(record, "objective"), "annotator": text(record, "annotator")}


def _messages(record: Mapping[str, Any]) -> list[dict[str, str]]:
    messages = list(map(_message, items(record, "messages")))
    _demand_turns(tuple(map(ROLE, messages)))
    return messages


@functools.cache
def _demand_turns(roles: tuple[str, ...]) -> None:
    """Raises RowError unless the roles take turns and the user has the last one."""
    spoken = roles[1:] if roles[:1] == ("system",) else roles
    if not spoken or spoken[-1] != "user" or "system" in spoken:
        raise RowError(
            "roles_do_not_alternate",
            "messages",
            f"must end with the user's turn, but is {short([*roles])}",
        )
    if any(map(operator.eq, spoken, spoken[1:])):
        raise RowError(
            "roles_do_not_alternate",
            "messages",
            f"one role speaks twice in a row: {short([*roles])}",
        )


def _message(message: Any) -> dict[str, str]:
    if not isinstance(message, dict):
        raise wrong("messages", "a list of {role, content}", message)
    role, content = text(message, "role", "messages"), text(message, "content", "messages")
    if role not in ROLES:
        raise RowError("unknown_role", "messages", f"{role!r}; allowed: {', '.join(ROLES)}")
    if not content.strip():
        raise RowError("empty_prompt", "messages", f"a turn of the {role} without text")
    return {"role": role, "content": content}


def _group(record: Mapping[str, Any]) -> str:
    group = value(record, "group_id")
    if type(group) is int:
        return str(group)
    if not isinstance(group, str):
        raise wrong("group_id", "text or a whole number", group)
    return text(record, "group_id")
