"""Sets up the process of a stage: threads, seeds, determinism, quiet libraries, the device."""

import logging
import os
import random
import sys
from typing import TYPE_CHECKING

from concord.stage.errors import ParamsError
from concord.stage.params import Runtime

if TYPE_CHECKING:
    import torch

QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "DATASETS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it cuBLAS is not deterministic
}


def start(runtime: Runtime, seed: int) -> "torch.device":
    """Prepares this process for reproducible work and returns the device to work on."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import numpy
    import torch

    _quieten()
    torch.set_num_threads(runtime.threads)
    if torch.get_num_interop_threads() != 1:  # can be set only once, before any parallel work
        torch.set_num_interop_threads(1)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    device = _device(runtime.device)
    torch.use_deterministic_algorithms(
        True, warn_only=device.type != "cpu"
    )  # some CUDA kernels have no such form
    return device


def _quieten() -> None:
    """Libraries imported earlier have read their environment already."""
    for name in ("transformers", "datasets"):
        if name in sys.modules:
            logging.getLogger(name).setLevel(logging.ERROR)


def _device(name: str) -> "torch.device":
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ParamsError(
            f"runtime.device is {name!r}, which is no device; allowed: auto, cpu, cuda, cuda:0"
        ) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ParamsError(
            f"runtime.device is {name!r}, but torch sees no CUDA device here; use auto or cpu"
        )
    return device
