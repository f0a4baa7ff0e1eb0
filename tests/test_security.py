"""Code in models and params files never runs, nothing leaves its folder, and no secret is shown.

See also tests/flows/test_clone.py (the folder of a clone) and
tests/rewards/process/test_judges.py (the key of a judge's server).
"""

import contextlib
import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from prefect.settings import PREFECT_API_URL, temporary_settings
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from concord.annotations.files import objects
from concord.lm.load import INDEX, load_causal, load_strictly, load_tokenizer
from concord.release.repository import ReleaseError, Repository
from concord.rewards.outcome.probe import load_heads, weights_hash
from concord.rewards.process.judging import judge_params
from concord.stage.errors import DataError, ModelError, ParamsError
from concord.stage.params import MOST_VALUES, read
from flows import recipe, terminal
from tasks import check

ROOT = Path(__file__).resolve().parents[1]
SECRET = "sk-canary-0123456789abcdef"


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


Damage = Callable[[Path, Evil], None]


def pickled_weights(model: Path, evil: Evil) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(evil))


def pickle_named_safetensors(model: Path, evil: Evil) -> None:
    (model / "model.safetensors").write_bytes(pickle.dumps(evil))


def torch_file_named_safetensors(model: Path, evil: Evil) -> None:
    torch.save({"weight": evil}, model / "model.safetensors")


def pickled_adapter(model: Path, evil: Evil) -> None:
    adapter = {"peft_type": "LORA", "r": 2, "base_model_name_or_path": str(model)}
    (model / "adapter_config.json").write_text(json.dumps(adapter))
    (model / "adapter_model.bin").write_bytes(pickle.dumps(evil))


def code_beside_the_model(model: Path, evil: Evil) -> None:
    (model / "evil.py").write_text(f"import os\nos.mkdir({str(evil.file)!r})\n")
    config = json.loads((model / "config.json").read_text())
    names = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    changed = {**config, "model_type": "evil", "auto_map": names}
    (model / "config.json").write_text(json.dumps(changed))


def code_beside_the_tokenizer(model: Path, evil: Evil) -> None:
    code_beside_the_model(model, evil)
    settings = json.loads((model / "tokenizer_config.json").read_text())
    changed = {**settings, "tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.T"] * 2}}
    (model / "tokenizer_config.json").write_text(json.dumps(changed))


@pytest.mark.parametrize(
    "damage",
    [
        pickled_weights,
        pickle_named_safetensors,
        torch_file_named_safetensors,
        pickled_adapter,
        code_beside_the_model,
        code_beside_the_tokenizer,
    ],
)
def test_code_in_a_model_folder_is_refused_and_never_runs(
    model: Path, tmp_path: Path, damage: Damage
) -> None:
    evil = Evil(tmp_path / "executed")
    damage(model, evil)
    loaders: list[Callable[[], Any]] = [
        lambda: load_causal(model),
        lambda: load_strictly(AutoModelForSequenceClassification, model, new={"score.weight"}),
    ]
    if damage is code_beside_the_tokenizer:
        loaders.append(lambda: load_tokenizer(model))
    for load in loaders:
        with pytest.raises(ModelError, match=r"cannot be loaded|can be loaded"):
            load()
    assert not evil.file.exists()


def test_pickled_heads_are_refused_and_never_run(model: Path, tmp_path: Path) -> None:
    evil, folder = Evil(tmp_path / "executed"), tmp_path / "probe"
    folder.mkdir()
    (folder / "heads.safetensors").write_bytes(pickle.dumps(evil))
    entry = {"backbone": "../model", "backbone_hash": weights_hash(model), "layers": [1]}
    (folder / "probe.json").write_text(json.dumps(entry))
    with pytest.raises(ModelError, match=r"heads in .* cannot be read"):
        load_heads(folder, "cpu")
    assert not evil.file.exists()


def shards(model: Path) -> dict[str, str]:
    """Splits the weights in two files; returns weight -> file."""
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    parts = sorted(weights)[::2], sorted(weights)[1::2]
    files = {}
    for number, names in enumerate(parts):
        file = f"model-0000{number + 1}-of-00002.safetensors"
        save_file({name: weights[name] for name in names}, model / file, {"format": "pt"})
        files |= dict.fromkeys(names, file)
    (model / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return files


def test_a_missing_shard_is_named(model: Path) -> None:
    shards(model)
    assert load_causal(model)
    (model / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks 1 of the 2 shards .*: model-00002-of-00002"):
        load_causal(model)


def test_a_shard_outside_of_its_folder_is_refused(model: Path) -> None:
    files = shards(model)
    (model / "model-00002-of-00002.safetensors").rename(model.parent / "other.safetensors")
    outside = {
        name: file.replace("model-00002-of-00002", "../other") for name, file in files.items()
    }
    (model / INDEX).write_text(json.dumps({"weight_map": outside}))
    with pytest.raises(ModelError, match=r"lists \.\./other\.safetensors, which is not in its"):
        load_causal(model)


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", "{", '{"weight_map": 3}'])
@pytest.mark.parametrize("name", ["config.json", INDEX, "tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_file_of_a_model_is_one_error(model: Path, name: str, content: str) -> None:
    (model / name).write_text(content)
    load: Any = load_tokenizer if name.startswith("tokenizer") else load_causal
    with pytest.raises(ModelError):
        load(model)


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_truncated_weights_are_one_error(model: Path, size: int) -> None:
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[:size])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_causal(model)


YAML_BOMBS = {
    "an alias within itself": "seeds: &a {data: *a}\n",
    "a billion values": "".join(
        f"v{level}: &v{level} [{', '.join([f'*v{level - 1}'] * 9) if level else 'x'}]\n"
        for level in range(10)
    ),
    "deep nesting": "a: " + "[" * 1500,
    "Python code": "a: !!python/object/apply:os.mkdir [executed]\n",
    "a wrong date": "a: 2026-13-45\n",
    "a wrong number": "a: !!int x\n",
    "a wrong truth value": "a: !!bool x\n",
    "a very long number": f"a: {'9' * 5000}\n",
}


@pytest.mark.parametrize("name", YAML_BOMBS)
def test_a_hostile_params_file_is_refused_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(YAML_BOMBS[name])
    reason = "alias" if name.startswith(("an alias", "a billion")) else "not valid YAML"
    with pytest.raises(ParamsError, match=reason):
        read()
    assert not (tmp_path / "executed").exists()


def test_no_recipe_is_near_the_largest_number_of_values() -> None:
    assert len(json.dumps(read(ROOT / "params.yaml"), default=str)) < MOST_VALUES / 4


@pytest.mark.parametrize("verifier", ["subprocess:call", "builtins:exec", "shutil:rmtree"])
def test_a_verifier_that_is_not_of_the_project_is_refused(verifier: str) -> None:
    """It would be called with what a model wrote."""
    params = recipe.complete(read(ROOT / "recipes/tiny.yaml"), ROOT).params
    params["objectives"]["math_accuracy"]["verifier"] = verifier
    with pytest.raises(ParamsError, match=r"verifier: .* is not in a file of this project"):
        check.run(params, ROOT)


def tar_with_a_path_outside() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../outside.jsonl"))
    return content.getvalue()


def zip_with_a_path_outside() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("../../outside.jsonl", "{}")
    return content.getvalue()


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.csv", "rows.parquet"])
@pytest.mark.parametrize("archive", [tar_with_a_path_outside, zip_with_a_path_outside])
def test_an_archive_is_never_unpacked(
    archive: Callable[[], bytes], name: str, tmp_path: Path
) -> None:
    inside = tmp_path / "one/two"
    inside.mkdir(parents=True)
    (inside / name).write_bytes(archive())
    with contextlib.suppress(DataError):
        assert all(record.row is None for record in objects(inside / name))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [name]


JUDGE = {"rubric": "Is it kind?", "model": "judge", "endpoint": "http://localhost:1/v1"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"key": SECRET}, "key is not the name of an environment variable"),
        ({"key": SECRET.replace("-", "")}, "key is not the name of an environment variable"),
        ({"endpoint": f"https://me:{SECRET}@host/v1"}, "endpoint has a user name, a password"),
        ({"endpoint": f"https://host/v1?key={SECRET}"}, "endpoint has a user name, a password"),
        ({"endpoint": f"me:{SECRET}@host/v1"}, "endpoint is not a URL"),
    ],
)
def test_a_secret_in_params_is_refused_and_not_repeated(change: dict[str, str], what: str) -> None:
    with pytest.raises(ParamsError, match=what) as refused:
        judge_params({**JUDGE, **change}, "process_labels.judges.tutor")
    assert "canary" not in str(refused.value)


def test_no_message_shows_the_login_of_an_address() -> None:
    address = f"https://me:{SECRET}@127.0.0.1:1"
    with (
        temporary_settings({PREFECT_API_URL: f"{address}/api"}),
        pytest.raises(terminal.ServerError, match=r"https://\*\*\*@127\.0\.0\.1:1/api") as refused,
        terminal.server(),
    ):
        pass
    assert SECRET not in str(refused.value)


def test_no_message_of_git_shows_the_login_of_a_remote(tmp_path: Path) -> None:
    repository = Repository(tmp_path, "origin")
    repository.git("init", "--quiet")
    repository.git("remote", "add", "origin", f"https://me:{SECRET}@127.0.0.1:1/x.git")
    with pytest.raises(ReleaseError) as refused:
        repository.push({"refs/heads/released": "HEAD"})
    assert SECRET not in str(refused.value)
    with pytest.raises(ReleaseError) as refused:
        repository.fetch()
    assert SECRET not in str(refused.value)
