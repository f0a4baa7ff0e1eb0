"""Python versions, as far as they are installed, and paths with a space."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from concord.stage.closure import ROOT

NEWER = ["3.12", "3.13"]
ROOMS = ["concord", "tasks", "flows", "benchmarks", "docs", "tests"]
STANDARD = """
import ast, importlib, pathlib, sys
names = set()
for room in sys.argv[1:]:
    for file in pathlib.Path(room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {(alias.name, None) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names |= {(node.module, alias.name) for alias in node.names}
for module, name in names:
    if module.partition(".")[0] in sys.stdlib_module_names:
        loaded = importlib.import_module(module)
        assert name is None or hasattr(loaded, name), (module, name)
"""
"""Imports every module and name of the standard library that the project imports."""


def interpreter(version: str) -> str:
    """A Python of this version, on PATH or of pyenv; skips the test if there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    paths = [shutil.which(f"python{version}")]
    paths += sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python")))
    for path in filter(None, paths):
        if not subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode:
            return path
    pytest.skip(f"Python {version} is not installed")


@pytest.mark.parametrize("version", NEWER)
def test_newer_versions_compile_the_code(version: str, tmp_path: Path) -> None:
    """Without a warning, for example about an escape sequence that will be an error."""
    done = subprocess.run(
        [interpreter(version), "-W", "error", "-m", "compileall", "-q", "-f", *ROOMS],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", NEWER)
def test_newer_versions_have_what_is_imported(version: str) -> None:
    command = [interpreter(version), "-W", "error::DeprecationWarning", "-c", STANDARD, *ROOMS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_package_names_its_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11"
    named = {line.rpartition(" ")[2] for line in project["classifiers"] if "Python :: 3." in line}
    assert named == {"3.11", *NEWER}


def test_an_older_version_gets_a_sentence() -> None:
    older = interpreter("3.10")
    done = subprocess.run(
        [older, "-m", "tasks.check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("Concord needs Python 3.11 or later, and this is 3.10")
    done = make(ROOT, "install", f"PYTHON={older}", "--always-make")
    assert done.returncode
    assert f"Concord needs Python 3.11 or later, and {older} is 3.10" in done.stderr.splitlines()[0]


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_make_works_in_a_folder_with_a_space(tmp_path: Path) -> None:
    """A stand-in for the Python of .venv prints what it is called with."""
    project = tmp_path / "my project"
    (project / ".venv/bin").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, project / name)
    python = project / ".venv/bin/python"
    python.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; print(sys.argv[1:])" "$@"\n'
    )
    python.chmod(0o755)
    (project / ".venv/.installed").touch()
    done = make(project, "run", "RECIPE=recipes/my own.yaml", "SET=a.b=1")
    assert done.returncode == 0, done.stderr
    assert "['-m', 'flows.cli', 'run', 'recipes/my own.yaml', 'a.b=1']" in done.stdout
    assert "['-m', 'pytest'," in make(project, "test").stdout


def test_a_project_with_a_space_is_installed(tmp_path: Path) -> None:
    """`make install` with a Python that only notes what it is called with."""
    project = tmp_path / "my project"
    project.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, project / name)
    python = project / "a python"
    python.write_text(
        '#!/bin/sh\nmkdir -p .venv/bin; cp "$0" .venv/bin/python; echo "$@" >> calls\nexit 0\n'
    )
    python.chmod(0o755)
    done = make(project, "install", "PYTHON=./a python")
    assert done.returncode == 0, done.stderr
    calls = (project / "calls").read_text()
    assert "-m venv .venv" in calls
    assert "--editable .[dev]" in calls
    assert (project / ".venv/.installed").is_file()
