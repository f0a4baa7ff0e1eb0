"""Process setup of a stage: threads, seeds, determinism, log levels, device."""

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
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # required by cuBLAS for determinism
}


def start(runtime: Runtime, seed: int) -> "torch.device":
    """Sets threads, seeds and determinism for this process; returns the device to use."""
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
    # On CUDA only a warning: some kernels have no deterministic implementation. Unlike
    # use_deterministic_algorithms, this does not import the compiler, which takes a second.
    torch.set_deterministic_debug_mode("error" if device.type == "cpu" else "warn")
    # By default, determinism also fills all new memory, which makes elementwise operations up to
    # twice as slow. It only matters to code that reads memory before writing it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return device


def _quieten() -> None:
    """Lowers the log level of libraries that were imported before `QUIET` was set."""
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
            f"runtime.device: {name!r} is not a device; allowed: auto, cpu, cuda, cuda:0"
        ) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ParamsError(
            f"runtime.device is {name!r}, but PyTorch finds no CUDA device; use auto or cpu"
        )
    return device
