"""Strict parsing of params.yaml.

A stage's parameters are a frozen pydantic dataclass in the stage's own file:

    @dataclass(frozen=True, config=FORBID)      # pydantic.dataclasses.dataclass
    class Params: ...

    params = load(Params, "prepare")

Values are never coerced: "3" is not a number. Unknown keys are rejected with their path and the
allowed keys. Floats must be finite. The file is parsed as YAML 1.2, as DVC does, so both read the
same values (1e-4 is a number).
"""

import copy
import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from concord.stage.errors import ParamsError

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What the YAML parser raises for values such as the date 2026-13-45, and for deep nesting."""
MOST_VALUES = 100_000
"""A params file with more values is refused."""
FORBID = ConfigDict(extra="forbid", allow_inf_nan=False)
T = TypeVar("T")
Dtype = typing.Literal["float32", "bfloat16"]
"""Data types of weights."""
Tracker = typing.Literal["tensorboard", "wandb", "mlflow", "trackio"]
"""Services that Transformers' Trainer can send training logs to."""


@dataclass(frozen=True, config=FORBID)
class Seeds:
    """Random seeds."""

    data: Annotated[int, Field(ge=0)] = 0
    """Seed for generating, splitting and ordering data."""
    sampling: Annotated[int, Field(ge=0)] = 0
    """Seed for sampling from models."""


@dataclass(frozen=True, config=FORBID)
class Runtime:
    """Hardware settings of a stage."""

    threads: Annotated[int, Field(ge=1)] = 1
    """CPU threads per stage. Another number changes the results in the last bits."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto` (`cuda` if available, else `cpu`). The flow selects the GPU through
    the environment variable CUDA_VISIBLE_DEVICES."""
    dtype: Dtype = "float32"
    """Data type of computations. With `bfloat16`, a model in training keeps its parameters in
    float32 and its matrix products are bfloat16; only action heads compute in float32. Models are
    saved in float32. A model in use is loaded in bfloat16, apart from the action heads and their
    adapters."""
    report_to: list[Tracker] = Field(default_factory=list)
    """Where the logs of every training stage are sent too: `tensorboard` (to work/tensorboard),
    `wandb`, `mlflow`, `trackio`. Each must be installed, and reads its own environment variables.
    Training curves are always in reports/curves."""


@dataclass(frozen=True, config=FORBID)
class Model:
    """The base model."""

    name: str
    """Local folder, or the ID of a model on the Hugging Face Hub."""
    revision: str | None
    """Commit of a Hub model (40 hexadecimal digits); null for a local folder."""
    files: str
    """Path that the stages depend on: the local folder, or for a Hub model any local file."""
    chat_template: str
    """Path of the Jinja chat template. All stages use this template."""
    max_length: Annotated[int, Field(ge=8)] = 512
    """Maximum sequence length in tokens, prompt and response together."""


def read(path: str | Path = "params.yaml") -> dict[str, Any]:
    """Reads the file into plain dicts and lists. Raises ParamsError if it is not a YAML mapping."""
    try:
        params = copy.deepcopy(_parsed(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist; run from the root of the project") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (YAMLError, *MALFORMED) as error:
        reason = " ".join(str(error).split())
        raise ParamsError(f"{path} is not valid YAML: {reason}; correct it") from None
    if not isinstance(params, dict):
        raise ParamsError(f"{path} must be a mapping of sections, but is {type(params).__name__}")
    if _is_larger(params, MOST_VALUES):
        raise ParamsError(
            f"{path} has more than {MOST_VALUES} values, because an alias (*name) contains itself "
            "or repeats too much; write the values without the alias"
        )
    return params


@lru_cache(maxsize=4)
def _parsed(text: str) -> Any:
    """The parsed text. A stage reads the same file once per section, and parsing takes 0.1 s."""
    return YAML(typ="safe", pure=True).load(text)


def _is_larger(value: Any, most: int) -> bool:
    """Whether there are more than `most` values inside of a value, each alias counted in full."""
    waiting, count = [value], 0
    while waiting and count + len(waiting) <= most:
        inner, count = waiting.pop(), count + 1
        if isinstance(inner, dict):
            waiting.extend(inner.values())
        elif isinstance(inner, list):
            waiting.extend(inner)
    return bool(waiting)


def load(cls: type[T], *keys: str) -> T:
    """The section of params.yaml at `keys`, validated as `cls`. Raises ParamsError."""
    value: Any = read()
    for depth, key in enumerate(keys):
        where = ".".join(keys[: depth + 1])
        if not isinstance(value, Mapping) or key not in value:
            allowed = list(value) if isinstance(value, Mapping) else []
            raise ParamsError(f"{where} is not in params.yaml; {suggest(key, allowed)}")
        value = value[key]
    return section(cls, value, ".".join(keys))


def section(cls: type[T], mapping: Any, where: str) -> T:
    """`mapping`, validated as `cls`.

    Raises ParamsError with one line per problem; each line starts with the path of the key.
    """
    try:
        # In strict mode pydantic accepts mappings for dataclasses only from JSON. All YAML values
        # exist in JSON, except dates, which become text.
        validated: T = TypeAdapter(cls).validate_json(json.dumps(mapping, default=str), strict=True)
        return validated
    except ValidationError as error:
        lines = [_explain(cls, problem, where) for problem in error.errors(include_url=False)]
        raise ParamsError("\n".join(dict.fromkeys(lines))) from None
    except ParamsError as error:
        raise ParamsError(f"{where}: {error}") from None


def mapping_of(cls: type[T], params: Mapping[str, Any], key: str) -> dict[str, T]:
    """The section `key`, a non-empty mapping from names to `cls`. Raises ParamsError."""
    entries = params.get(key)
    if not isinstance(entries, Mapping) or not entries:
        raise ParamsError(f"{key} must be a mapping with at least one name, but is {entries!r}")
    return {str(name): section(cls, entry, f"{key}.{name}") for name, entry in entries.items()}


def _explain(cls: type, problem: Any, where: str) -> str:
    keys = [str(part) for part in problem["loc"]]
    owner, path = _owner(cls, keys)
    full = ".".join([where, *path])
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{full} is an unknown key; {suggest(keys[-1], owner)}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"{full} is missing; add it"
    if problem["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return f"{full}.{_explain_tag(problem['ctx'])}"
    reason = problem["msg"].removeprefix("Value error, ")
    given = "" if isinstance(problem["input"], dict) else f" (given {problem['input']!r})"
    return f"{full}: {reason[0].lower()}{reason[1:]}{given}"


def _explain_tag(context: Mapping[str, str]) -> str:
    """What is wrong with the key that decides which dataclass of a union is meant."""
    key = context["discriminator"].strip("'")
    if "tag" not in context:
        return f"{key} is missing; add it"
    allowed = [tag.strip("'") for tag in context["expected_tags"].split(", ")]
    return f"{key} {context['tag']!r} is unknown; {suggest(context['tag'], allowed)}"


def _owner(cls: Any, keys: list[str]) -> tuple[list[str], list[str]]:
    """The keys allowed in place of the last of `keys`; `keys` without names of union members."""
    path: list[str] = []
    allowed: list[str] = []
    current = [cls]
    for key in keys:
        classes = [c for c in current if dataclasses.is_dataclass(c)]
        if any(key in _labels(c) for c in current):  # a member of a union, not a key
            current = [c for c in current if key in _labels(c)]
            continue
        allowed = [field.name for c in classes for field in dataclasses.fields(c)]
        hints = {name: hint for c in classes for name, hint in typing.get_type_hints(c).items()}
        values = [
            args[-1]
            for c in current
            if (args := typing.get_args(c)) and typing.get_origin(c) in (dict, list)
        ]
        current = (
            _members(hints[key])
            if key in hints
            else [m for value in values for m in _members(value)]
        )
        path.append(key)
    return allowed, path


def _labels(cls: Any) -> set[Any]:
    """How pydantic calls a member of a union: by its name, or by the value of a literal field."""
    literals: set[Any] = set()
    if dataclasses.is_dataclass(cls):
        for hint in typing.get_type_hints(cls).values():
            if typing.get_origin(hint) is typing.Literal:
                literals |= {*typing.get_args(hint)}
    return literals | {getattr(cls, "__name__", "")}


def _members(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [member for arg in typing.get_args(hint) for member in _members(arg)]
    return [hint]


def suggest(key: str, allowed: list[str]) -> str:
    """A hint for an unknown key: the closest allowed key, if any, and all allowed keys.

    Examples:
        >>> suggest("helful", ["helpful", "honest"])
        'did you mean helpful? allowed: helpful, honest'
    """
    close = difflib.get_close_matches(key, allowed, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"{meant}allowed: {', '.join(allowed) or 'nothing'}"
