"""Strict loading of tokenizers and models.

The weights of a checkpoint must match the architecture exactly; only weights that the caller names
may be initialised at random. Weights are read from safetensors files only. Code in a checkpoint is
never run.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from concord.stage.errors import ModelError
from concord.stage.params import Model

DAMAGED = (OSError, ValueError, RuntimeError, TypeError, LookupError, AttributeError)
"""What `transformers` raises for a folder with a missing or damaged file."""
INDEX = "model.safetensors.index.json"


def load_tokenizer(
    path: str | Path, chat_template: str | Path | None = None, revision: str | None = None
) -> Any:
    """The tokenizer at `path`, with the chat template in the file `chat_template` if given.

    Raises ModelError if there is no tokenizer, no end-of-sequence token or no chat template.
    """
    from transformers import AutoTokenizer

    _require_local_path(path, revision)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(path), revision=revision, trust_remote_code=False
        )
    except DAMAGED as error:
        raise ModelError(
            f"the folder {path} has no tokenizer that can be loaded: {_first_line(error)}; copy or "
            "make it again"
        ) from error
    if chat_template is not None:
        tokenizer.chat_template = Path(chat_template).read_text(encoding="utf-8")
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer at {path} has no end-of-sequence token, so responses would never end; "
            "set eos_token in its tokenizer_config.json"
        )
    if tokenizer.chat_template is None:
        raise ModelError(
            f"the tokenizer at {path} has no chat template; name a file in model.chat_template"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _require_local_path(path: str | Path, revision: str | None) -> None:
    """Raises ModelError if a model without a revision (so not on the Hub) is not on disk."""
    if revision is None and not Path(path).exists():
        raise ModelError(
            f"{path} does not exist; create it with `dvc repro`, or restore it with `dvc checkout`"
        )


def _require_shards(path: Path) -> None:
    """Raises ModelError unless every file that the index of a folder lists is in the folder."""
    if not (path / INDEX).is_file():
        return
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
        names = sorted({str(name) for name in index["weight_map"].values()})
    except (ValueError, TypeError, LookupError, AttributeError):
        raise ModelError(
            f"{path / INDEX} is no list of weights; copy or make the folder again"
        ) from None
    if outside := [name for name in names if Path(name).name != name]:
        raise ModelError(
            f"{path / INDEX} lists {outside[0]}, which is not in its folder; files elsewhere are "
            "not read: put all shards into the folder"
        )
    if missing := [name for name in names if not (path / name).is_file()]:
        raise ModelError(
            f"{path} lacks {len(missing)} of the {len(names)} shards in {INDEX}: "
            f"{', '.join(missing[:5])}; copy the missing files, or make the folder again"
        )


def base_tokenizer(model: Model) -> Any:
    """The base model's tokenizer with the chat template of the recipe.

    Raises ModelError if the tokenizer cannot return character offsets.
    """
    tokenizer = load_tokenizer(model.name, model.chat_template, model.revision)
    require_offsets(tokenizer)
    return tokenizer


def require_offsets(tokenizer: Any) -> None:
    """Raises ModelError unless the tokenizer is a fast one, which returns character offsets.

    Process rewards need the offsets to find the last token of each step.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer at {tokenizer.name_or_path} is a {type(tokenizer).__name__}, which "
            "returns no character offsets, so process rewards cannot find the ends of steps; use a "
            "checkpoint with a tokenizer.json, or convert its tokenizer"
        )


def load_base(model: Model, device: Any = "cpu", dtype: str = "float32") -> Any:
    """The base causal language model, in evaluation mode."""
    return load_causal(model.name, device, dtype, revision=model.revision)


def load_causal(
    path: str | Path, device: Any = "cpu", dtype: str = "float32", **kwargs: Any
) -> Any:
    """A stock causal language model, in evaluation mode.

    Raises ModelError if the weights do not match the architecture.
    """
    from transformers import AutoModelForCausalLM

    return load_strictly(AutoModelForCausalLM, path, device, dtype, **kwargs)


def load_strictly(
    auto_class: Any,
    path: str | Path,
    device: Any = "cpu",
    dtype: str = "float32",
    *,
    new: Collection[str] = (),
    unused: Collection[str] = (),
    seed: int = 0,
    **kwargs: Any,
) -> Any:
    """`auto_class.from_pretrained(path, **kwargs)`, in evaluation mode, with checked weights.

    Args:
        new: weights that may be missing from the checkpoint, such as a head that is yet to be
            trained. They are initialised from `seed`; the global random generator is not changed.
        unused: weights that the checkpoint may have in addition, such as the language model head
            under a reward model.

    Raises ModelError if any other weight is missing, unexpected or of another shape.
    """
    import torch
    from safetensors import SafetensorError

    _require_local_path(path, kwargs.get("revision"))
    _require_shards(Path(path))
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model, info = auto_class.from_pretrained(
                str(path),
                output_loading_info=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=getattr(torch, dtype),
                **kwargs,
            )
    except (SafetensorError, *DAMAGED) as error:
        raise ModelError(
            f"{path} cannot be loaded as {auto_class.__name__}: {_first_line(error)}; copy or make "
            "it again"
        ) from error
    _check_weights(path, model, info, set(new), set(unused))
    return model.to(device).eval()


def _check_weights(
    path: str | Path, model: Any, info: dict[str, Any], new: set[str], unused: set[str]
) -> None:
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    names = {
        "missing": set(info["missing_keys"]) - new - tied,
        "unexpected": set(info["unexpected_keys"]) - unused,
        "of another shape": {str(item) for item in info["mismatched_keys"]},
    }
    problems = [
        f"{len(keys)} {problem}: {', '.join(sorted(keys)[:5])}"
        for problem, keys in names.items()
        if keys
    ]
    if problems:
        raise ModelError(
            f"the checkpoint at {path} does not fit {type(model).__name__}: weights "
            f"{'; '.join(problems)}. These weights would stay random; use a checkpoint of this "
            "architecture"
        )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
