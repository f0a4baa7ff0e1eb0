"""The software and the machine that a release was made with."""

from __future__ import annotations

import platform
from importlib.metadata import distributions
from typing import Any

from concord.stage.paths import REPORTS

ENVIRONMENT = REPORTS / "environment.json"
"""Where a release has it. Written by `publish`, by no stage."""


def environment() -> dict[str, Any]:
    """Python, operating system, processor, and the version of every installed package."""
    packages = {item.metadata["Name"]: item.version for item in distributions()}
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "packages": dict(sorted(packages.items())),
    }
