"""Every recipe is valid once its sources and its model exist."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from concord.stage import plugins
from concord.stage.errors import ParamsError
from concord.stage.params import read
from concord.stage.paths import MINILM
from tasks import check

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def stand_in(params: dict[str, Any], root: Path) -> None:
    """Files that the recipe names: its templates and worlds, and stand-ins for data and models."""
    (root / "templates").symlink_to(ROOT / "templates")
    champion = root / params["gate"]["champion"]
    champion.parent.mkdir(parents=True, exist_ok=True)
    champion.write_text("{}", encoding="utf-8")
    model = params["model"]
    if model["revision"] is None:
        (root / model["name"]).mkdir(parents=True, exist_ok=True)
        (root / model["name"] / "config.json").write_text("{}", encoding="utf-8")
    if (params["evaluate"].get("judge") or {}).get("embeddings"):
        (root / MINILM).mkdir(parents=True)
        (root / MINILM / "config.json").write_text("{}", encoding="utf-8")
    for source in params["sources"].values():
        path, kept = root / source["path"], ROOT / source["path"]
        text = kept.read_text(encoding="utf-8") if source["path"].startswith("recipes/") else "{}"
        module = plugins.load("concord.annotations.formats", source["format"], "sources")
        files = module.files(path, source.get("options", {})) if hasattr(module, "files") else {}
        for file in files.values() or [path]:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid(path: Path, tmp_path: Path) -> None:
    params = read(path)
    stand_in(params, tmp_path)
    check.run(params, tmp_path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_missing_source_is_an_error(path: Path, tmp_path: Path) -> None:
    params = read(path)
    stand_in(params, tmp_path)
    name, source = next(iter(params["sources"].items()))
    path = tmp_path / source["path"]
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(ParamsError, match=rf"sources\.{name}\.path: \S+ does not exist"):
        check.run(params, tmp_path)


def test_a_judge_without_its_model_is_an_error(tmp_path: Path) -> None:
    params = read(ROOT / "recipes/smollm2-h100.yaml")
    stand_in(params, tmp_path)
    (tmp_path / MINILM / "config.json").unlink()
    with pytest.raises(ParamsError, match=r"evaluate\.judge\.embeddings: .*fetch minilm"):
        check.run(params, tmp_path)


def test_accelerate_reads_the_sharding_configuration() -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import DistributedType

    config = load_config_from_file(str(ROOT / "recipes/accelerate/fsdp.yaml"))
    assert config.distributed_type == DistributedType.FSDP
    assert config.fsdp_config["fsdp_transformer_layer_cls_to_wrap"] == "LlamaDecoderLayer"


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *RECIPES], ids=lambda path: path.stem)
def test_sections_do_not_share_weights(path: Path) -> None:
    """With a YAML alias, an edit of the evaluation weights would retrain a policy."""
    params = read(path)
    sections = [params["evaluate"], params["select"], *params["policies"].values()]
    inherited = [params["policies"].get("gdpo")]  # a copy of grpo except for one key
    weights = [
        entry["weights"] for entry in sections if entry.get("weights") and entry not in inherited
    ]
    assert len({id(entry) for entry in weights}) == len(weights)
