"""The blocks `sources:` and `objectives:` of a recipe, for a file that was read in one way."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from concord.annotations.inspection.recognition import Way
from concord.annotations.inspection.survey import Survey
from concord.annotations.shapes import DOMAIN

CORRECT = "correct"
"""Name of the objective of prompts with references."""
CHECKED = "the final answer equals the reference"
GENERIC = ("train", "test", "validation", "valid", "dev", "data")
"""Names of files that do not tell data sets apart."""
WORDING = {
    "comparison": "preferred by the people who compared answers",
    "rating": "rated higher",
    "ranking": "ranked higher",
    "binary": "judged good",
    "steps": "every step is right",
}


def recipe_blocks(path: Path, way: Way, survey: Survey) -> dict[str, Any]:
    """The sections `sources` and, if the file judges anything, `objectives`."""
    domain = domain_of(survey)
    blocks: dict[str, Any] = {"sources": {source_name(path): source(path, way, survey, domain)}}
    objectives = objectives_block(survey, domain)
    if objectives:
        blocks["objectives"] = objectives
    return blocks


def source(path: Path, way: Way, survey: Survey, domain: str) -> dict[str, Any]:
    """The entry of the source. Its prompts are sampled from if it has no rows of that kind."""
    entry: dict[str, Any] = {"format": way.format, "path": str(path)}
    if way.columns:
        entry["columns"] = way.columns
    if "prompts" not in survey.domains:
        entry["prompts"] = domain
    if way.options:
        entry["options"] = way.options
    return entry


def objectives_block(survey: Survey, domain: str) -> dict[str, Any]:
    """An entry for each objective that the labels name.

    Without a verifier, a short recipe gives the objective the reward model of its domain.
    """
    verifier = survey.verifier()
    entries: dict[str, Any] = {}
    for name in survey.objectives():
        kinds = [item.kind for item in survey.labels if item.objective == name]
        is_checked = verifier is not None and not {"steps", "binary"}.isdisjoint(kinds)
        scorer = {"verifier": verifier} if is_checked else {}
        says = CHECKED if is_checked else WORDING[kinds[0]]
        entries[name] = {"domain": domain, "description": says, **scorer}
    if not entries and verifier is not None:
        entries[CORRECT] = {"domain": domain, "description": CHECKED, "verifier": verifier}
    return entries


def domain_of(survey: Survey) -> str:
    """The most common domain of the prompts, or of the demonstrations."""
    for table in ("prompts", "demonstrations"):
        if table in survey.domains:
            return survey.domains[table].most_common(1)[0][0]
    return DOMAIN


def source_name(path: Path) -> str:
    """The file's name as the name of a source, with its folder's if it says nothing, like test.

    Examples:
        >>> source_name(Path("hh-rlhf/test.jsonl.gz"))
        'hh_rlhf_test'
        >>> source_name(Path("data/My pairs-2.jsonl.gz"))
        'my_pairs_2'
    """
    stem = path.name.split(".")[0]
    if stem.lower() in GENERIC and path.parent.name:
        stem = f"{path.parent.name} {stem}"
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
    return name if name[:1].isalpha() else f"source_{name}".rstrip("_")


def as_yaml(blocks: dict[str, Any]) -> str:
    """The blocks as YAML; the innermost mappings are on one line."""
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 1000
    yaml.representer.ignore_aliases = lambda _: True
    stream = io.StringIO()
    yaml.dump(blocks, stream)
    return stream.getvalue()
