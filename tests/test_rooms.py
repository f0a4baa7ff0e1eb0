"""The packages of the project: which may import which, and unique names."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from concord.stage import plugins
from concord.stage.closure import ROOT

ORDER = [
    "stage",
    "objectives",
    "lm",
    "sandbox",
    "annotations",
    "prepared",
    "rewards",
    "policies",
    "steering",
    "evaluation",
    "report",
    "release",
]
"""Packages of `concord`, from the bottom up: each may import itself and the packages before it."""
ANYWHERE = {"code", "references", "completion"}
"""Modules of `concord` that only `check` and `flows` use. They may import every package."""
SUBPACKAGES = {
    "rewards": ["verifiers", "outcome", "process", "vector"],
    "evaluation": ["policies", "rewards"],
}
"""Subpackages with the same rule. `evaluation.metrics` is below both of its neighbours."""
LIBRARY = sorted((ROOT / "concord").rglob("*.py"))
EVERYTHING = [
    *LIBRARY,
    *sorted((ROOT / "tasks").glob("*.py")),
    *sorted((ROOT / "flows").glob("*.py")),
]


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imported(file: Path) -> set[str]:
    """Modules of this project that a file imports, including imports in functions and for types."""
    modules = set()
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.ImportFrom):
            assert node.module, f"{file}:{node.lineno}: a relative import"
            assert not node.level, f"{file}:{node.lineno}: a relative import"
            modules |= {
                node.module,
                *(
                    f"{node.module}.{alias.name}"
                    for alias in node.names
                    if (ROOT / f"{node.module.replace('.', '/')}/{alias.name}.py").is_file()
                ),
            }
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    projects = ("concord", "tasks", "flows", "benchmarks", "tests")
    return {module for module in modules if module.partition(".")[0] in projects}


def package(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


def test_packages_import_only_themselves_and_lower_packages() -> None:
    bad = []
    for file in LIBRARY:
        here = module_of(file)
        outside = {module for module in imported(file) if not module.startswith("concord")}
        if outside:
            bad.append(f"{here} is library code and imports {sorted(outside)}")
        if package(here) in ANYWHERE or not package(here):
            continue
        allowed = ORDER[: ORDER.index(package(here)) + 1]
        up = {each for each in imported(file) if package(each) and package(each) not in allowed}
        if up:
            bad.append(f"{here} imports {sorted(up)}, which is above it; allowed: {allowed}")
    assert not bad, "\n".join(bad)


def test_every_package_is_listed() -> None:
    packages = {
        path.name for path in (ROOT / "concord").iterdir() if (path / "__init__.py").is_file()
    }
    packages |= {path.stem for path in (ROOT / "concord").glob("*.py")} - {"__init__"}
    assert packages == {*ORDER, *ANYWHERE}


@pytest.mark.parametrize("outer", SUBPACKAGES)
def test_subpackages_import_in_order(outer: str) -> None:
    order = SUBPACKAGES[outer]
    for file in (file for file in LIBRARY if package(module_of(file)) == outer):
        inner = module_of(file).split(".")[2] if module_of(file).count(".") > 2 else None
        for module in imported(file):
            parts = module.split(".")
            if inner in order and parts[1] == outer and len(parts) > 2 and parts[2] in order:
                assert order.index(parts[2]) <= order.index(inner), (
                    f"{module_of(file)} imports {module}"
                )


def test_there_are_no_circular_imports() -> None:
    """Imports under TYPE_CHECKING are ignored, because they never run."""
    graph = {module_of(file): run_time(file) for file in EVERYTHING}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done and module in graph:
            for target in graph[module]:
                visit(target, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@cache
def run_time(file: Path) -> set[str]:
    """Imports at the top of a file, without those under TYPE_CHECKING."""
    modules = set()
    for node in tree_of(file).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return modules - {module_of(file)}


def test_module_names_are_unique() -> None:
    """No two modules of the library have the same name, except plugins."""
    modules_by_name = defaultdict(list)
    for file in LIBRARY:
        module = module_of(file)
        if file.stem != "__init__" and module.rpartition(".")[0] not in plugins.PACKAGES:
            modules_by_name[file.stem].append(module)
    assert not {name: modules for name, modules in modules_by_name.items() if len(modules) > 1}


def test_names_of_parameter_classes_are_unique() -> None:
    names = defaultdict(list)
    for file in EVERYTHING:
        for node in tree_of(file).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith(("Params", "Job")):
                names[node.name].append(module_of(file))
    assert not {name: modules for name, modules in names.items() if len(modules) > 1}
    assert "Params" not in names


def test_paths_of_outputs_are_defined_once() -> None:
    """Only concord/stage/paths.py contains them; docstrings and messages may mention them."""
    outs = re.compile(
        r"(models/(sft|rewards|process_reward|policies|aligned|anchors\.json)|data/(prepared|rollouts|process_labels|ingested|code)|reports)(/\S*)?"
    )
    literals = []
    for file in EVERYTHING:
        if module_of(file) == "concord.stage.paths":
            continue
        for node in ast.walk(tree_of(file)):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and outs.fullmatch(node.value)
            ):
                literals.append(f"{file.relative_to(ROOT)}:{node.lineno}: {node.value}")
    assert not literals


def test_tasks_has_no_subfolders() -> None:
    assert not [
        path for path in (ROOT / "tasks").iterdir() if path.is_dir() and path.name != "__pycache__"
    ]


def test_no_method_is_named_outside_its_file() -> None:
    """Docstrings may mention a method as an example; code may not."""
    methods = set(plugins.names("concord.policies.methods")) - {"reference", "dpo"}
    for file in EVERYTHING:
        nodes = ast.walk(tree_of(file))
        values = {node.value for node in nodes if isinstance(node, ast.Constant)}
        named = values & methods - {file.stem}
        assert not named, f"{file} knows the methods {sorted(named)}"


HEAVY = {
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "pandas", "scipy", "sklearn",
    "matplotlib", "pyarrow", "pandera", "krippendorff", "datasketch", "moocore", "math_verify",
    "httpx",
    "jinja2", "prefect", "dvc",
}  # fmt: skip
"""Packages whose import takes a tenth of a second or more."""


def heavy(file: Path, seen: set[Path]) -> bool:
    """Whether importing a file imports a heavy package, directly or through this project."""
    if file in seen or not file.is_file():
        return False
    seen.add(file)
    for module in run_time(file):
        if module.partition(".")[0] in HEAVY:
            return True
        if heavy(ROOT / f"{module.replace('.', '/')}.py", seen):
            return True
    return False


def test_imports_in_functions_shorten_the_start_up() -> None:
    """A module of this project is imported in a function only if it imports a heavy package."""
    light = []
    for file in EVERYTHING:
        all_nodes = list(ast.walk(tree_of(file)))
        for function in (node for node in all_nodes if isinstance(node, ast.FunctionDef)):
            for node in ast.walk(function):
                if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(
                    ("concord", "tasks", "flows")
                ):
                    continue
                modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                files = [ROOT / f"{str(module).replace('.', '/')}.py" for module in modules]
                if not any(heavy(path, set()) for path in files):
                    light.append(f"{file.relative_to(ROOT)}:{node.lineno}: {node.module}")
    assert not light, "import these at the top:\n" + "\n".join(light)
