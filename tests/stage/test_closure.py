"""Code digests, for a small example project and for this one.

tasks/a.py imports tasks/area/b.py inside a function, which imports tasks/area/c.py relatively.
Nothing imports tasks/d.py.
"""

from pathlib import Path

import pytest

from concord.stage.closure import ROOT, digests, local_imports

FILES = {
    "tasks/__init__.py": "",
    "tasks/area/__init__.py": "",
    "tasks/a.py": "import json\ndef run():\n    from tasks.area import b\n    return b\n",
    "tasks/area/b.py": "from .c import x\n",
    "tasks/area/c.py": "import tasks.a\nx = 1\n",
    "tasks/d.py": "y = 1\n",
}
METHODS = "concord.policies.methods"
LOSSES = "concord.policies.losses"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        write(tmp_path, name, text)
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_the_closure_follows_functions_relative_imports_and_cycles(project: Path) -> None:
    paths = {
        str(path.relative_to(project))
        for path in local_imports(project / "tasks/a.py", root=project)
    }
    assert paths == FILES.keys() - {"tasks/d.py"}


def test_the_package_of_the_first_file_is_included(project: Path) -> None:
    write(project, "tasks/area/__init__.py", "STRICT = True\n")
    assert "tasks/area/__init__.py" in digests(project / "tasks/area/c.py", root=project)


def test_imports_under_type_checking_are_ignored(project: Path) -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tasks import d\n"
    write(project, "tasks/area/c.py", text)
    assert "tasks/d.py" not in digests(project / "tasks/a.py", root=project)
    write(project, "tasks/area/c.py", text + "else:\n    from tasks import d\n")
    assert "tasks/d.py" in digests(project / "tasks/a.py", root=project)


def test_a_byte_order_mark_does_not_change_a_digest(project: Path) -> None:
    before = digests(project / "tasks/d.py", root=project)
    (project / "tasks/d.py").write_bytes(b"\xef\xbb\xbf" + FILES["tasks/d.py"].encode())
    assert digests(project / "tasks/d.py", root=project) == before


def test_the_closure_of_a_file_in_this_project() -> None:
    paths = {str(path.relative_to(ROOT)) for path in local_imports(ROOT / "concord/lm/train.py")}
    assert {"concord/lm/train.py", "concord/lm/trainer.py", "concord/stage/progress.py"} <= paths
    assert "concord/policies/model.py" not in paths


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("from .c import x\n# a comment\n", True),
        ('"""A docstring."""\n\nfrom .c import (\n    x,\n)\n', True),
        ('from .c import x\nclass A:\n    """Doc."""\n    b = 1\n    """Of b."""\n', False),
        ("from .c import x\nz = 2\n", False),
    ],
)
def test_only_edits_of_code_change_a_digest(project: Path, text: str, same: bool) -> None:
    before = digests(project / "tasks/a.py", root=project)
    write(project, "tasks/area/b.py", text)
    after = digests(project / "tasks/a.py", root=project)
    assert (before == after) == same
    assert {path for path in after if before[path] != after[path]} <= {"tasks/area/b.py"}


def test_attribute_docstrings_are_ignored(project: Path) -> None:
    write(project, "tasks/d.py", "class A:\n    b = 1\n")
    before = digests(project / "tasks/d.py", root=project)
    write(project, "tasks/d.py", 'class A:\n    """Doc."""\n\n    b = 1\n    """Of b."""\n')
    assert digests(project / "tasks/d.py", root=project) == before


def test_a_digest_is_the_same_in_every_version_of_python(project: Path) -> None:
    """The digest is hard-coded: if it changes, every dvc.lock in git is out of date."""
    assert digests(project / "tasks/d.py", root=project) == {"tasks/d.py": "5427d20fde942544"}


def test_packages_without_code_are_not_listed(project: Path) -> None:
    assert "tasks/__init__.py" not in digests(project / "tasks/a.py", root=project)


@pytest.fixture
def plugin_project(project: Path) -> Path:
    """A stage that loads one of two methods by name; each method loads one of two losses."""
    write(project, "tasks/p.py", f'plugins.load("{METHODS}", name)\n')
    for name in ("one", "two"):
        text = f'plugins.function("{LOSSES}", name)\nfrom {LOSSES} import shared\ndef run(): ...\n'
        write(project, f"concord/policies/methods/{name}.py", text)
    return project


def losses(root: Path, **bodies: str) -> None:
    functions = [f"def {name}():\n    return {body}\n" for name, body in bodies.items()]
    write(root, "concord/policies/losses.py", "\n".join(["CONSTANT = 1", *functions]))


def of(root: Path, method: str, loss: str) -> dict[str, str]:
    return digests(root / "tasks/p.py", root=root, named={METHODS: {method}, LOSSES: {loss}})


def test_only_named_plugins_are_included(plugin_project: Path) -> None:
    losses(plugin_project, shared="1", first="_helper()", second="3", _helper="CONSTANT")
    first, second = of(plugin_project, "one", "first"), of(plugin_project, "two", "second")
    assert "concord/policies/methods/two.py" not in first
    assert "concord/policies/methods/one.py" not in second
    all_digests = digests(plugin_project / "tasks/p.py", root=plugin_project)
    assert {
        "concord/policies/methods/one.py",
        "concord/policies/methods/two.py",
    } <= all_digests.keys()


@pytest.mark.parametrize(
    ("change", "affected"),
    [
        ({"third": "4"}, set()),
        ({"second": "9"}, {"second"}),
        ({"_helper": "2"}, {"first"}),
        ({"shared": "2"}, {"first", "second"}),
    ],
)
def test_editing_a_loss_affects_only_its_users(
    plugin_project: Path, change: dict[str, str], affected: set[str]
) -> None:
    """`first` calls `_helper`; every method imports `shared`."""
    bodies = {"shared": "1", "first": "_helper()", "second": "3", "_helper": "CONSTANT"}
    losses(plugin_project, **bodies)
    before = {name: of(plugin_project, "one", name) for name in ("first", "second")}
    losses(plugin_project, **{**bodies, **change})
    assert {name for name in before if of(plugin_project, "one", name) != before[name]} == affected


def test_a_whole_plugin_module_is_hashed_if_it_is_imported(plugin_project: Path) -> None:
    losses(plugin_project, shared="1", first="2")
    write(
        plugin_project,
        "concord/policies/methods/one.py",
        "from concord.policies import losses\ndef run(): ...\n",
    )
    before = of(plugin_project, "one", "first")
    losses(plugin_project, shared="1", first="2", third="3")
    assert of(plugin_project, "one", "first") != before


def test_a_plugin_module_is_included_without_an_import(project: Path) -> None:
    """The module is loaded by name, and only if the parameters name something in it."""
    write(project, "tasks/p.py", f'plugins.function("{LOSSES}", name)\n')
    losses(project, first="1", second="2")
    named = digests(project / "tasks/p.py", root=project, named={LOSSES: {"first"}})
    unnamed = digests(project / "tasks/p.py", root=project, named={LOSSES: set()})
    assert "concord/policies/losses.py" in named
    assert "concord/policies/losses.py" not in unnamed
    losses(project, first="1", second="3")
    assert digests(project / "tasks/p.py", root=project, named={LOSSES: {"first"}}) == named
