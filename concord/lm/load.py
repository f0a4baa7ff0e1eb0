"""Loading tokenizers and models strictly, and turning messages into token ids.

Every weight that the architecture has must be in the checkpoint and the reverse; nothing is initialised anew without
being named. Weights are read from safetensors only, and code from a checkpoint is never run.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from concord.stage.errors import ModelError
from concord.stage.params import Model


def load_tokenizer(
    path: str | Path, chat_template: str | Path | None = None, revision: str | None = None
) -> Any:
    """The tokenizer saved at `path`, with the chat template in the file `chat_template` or its own."""
    from transformers import AutoTokenizer

    _demand(path, revision)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(path), revision=revision, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} holds no tokenizer that can be loaded: {_first_line(error)}"
        ) from error
    if chat_template is not None:
        tokenizer.chat_template = Path(chat_template).read_text(encoding="utf-8")
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer at {path} has no end-of-sequence token, so no response could end; set one"
        )
    if tokenizer.chat_template is None:
        raise ModelError(
            f"the tokenizer at {path} has no chat template; name a file in model.chat_template"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _demand(path: str | Path, revision: str | None) -> None:
    """Raises ModelError where a model that is not on the hub (which needs a revision) is not on the disk either."""
    if revision is None and not Path(path).exists():
        raise ModelError(
            f"{path} is not there; `dvc repro` makes it, `dvc checkout` brings back what was made here before"
        )


def base_tokenizer(model: Model) -> Any:
    """The base model's tokenizer with the recipe's one chat template. Raises ModelError for one without offsets."""
    tokenizer = load_tokenizer(model.name, model.chat_template, model.revision)
    demand_offsets(tokenizer)
    return tokenizer


def demand_offsets(tokenizer: Any) -> None:
    """Raises ModelError for a tokenizer that is not of the library tokenizers: steps are read by places of tokens."""
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer at {tokenizer.name_or_path} is a {type(tokenizer).__name__}, which does not say where its "
            "tokens stand in a text, so process rewards could not find the ends of steps; give a checkpoint that holds "
            "a tokenizer.json, or convert its tokenizer to one"
        )


def load_base(model: Model, device: Any = "cpu", dtype: str = "float32") -> Any:
    """The base causal language model, in evaluation mode."""
    return load_causal(model.name, device, dtype, revision=model.revision)


def load_causal(
    path: str | Path, device: Any = "cpu", dtype: str = "float32", **kwargs: Any
) -> Any:
    """A stock causal language model, in evaluation mode. Raises ModelError where the weights do not fit."""
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
    """`auto_class.from_pretrained(path, **kwargs)` where every weight must fit.

    `new` names weights that the checkpoint may lack (a head to be trained; drawn from `seed`, the global generator is
    left alone), `unused` those that it may have over (the language model head under a reward model).
    """
    import torch

    _demand(path, kwargs.get("revision"))
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
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path} cannot be loaded as {auto_class.__name__}: {_first_line(error)}"
        ) from error
    _demand_fit(path, model, info, set(new), set(unused))
    return model.to(device).eval()


def _demand_fit(
    path: str | Path, model: Any, info: dict[str, Any], new: set[str], unused: set[str]
) -> None:
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    missing = set(info["missing_keys"]) - new - tied
    unexpected = set(info["unexpected_keys"]) - unused
    mismatched = {str(item) for item in info["mismatched_keys"]}
    problems = {
        "lacks": missing,
        "has no place for": unexpected,
        "has another shape for": mismatched,
    }
    found = [
        f"{what} {', '.join(sorted(keys)[:5])} ({len(keys)})"
        for what, keys in problems.items()
        if keys
    ]
    if found:
        raise ModelError(
            f"the checkpoint at {path} does not fit {type(model).__name__}: {'; '.join(found)}. "
            "Weights would be left at random values; give a checkpoint of this architecture"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
