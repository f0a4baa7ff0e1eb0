"""Damaged params files: recipes with a few changed values, or with damage to their text."""

import copy
import datetime
import io
import json
import random
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from ruamel.yaml import YAML

from concord.stage.errors import ConcordError
from concord.stage.params import read
from flows import recipe
from tasks import check
from tests.annotations.mutations import BYTES, any_path

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
SCALARS: list[Any] = [
    None, True, False, 0, -1, 1, 3, 0.5, -0.5, 1e-9, 1e400, float("nan"), 10**400, "", " ", "1",
    "\n", "\0", "\u2028", "../..", "/", "~", ".", "${seeds.data}", "a b", "a.b", "null", "auto",
    "sft", "helpful", "os:system", "a:b", ":", "{", "x" * 300, "\U0001f600", "C:\\x",
    datetime.date(2026, 1, 1), b"bytes", "{{ messages }}", "model.name", "file\n---\n",
]  # fmt: skip
"""What a value is replaced with."""
KEYS: list[Any] = ["", "a", "sft", "helpful", "é", "a b", "__class__", "weights", 3, True, None]
"""What a key is replaced with."""
values = st.recursive(
    st.sampled_from(SCALARS) | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=4,
)


def parsed(path: Path) -> dict[str, Any]:
    """A recipe without anchors: each value occurs once."""
    return dict(json.loads(json.dumps(read(path), default=str)))


@st.composite
def params_files(draw: st.DrawFn) -> bytes:
    """The bytes of a damaged params file."""
    path = draw(st.sampled_from(RECIPES))
    if draw(st.integers(0, 4)) == 0:
        damage = draw(st.sampled_from(BYTES))
        return damage(path.read_bytes(), random.Random(draw(st.integers(0, 2**32))))
    params = parsed(path)
    for _ in range(draw(st.integers(1, 3))):
        _edit(params, draw)
    with io.StringIO() as text:
        YAML(typ="safe", pure=True).dump(params, text)
        return text.getvalue().encode("utf-8", errors="surrogatepass")


def _edit(params: dict[str, Any], draw: st.DrawFn) -> None:
    """Replaces, removes, renames, copies or adds one value."""
    chosen = random.Random(draw(st.integers(0, 2**32)))
    *parents, last = any_path(params, chosen) or [draw(st.sampled_from(KEYS))]
    container: Any = params
    for key in parents:
        container = container[key]
    kind = draw(st.sampled_from(["replace", "replace", "remove", "rename", "copy", "add"]))
    if kind == "remove" and (isinstance(container, list) or last in container):
        del container[last]
    elif kind == "rename" and isinstance(container, dict) and last in container:
        container[draw(st.sampled_from(KEYS))] = container.pop(last)
    elif kind == "copy":
        other: Any = params
        for key in any_path(params, chosen):
            other = other[key]
        container[last] = copy.deepcopy(other)
    elif kind == "add" and isinstance(container, dict):
        container[draw(st.sampled_from(KEYS))] = draw(values)
    else:
        container[last] = draw(values)


def refusal(path: Path, root: Path = ROOT) -> str | None:
    """The message that refuses a params file; None if it is valid.

    Any error but a ConcordError is raised.
    """
    try:
        completed = recipe.complete(read(path), root, path.name)
        completed.text(path.name)
        check.run(completed.params, root, path.name)
    except ConcordError as error:
        return str(error)
    return None
