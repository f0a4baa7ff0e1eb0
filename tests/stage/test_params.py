"""Strict parsing of params.yaml: errors name the path of the key and the allowed values."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.objectives import Objective, domain_weights, objectives_of
from concord.stage.errors import ParamsError
from concord.stage.params import FORBID, load, read, section


@dataclass(frozen=True, config=FORBID)
class Inner:
    rate: float
    steps: int | None = None


@dataclass(frozen=True, config=FORBID)
class Outer:
    beta: Annotated[float, Field(gt=0)]
    training: Inner | None = None
    kind: Literal["a", "b"] = "a"
    heads: dict[str, Inner] | None = None
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.beta > 5:
            raise ValueError("beta above 5 diverges")


def test_values_are_parsed_with_their_types() -> None:
    given_ = {"beta": 1, "training": {"rate": 1e-4}, "heads": {"x": {"rate": 2}}, "layers": [1, 2]}
    assert section(Outer, given_, "p") == Outer(1.0, Inner(1e-4), "a", {"x": Inner(2.0)}, (1, 2))


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (
            {"betta": 1},
            r"p\.betta is an unknown key; did you mean beta\? allowed: beta, training, kind, ",
        ),
        ({}, r"p\.beta is missing"),
        ({"beta": "1"}, r"p\.beta: input should be a valid number \(given '1'\)"),
        ({"beta": True}, r"p\.beta: input should be a valid number"),
        ({"beta": float("nan")}, r"p\.beta: input should be a finite number"),
        ({"beta": float("inf")}, r"p\.beta: input should be a finite number"),
        ({"beta": -1}, r"p\.beta: input should be greater than 0"),
        ({"beta": 6}, r"p: beta above 5 diverges"),
        ({"beta": 1, "kind": "c"}, r"p\.kind: input should be 'a' or 'b'"),
        (
            {"beta": 1, "training": {"rate": 1, "stps": 2}},
            r"p\.training\.stps is an unknown key; did you mean steps\?",
        ),
        (
            {"beta": 1, "training": {"rate": 1, "steps": 2.5}},
            r"p\.training\.steps: input should be a valid integer",
        ),
        (
            {"beta": 1, "heads": {"x": {"rat": 1}}},
            r"p\.heads\.x\.rat is an unknown key; did you mean rate\?",
        ),
        (3, "p: input should be an object"),
        (None, "p: input should be an object"),
    ],
)
def test_an_error_names_the_path_of_the_key(given_: object, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        section(Outer, given_, "p")


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ParamsError) as caught:
        section(Outer, {"betta": 1, "kind": "c"}, "p")
    assert len(str(caught.value).splitlines()) == 3


def _write(folder: Path, text: str | bytes) -> Path:
    path = folder / "params.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_exponents_without_a_point_are_numbers(tmp_path: Path) -> None:
    """PyYAML (YAML 1.1) reads 1e-4 as text. DVC reads a number, and so must a stage."""
    assert read(_write(tmp_path, "a: 1e-4\nyes: on\n")) == {"a": 1e-4, "yes": "on"}


def test_anchors_and_merges_are_resolved(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n"
    assert read(_write(tmp_path, text))["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "not valid YAML.*duplicate key"),
        ("a: [1", "not valid YAML"),
        (b"a: \xff", "not UTF-8"),
        ("- 1\n", "must be a mapping of sections"),
        ("", "must be a mapping of sections"),
    ],
)
def test_a_file_that_is_not_a_mapping_is_rejected(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        read(_write(tmp_path, text))


def test_a_missing_file_and_a_missing_section_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError, match=r"params\.yaml does not exist"):
        load(Outer, "policies", "x")
    _write(tmp_path, "policies: {dpo: {beta: 1}}")
    assert load(Outer, "policies", "dpo") == Outer(1.0)
    with pytest.raises(
        ParamsError, match=r"policies\.dpoo is not in params\.yaml; did you mean dpo\?"
    ):
        load(Outer, "policies", "dpoo")


def test_an_objective_must_not_name_two_scorers() -> None:
    entry = {"domain": "math", "description": "right", "verifier": "math_answer", "reward": "math"}
    with pytest.raises(ParamsError, match=r"objectives\.x: names both of `verifier` and `reward`"):
        objectives_of({"objectives": {"x": entry}})


KNOWN = {
    "a": Objective("values", "", reward="r"),
    "b": Objective("values", "", reward="r"),
    "c": Objective("math", "", reward="r"),
    "all": Objective("values", "", reward="r", in_vector=False),
}


def test_weights_are_restricted_to_the_domain_and_sum_to_one() -> None:
    """Weights .2 and .6 become 1/4 and 3/4. The weight of another domain is ignored."""
    assert domain_weights({"c": 9.0, "b": 0.6, "a": 0.2}, KNOWN, "values") == pytest.approx(
        {"a": 0.25, "b": 0.75}
    )


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": -1.0}, r"weights\.a is -1\.0"),
        ({"a": float("nan")}, r"weights\.a is nan"),
        ({"a": float("inf")}, r"weights\.a is inf"),
        ({"d": 1.0}, r"weights\.d is a weight for an unknown objective"),
        ({"a": 0.0}, "all weights are 0"),
        ({"c": 1.0}, "no objective of domain values has a positive weight"),
        ({}, "no objective of domain values has a positive weight"),
    ],
)
def test_invalid_weights_are_rejected(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        domain_weights(weights, KNOWN, "values")


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.floats(0.001, 1e6), min_size=3))
def test_the_order_of_weights_does_not_matter(weights: dict[str, float]) -> None:
    reversed_weights = dict(reversed(weights.items()))
    assert domain_weights(weights, KNOWN, "values") == domain_weights(
        reversed_weights, KNOWN, "values"
    )
    assert sum(domain_weights(weights, KNOWN, "values").values()) == pytest.approx(1)
