"""The documentation: fresh generated pages, working links and commands, no external requests."""

import __future__

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import markdown
import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from concord.annotations import interchange
from concord.annotations.formats import trl
from concord.annotations.record import RowError
from concord.policies import advantages, losses
from concord.policies.job import Method
from concord.report import page, policy_figures
from concord.report.reports import Reports
from concord.rewards.vector import scalarisers
from concord.stage.closure import ROOT
from docs import generate
from tests.reports_fixture import params

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [*PAGES, *sorted(ROOT.glob("*.md"))]
EXTENSIONS = ["attr_list", "tables", "toc", "pymdownx.superfences"]
OUTSIDE = re.compile(r"^(https?:)?//|^(data|mailto):")


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


class Page(HTMLParser):
    """The links, the anchors and the loaded files of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value for key, value in attrs if value is not None}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in ("img", "script", "iframe", "source") and "src" in values:
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.loaded.append(values["href"])


@cache
def rendered(file: Path) -> Page:
    return Page(markdown.markdown(file.read_text(encoding="utf-8"), extensions=EXTENSIONS))


def blocks(file: Path, language: str) -> Iterator[str]:
    """The fenced blocks of a page in one language."""
    text = file.read_text(encoding="utf-8")
    yield from re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_reference_is_fresh(tmp_path: Path) -> None:
    """If this fails, run `make docs` and commit the pages."""
    for file in generate.generate(tmp_path):
        committed = DOCS / "reference" / file.name
        assert committed.read_text(encoding="utf-8") == file.read_text(encoding="utf-8"), file.name
    assert {file.name for file in (DOCS / "reference").iterdir()} == set(generate.PAGES)


def test_every_page_is_in_the_navigation() -> None:
    def pages(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for part in entry.values() if isinstance(entry, dict) else entry:
                yield from pages(part)

    settings = YAML(typ="safe", pure=True).load(ROOT / "mkdocs.yml")
    in_navigation = list(pages(settings["nav"]))
    assert sorted(in_navigation) == [str(file.relative_to(DOCS)) for file in PAGES]


@pytest.mark.parametrize("file", TEXTS, ids=name)
def test_links_and_anchors_resolve(file: Path) -> None:
    page = rendered(file)
    bad = []
    for link in [*page.links, *page.loaded]:
        path, _, anchor = link.partition("#")
        if OUTSIDE.match(link):
            continue
        target = (file.parent / path).resolve() if path else file
        if not target.exists():
            bad.append(f"{link}: there is no {path}")
        elif anchor and target.suffix == ".md" and anchor not in rendered(target).anchors:
            bad.append(f"{link}: no heading has this anchor")
    assert not bad


@pytest.mark.parametrize("file", PAGES, ids=name)
def test_commands_and_paths_on_a_page_exist(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?m)(?:^|`)make (\w+)", text)):
        assert re.search(rf"(?m)^{target}:", makefile), f"make {target}"
    for module in set(re.findall(r"python -m ((?:concord|tasks|flows|benchmarks)[\w.]*)", text)):
        path = ROOT.joinpath(*module.rstrip(".").split("."))
        assert path.with_suffix(".py").is_file() or path.is_dir(), f"python -m {module}"
    for path in set(
        re.findall(r"`((?:concord|tasks|flows|benchmarks|tests|recipes)/[\w./-]+)`", text)
    ):
        if file.stem.startswith("add-") and path.endswith("sharpened.py"):
            continue
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("file", PAGES, ids=name)
def test_code_on_a_page_parses(file: Path) -> None:
    for text in blocks(file, "python"):
        ast.parse(text)
    for text in blocks(file, "yaml"):
        YAML(typ="safe", pure=True).load(text)


def sample(page: str, number: int, **names: Any) -> dict[str, Any]:
    """The names that the numbered Python block of a how-to page defines, given `names`."""
    module = ModuleType("sample")
    vars(module).update(names, __name__="sample")
    text = list(blocks(DOCS / f"how-to/{page}.md", "python"))[number]
    sys.modules["sample"] = module  # dataclasses look up their module
    try:
        exec(
            compile(text, f"{page}.md", "exec", __future__.annotations.compiler_flag), vars(module)
        )
    finally:
        del sys.modules["sample"]
    return vars(module)


def test_the_loss_in_the_how_to_works() -> None:
    loss = sample("add-a-loss", 0, **vars(losses))["squared_hinge"]
    zeros, ones = torch.zeros(2), torch.ones(2)
    pairs = losses.PairLogprobs(ones, zeros, zeros, zeros, ones, ones)
    assert loss(pairs, 0.5, target=2.0).tolist() == [2.25, 2.25]


def test_the_scalariser_and_the_aggregation_in_the_how_to_work() -> None:
    worst = sample("add-a-scalariser", 0, **vars(scalarisers))["worst"]
    nan, half = float("nan"), np.array([0.5, 0.5])
    rewards = np.array([[1.0, 2.0], [nan, 3.0], [nan, nan]])
    assert worst(rewards, half).tolist() == pytest.approx([1.0, 3.0, nan], nan_ok=True)
    centred = sample("add-a-scalariser", 1, **vars(advantages))["centre_then_sum"]
    result = centred(np.array([[0.0, 3.0], [10.0, 3.0]]), np.full((2, 2), 0.5), 2)
    assert result.tolist() == [-2.5, 2.5]


def test_the_verifier_and_the_labeller_in_the_how_to_work() -> None:
    page = "add-a-verifier-labeller-or-judge"
    assert sample(page, 0)["verify"]("It is 4", "4") == 1.0
    label = sample(page, 1)["label"]
    assert label([{"steps": ["short.", "word " * 11]}], None) == [[1.0, 0.0]]


def test_the_format_in_the_how_to_works() -> None:
    module = SimpleNamespace(**sample("add-a-format", 0))
    good = {"question": "How?", "answer": "So.", "thumb": "up"}
    (row,) = module.annotations(good, module.Options("helpful"))
    assert interchange.rows(row)[0]["rating"] == 1.0
    with pytest.raises(RowError, match="off_scale"):
        list(module.annotations({**good, "thumb": "sideways"}, module.Options("helpful")))


def test_the_comparisons_in_the_how_to_are_read() -> None:
    (text,) = blocks(DOCS / "how-to/add-a-check.md", "json")
    rows = [json.loads(line) for line in text.splitlines()]
    read = [row for line in rows for row in trl.annotations(line, trl.Options("harmless"))]
    assert [row["preferred"] for row in read] == ["a", "a"]
    assert [row["a"] for row in read] == [row["chosen"] for row in rows]


def test_the_method_in_the_how_to_works() -> None:
    scope = sample("add-a-method", 0)
    method = scope["METHOD"]
    assert isinstance(method, Method)
    assert method.params(method="sharpened", factor=1.5).factor == 1.5


def test_the_figure_in_the_how_to_is_drawn(reported: Path) -> None:
    distance = sample("add-a-figure", 0, **vars(policy_figures))["distance"]
    drawings = distance(Reports(params(), Path("reports")))
    assert all(drawing.startswith("<svg") for drawing in drawings[""])
    drawn = SimpleNamespace(distance=distance)
    assert sample("add-a-figure", 1, Section=page.Section, policy_figures=drawn)


def test_the_site_builds_and_loads_nothing_from_outside(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = sorted(tmp_path.rglob("*.html"))
    assert len(built) > len(PAGES)
    for file in built:
        loaded = Page(file.read_text(encoding="utf-8")).loaded
        assert not [address for address in loaded if OUTSIDE.match(address)], file.name
    for file in tmp_path.rglob("*.css"):
        addresses = re.findall(r"url\(['\"]?([^)'\"]+)", file.read_text(encoding="utf-8"))
        assert not [address for address in addresses if re.match(r"(https?:)?//", address)], file
