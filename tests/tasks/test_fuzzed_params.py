"""A share of the fuzzed params files; `make torture` runs 1,000."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.tasks.fuzzed_params import RECIPES, ROOT, params_files, refusal


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed") / "params.yaml"


@given(content=params_files())
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_a_fuzzed_params_file_is_valid_or_refused_in_words(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    message = refusal(file)
    assert message is None or message.strip()


def test_the_recipes_that_are_damaged_are_valid_without_damage() -> None:
    assert ROOT / "recipes/tiny.yaml" in RECIPES
    assert refusal(ROOT / "recipes/tiny.yaml") is None
