"""How a version came to be, read from its commit: nothing has to be checked out or fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from concord.release.environment import ENVIRONMENT
from concord.release.former import known
from concord.release.release_tree import params_of
from concord.release.repository import ReleaseError, Repository, Version, champion
from concord.stage.paths import ALIGNED, ANCHORS, CANDIDATE, CODE, PREPARED, REPORTS, REWARDS

SHOWN = ("torch", "transformers", "trl", "datasets", "dvc")
"""Packages that the text names; the JSON form has all."""
NOT_STATED = "not stated"


def chosen(repository: Repository, name: str) -> Version:
    """The version with a name; without one, the champion. Raises ReleaseError if there is none."""
    versions = repository.versions()
    if name:
        return known(versions, name)
    leader = champion(versions)
    if leader is None:
        raise ReleaseError(
            f"No version is published in {repository.folder} yet. If this is a clone, get them "
            "with `git fetch --tags`."
        )
    return leader


def lineage(root: Path, name: str = "") -> dict[str, Any]:
    """What a version was made of and from; the champion without a name.

    Raises ReleaseError if there is no such version, or its commit is not a release.
    """
    repository = Repository(root)
    version = chosen(repository, name)
    read = _Record(repository, version)
    params = read.params
    choice, results = read.json(REPORTS / "select.json"), read.json(CANDIDATE / "results.json")
    policy = choice["policy"]
    return {
        "version": version.name,
        "champion": version == champion(repository.versions()),
        "assignments": list(version.stages),
        "code": {
            "commit": version.commit,
            "published": repository.git("show", "--no-patch", "--format=%cI", version.commit),
            "project": read.project(),
            "digests": read.outs.get(CODE.as_posix()),
        },
        "sources": {name: read.source(name) for name in params["sources"]},
        "prepared": read.outs.get(PREPARED.as_posix()),
        "base": {key: params["model"].get(key) for key in ("name", "revision")},
        "seeds": params.get("seeds"),
        "objectives": {
            name: {"domain": entry["domain"], "scored_by": _scorer(entry)}
            for name, entry in params["objectives"].items()
        },
        "reward_models": read.below(REWARDS),
        "anchors": read.outs.get(ANCHORS.as_posix()),
        "models": read.below(Path("models")),
        "policy": {"name": policy, "method": params["policies"][policy]["method"]},
        "weights": {key: choice[key] for key in ("rule", "weights", "strength")},
        "checkpoint": {
            "md5": read.outs.get(ALIGNED.as_posix()),
            "sha256": results["checkpoint"],
        },
        "environment": read.json(ENVIRONMENT),
        "gate": read.json(REPORTS / "gate.json"),
    }


class _Record:
    """The files of a version's commit."""

    def __init__(self, repository: Repository, version: Version) -> None:
        self._repository, self._version = repository, version
        self.params = params_of(repository, version.commit)
        self._lock = YAML(typ="safe", pure=True).load(self._text("dvc.lock"))["stages"]
        outs = (out for stage in self._lock.values() for out in stage.get("outs", []))
        self.outs: dict[str, str] = {out["path"]: out["md5"] for out in outs}

    def _text(self, path: str) -> str:
        try:
            return self._repository.git("show", f"{self._version.commit}:{path}")
        except ReleaseError:
            raise ReleaseError(
                f"{self._version.name} has no {path} in its commit {self._version.commit[:12]}, so "
                "`concord` did not publish it. Choose another version."
            ) from None

    def project(self) -> str | None:
        """The commit of the project whose code ran."""
        message = self._repository.git("show", "--no-patch", "--format=%B", self._version.commit)
        trailer = re.search(r"^Project: (\w+)$", message, re.MULTILINE)
        return trailer[1] if trailer else None

    def json(self, path: Path) -> Any:
        return json.loads(self._text(path.as_posix()))

    def below(self, folder: Path) -> dict[str, str]:
        """Path -> hash of the outputs in a folder."""
        return {
            path: md5 for path, md5 in self.outs.items() if path.startswith(f"{folder.as_posix()}/")
        }

    def source(self, name: str) -> dict[str, Any]:
        """Where a source came from, its content and its licence."""
        entry = self.params["sources"][name]
        deps = self._lock.get(f"ingest@{name}", {}).get("deps", [])
        content: dict[str, Any] = next((dep for dep in deps if dep["path"] == entry["path"]), {})
        counts = self.json(REPORTS / "data.json")["sources"].get(name, {})
        return {
            "path": entry["path"],
            "format": entry["format"],
            "licence": entry.get("licence") or entry.get("license") or NOT_STATED,
            "md5": content.get("md5"),
            "bytes": content.get("size"),
            "files": content.get("nfiles", 1),
            "read": counts.get("read"),
            "kept": counts.get("kept"),
        }


def _scorer(entry: Mapping[str, Any]) -> str:
    if entry.get("verifier"):
        return f"verifier {entry['verifier']}"
    return f"reward model {entry['reward']}" if entry.get("reward") else "the protocol"


def in_words(record: Mapping[str, Any]) -> str:
    """The lineage as text."""
    return "\n".join(_lines(record))


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    code, environment, gate = record["code"], record["environment"], record["gate"]
    status = "the champion" if record["champion"] else "not the champion"
    yield f"{record['version']}, {status}; published {code['published']}"
    yield f"gate         {gate['verdict']}"
    yield f"checkpoint   {ALIGNED} md5 {record['checkpoint']['md5']}"
    yield f"             SHA-256 of the evaluated files {record['checkpoint']['sha256']}"
    yield f"code         commit {code['project']} of the project"
    yield f"             released in {code['commit']}; digests of the code md5 {code['digests']}"
    packages = (f"{name} {environment['packages'].get(name, 'absent')}" for name in SHOWN)
    yield f"environment  Python {environment['python']}, {', '.join(packages)}"
    yield f"             {environment['system']}"
    base = record["base"]
    yield f"base model   {base['name']}{' at ' + base['revision'] if base['revision'] else ''}"
    policy, weights = record["policy"], record["weights"]
    yield f"policy       {policy['name']} (method {policy['method']}), seeds {record['seeds']}"
    yield f"weights      rule {weights['rule']}, strength {weights['strength']:g}"
    for name, weight in weights["weights"].items():
        scorer = record["objectives"].get(name, {}).get("scored_by", "")
        yield f"             {weight:.4f}  {name}, scored by {scorer}"
    yield from _table("sources", (_source(*item) for item in record["sources"].items()))
    models = {**record["models"], PREPARED.as_posix(): record["prepared"]}
    yield from _table("made", (f"{md5}  {path}" for path, md5 in models.items()))


def _source(name: str, entry: Mapping[str, Any]) -> str:
    return (
        f"{name}: {entry['path']} ({entry['format']}, licence {entry['licence']}), "
        f"md5 {entry['md5']}, {entry['read']} rows read, {entry['kept']} kept"
    )


def _table(name: str, rows: Iterator[str]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield f"{'' if number else name:<13}{row}"
