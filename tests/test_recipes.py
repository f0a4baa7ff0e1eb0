"""Every recipe is a params file that can work, once its sources and its model are there."""

from pathlib import Path
from typing import Any

import pytest

from tasks import check
from tasks.stage.errors import ParamsError
from tasks.stage.params import read

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def stand_in(params: dict[str, Any], root: Path) -> None:
    """What the recipe names: templates as they are, a file for each source, a folder for a local model."""
    (root / "templates").symlink_to(ROOT / "templates")
    model = params["model"]
    if model["revision"] is None:
        (root / model["name"]).mkdir(parents=True)
        (root / model["name"] / "config.json").write_text("{}", encoding="utf-8")
    for source in params["sources"].values():
        path = root / source["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}", encoding="utf-8")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_can_work(path: Path, tmp_path: Path) -> None:
    params = read(path)
    stand_in(params, tmp_path)
    check.run(params, tmp_path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_without_its_sources_it_cannot(path: Path, tmp_path: Path) -> None:
    params = read(path)
    stand_in(params, tmp_path)
    name, source = next(iter(params["sources"].items()))
    (tmp_path / source["path"]).unlink()
    with pytest.raises(ParamsError, match=rf"sources\.{name}\.path: \S+ is not there"):
        check.run(params, tmp_path)
