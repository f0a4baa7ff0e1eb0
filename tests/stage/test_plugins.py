"""Plugins by name, in a small package: listing, loading, and errors that name the file."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from pydantic.dataclasses import dataclass

from concord.stage import plugins
from concord.stage.errors import ParamsError
from concord.stage.params import FORBID, section

PACKAGE = "plugins_of_this_test"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A plugin package with two plugins, and a module that is not a plugin."""
    contract = plugins.Contract(("run", "walk"), ("METHOD",), ("reserved",))
    monkeypatch.setitem(plugins.PACKAGES, PACKAGE, contract)
    monkeypatch.setattr(plugins, "ROOT", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "good.py").write_text("METHOD = 1\ndef run(): ...\n")
    (folder / "walker.py").write_text("METHOD = 1\ndef walk(): ...\n")
    (folder / "shared.py").write_text("def help(): ...\n")
    yield folder
    for module in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[module]


def test_modules_with_an_entry_function_are_plugins(package: Path) -> None:
    assert plugins.names(PACKAGE) == ["good", "walker"]
    assert plugins.names(PACKAGE, entries=["walk"]) == ["walker"]
    assert plugins.load(PACKAGE, "good", "policies.a.method").METHOD == 1


def test_an_unknown_name_is_refused_with_its_key(package: Path) -> None:
    with pytest.raises(ParamsError, match=r"^policies\.a\.method: 'god' is unknown; did you mean"):
        plugins.load(PACKAGE, "god", "policies.a.method")


def test_a_broken_plugin_does_not_affect_the_others(package: Path) -> None:
    (package / "broken.py").write_text("x = 1\ndef run(:\n")
    assert plugins.load(PACKAGE, "good", "policies.a.method").METHOD == 1
    with pytest.raises(ParamsError, match=rf"^{PACKAGE}/broken\.py, line 2: .*; fix the file"):
        plugins.load(PACKAGE, "broken", "policies.a.method")


def test_a_missing_definition_is_named_with_the_file(package: Path) -> None:
    (package / "partial.py").write_text("def run(): ...\n")
    with pytest.raises(ParamsError, match=r"partial\.py does not define `METHOD`; add it"):
        plugins.load(PACKAGE, "partial", "policies.a.method")


def test_a_module_with_a_reserved_name_is_refused(package: Path) -> None:
    (package / "reserved.py").write_text("def run(): ...\n")
    with pytest.raises(ParamsError, match=r"reserved\.py: 'reserved' has a meaning of its own"):
        plugins.names(PACKAGE)


def test_defaults_of_any_signature_are_listed(package: Path) -> None:
    (package / "functions.py").write_text(
        "def f(a, /, b, c=2 * 3, *, d, e=None, f=-1.0): ...\ndef g(a): ...\n"
    )
    location = f"{PACKAGE}.functions"
    assert plugins.names(location) == ["f", "g"]
    assert plugins.defaults(location, "f") == {"c": "2 * 3", "e": "None", "f": "-1.0"}
    assert plugins.defaults(location, "g") == {}


def test_the_error_for_a_validated_name_has_its_path(package: Path) -> None:
    @dataclass(frozen=True, config=FORBID)
    class Inner:
        name: Annotated[str, plugins.named(PACKAGE, "none")] = "none"

    @dataclass(frozen=True, config=FORBID)
    class Outer:
        inner: Inner

    assert section(Outer, {"inner": {"name": "none"}}, "top").inner.name == "none"
    with pytest.raises(ParamsError, match=r"^top\.inner\.name: unknown name; .*good.*'god'"):
        section(Outer, {"inner": {"name": "god"}}, "top")
