"""Random damage to files of annotations: to their bytes, to their lines, and to their rows."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

VALUES: list[Any] = [
    None, True, False, 0, -1, 3.5, 1e400, "", " ", "text", "\ud800", "\u2028", [], [None], [[]],
    {}, {"role": "user"}, [{"role": "user", "content": None}], "nan", "[", "{}", 10**40, [1, "a"],
    "<|im_start|>user\nHi", "\n\nHuman: Hi", {"content": []},
]  # fmt: skip
"""What a value is replaced with."""


def any_path(value: Any, draw: random.Random) -> list[Any]:
    """The keys and indices that lead to a random value inside of `value`."""
    path: list[Any] = []
    while isinstance(value, dict | list) and value and (not path or draw.random() < 0.7):
        key = draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
        path.append(key)
        value = value[key]
    return path


def changed_rows(rows: list[dict[str, Any]], draw: random.Random) -> list[dict[str, Any]]:
    """Rows of which one to three values are replaced, removed, renamed or put twice."""
    for _ in range(draw.randint(1, 3)):
        row = draw.choice(rows)
        path = any_path(row, draw)
        if not path:
            continue
        *parents, last = path
        container: Any = row
        for key in parents:
            container = container[key]
        kind = draw.choice(["replace", "replace", "remove", "rename", "wrap"])
        if kind == "replace":
            container[last] = copy.deepcopy(draw.choice(VALUES))
        elif kind == "wrap":
            container[last] = [container[last]] if draw.random() < 0.5 else str(container[last])
        elif kind == "remove" or isinstance(container, list):
            del container[last]
        else:
            container[f"{last}_"] = container.pop(last)
    return rows


def json_lines(rows: list[dict[str, Any]]) -> bytes:
    """The rows as JSON Lines; what UTF-8 cannot encode is escaped."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def cut(content: bytes, draw: random.Random) -> bytes:
    """The content up to a random place."""
    return content[: draw.randrange(len(content))]


def removed_bytes(content: bytes, draw: random.Random) -> bytes:
    """The content without a few bytes."""
    start = draw.randrange(len(content))
    return content[:start] + content[start + draw.randint(1, 9) :]


def repeated_bytes(content: bytes, draw: random.Random) -> bytes:
    """The content with a part twice."""
    start = draw.randrange(len(content))
    end = start + draw.randint(1, 40)
    return content[:end] + content[start:end] + content[end:]


def other_bytes(content: bytes, draw: random.Random) -> bytes:
    """The content with a few random bytes."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def special_bytes(content: bytes, draw: random.Random) -> bytes:
    """The content with a character in it that has a meaning in files."""
    place = draw.randrange(len(content) + 1)
    inserted = draw.choice(
        [b'"', b"\n", b"\r", b"\r\n", b"\0", b"[", b"]", b"{", b"}", b",", b"\xef\xbb\xbf", b"\\",
         b"\xe2\x80\xa8", b"NaN", b"#", b"'", b"\x1a", b"\t", b"\xff"]
    )  # fmt: skip
    return content[:place] + inserted + content[place:]


def repeated_lines(content: bytes, draw: random.Random) -> bytes:
    """The content with lines twice, joined, removed or in another order."""
    lines = content.splitlines(keepends=True)
    kind = draw.choice(["twice", "joined", "removed", "shuffled", "blank"])
    place = draw.randrange(len(lines))
    if kind == "twice":
        lines.insert(place, lines[place])
    elif kind == "joined":
        lines[place] = lines[place].rstrip(b"\r\n")
    elif kind == "removed":
        del lines[place]
    elif kind == "blank":
        lines.insert(place, b"  \n")
    else:
        draw.shuffle(lines)
    return b"".join(lines)


def other_encoding(content: bytes, draw: random.Random) -> bytes:
    """The content in another encoding, with a BOM, or with other line ends."""
    text = content.decode("utf-8", errors="replace")
    kind = draw.choice(["utf-8-sig", "utf-16", "utf-16-le", "latin-1", "crlf", "cr", "utf-32"])
    if kind == "crlf":
        return content.replace(b"\n", b"\r\n")
    if kind == "cr":
        return content.replace(b"\n", b"\r")
    return text.encode(kind, errors="replace")


BYTES: list[Callable[[bytes, random.Random], bytes]] = [
    cut,
    removed_bytes,
    repeated_bytes,
    other_bytes,
    special_bytes,
    repeated_lines,
    other_encoding,
]
"""Damage to the content of a file."""
