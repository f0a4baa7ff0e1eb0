"""Git as the registry of releases: the branch `released`, and tags in the format of GTO.

    aligned@v1.2.0        the commit is version v1.2.0
    aligned#champion#7    the seventh assignment of the stage `champion`

GTO orders assignments by the time of their tags, with a precision of a second. The numbers order
them here, and each tag is dated later than the one before. GTO therefore agrees (`gto show
aligned#champion`), also if the clock was set back or two tags are made in the same second.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from concord.release.logins import without_logins
from concord.stage.errors import ConcordError

ARTIFACT = "aligned"
STAGE = "champion"
BRANCH = "released"
TAGS = f"refs/tags/{ARTIFACT}"
TAG = re.compile(rf"{TAGS}(?:@(?P<version>v\d+\.\d+\.\d+)|#{STAGE}#(?P<number>\d+))")
LOST = ("non-fast-forward", "fetch first", "already exists", "cannot lock ref", "failed to update")
"""What git says to a push if another one was faster."""


class ReleaseError(ConcordError):
    """A version cannot be published, taken back or read."""


@dataclass(frozen=True)
class Version:
    """A published version of the model."""

    name: str
    """`v1.2.0`."""
    commit: str
    """The commit that holds it, 40 hexadecimal digits."""
    stages: tuple[int, ...] = ()
    """Numbers of the assignments that made it the champion, ascending. Empty: it never was."""


@dataclass(frozen=True)
class Repository:
    """A git repository, and the one that holds the releases."""

    folder: Path
    remote: str = "."
    """Where the releases are: `origin`, or `.` for this repository itself."""

    def git(self, *arguments: str, text: str = "", env: Mapping[str, str] | None = None) -> str:
        """The output of a git command that reads `text`. Raises ReleaseError if it fails."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            input=text,
            env={**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ReleaseError(
                f"`git {arguments[0]}` failed in {self.folder}: {_reason(done.stderr)}."
            )
        return done.stdout.strip()

    def has(self, revision: str) -> bool:
        """Whether a revision exists."""
        try:
            self.git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        except ReleaseError:
            return False
        return True

    def fetch(self) -> None:
        """Reads the branch and the tags of the remote. Tags that it lacks are deleted here."""
        if self.remote == ".":
            return
        tracking = f"+refs/heads/{BRANCH}*:refs/remotes/{self.remote}/{BRANCH}*"
        self.git(
            *("fetch", "--quiet", "--prune", "--no-tags", self.remote),
            *(f"+{TAGS}*:{TAGS}*", tracking),
        )

    def tip(self) -> str | None:
        """The newest commit of the branch of releases, or None."""
        where = "heads" if self.remote == "." else f"remotes/{self.remote}"
        reference = f"refs/{where}/{BRANCH}"
        return self.git("rev-parse", reference) if self.has(reference) else None

    def contains(self, commit: str, ancestor: str) -> bool:
        """Whether `ancestor` is `commit` or in its history."""
        try:
            self.git("merge-base", "--is-ancestor", ancestor, commit)
        except ReleaseError:
            return False
        return True

    def versions(self) -> dict[str, Version]:
        """Name -> version, in the order of their numbers."""
        commits: dict[str, str] = {}
        numbers: dict[str, list[int]] = {}
        listed = "%(refname) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)"
        for line in self.git("for-each-ref", f"--format={listed}", f"{TAGS}*").splitlines():
            reference, commit = line.split()
            if not (tag := TAG.fullmatch(reference)):
                continue
            if tag["version"]:
                commits[tag["version"]] = commit
            else:
                numbers.setdefault(commit, []).append(int(tag["number"]))
        return {
            name: Version(name, commits[name], tuple(sorted(numbers.get(commits[name], []))))
            for name in sorted(commits, key=parts)
        }

    def tag(self, name: str, commit: str, message: str, offset: int = 0) -> str:
        """Writes the object of an annotated tag, without a reference; returns its hash.

        It is dated now, but later than every tag of the registry; by `offset` seconds more, for a
        second tag that is pushed together with the first.
        """
        listed = self.git("for-each-ref", "--format=%(taggerdate:unix)", f"{TAGS}*").split()
        date = max([int(time.time()), *(int(date) + 1 for date in listed)]) + offset
        lines = (
            f"object {commit}",
            "type commit",
            f"tag {name}",
            f"tagger {self._identity()} {date} +0000",
            "",
            message,
            "",
        )
        return self.git("mktag", text="\n".join(lines))

    def commit(self, tree: str, parent: str, message: str) -> str:
        """Writes a commit, without a reference; returns its hash."""
        name, _, address = self._identity().partition(" <")
        people = ("AUTHOR", "COMMITTER")
        env = {f"GIT_{person}_NAME": name for person in people}
        env |= {f"GIT_{person}_EMAIL": address.rstrip(">") for person in people}
        return self.git("commit-tree", tree, "-p", parent, "-F", "-", text=message, env=env)

    def update_index(self, entries: Iterable[str], env: Mapping[str, str]) -> None:
        """Changes entries of the index that `env` names; each is as `git ls-tree` prints it."""
        text = "".join(f"{entry}\0" for entry in entries)
        self.git("update-index", "-z", "--index-info", text=text, env=env)

    def push(self, references: Mapping[str, str]) -> None:
        """Sets references (name -> hash) of the remote: all of them, or none.

        Raises ReleaseError if the remote cannot be reached, or if another push was faster.
        """
        names = [f"{value}:{name}" for name, value in references.items()]
        try:
            self.git("push", "--quiet", "--atomic", self.remote, *names)
        except ReleaseError as error:
            raise ReleaseError(self._why(str(error))) from None

    def _why(self, problem: str) -> str:
        where: object = self.folder
        if self.remote != ".":
            where = without_logins(self.git("remote", "get-url", self.remote))
        if "checked out branch" in problem:
            return (
                f"The branch {BRANCH} is checked out in {where}, so git refuses to move it. "
                "Nothing was changed; check out another branch there, and try again."
            )
        if any(words in problem for words in LOST):
            return (
                f"Another publication or rollback in {where} was faster than this one. "
                "Nothing was changed; start again from its result."
            )
        return f"{problem} If it arrived all the same, a second call finds it and changes nothing."

    def _identity(self) -> str:
        """`Name <address>` of the user of git, or of Concord if git knows none."""
        try:
            return self.git("var", "GIT_COMMITTER_IDENT").rsplit(" ", 2)[0]
        except ReleaseError:
            return "concord <concord@localhost>"


def parts(name: str) -> tuple[int, ...]:
    """The numbers of a version.

    Examples:
        >>> parts("v1.12.0")
        (1, 12, 0)
    """
    return tuple(int(part) for part in name.removeprefix("v").split("."))


def champion(versions: Mapping[str, Version]) -> Version | None:
    """The version with the last assignment; None if there is none."""
    assigned = [version for version in versions.values() if version.stages]
    return max(assigned, key=lambda version: version.stages[-1], default=None)


def current(root: Path) -> Version | None:
    """The champion of the project at `root`, or None. Raises ReleaseError without a repository."""
    return champion(Repository(root).versions())


def _reason(stderr: str) -> str:
    """The lines of git's message that say why, as one line.

    Examples:
        >>> _reason("remote: fatal: No space left on device \\nTo ../x\\nerror: unpack failed")
        'remote: fatal: No space left on device; error: unpack failed'
    """
    lines = [line.strip() for line in stderr.splitlines()]
    marked = [line for line in lines if re.match(r"((remote: )?(fatal|error)|! \[)", line)]
    shown = "; ".join(marked or [line for line in lines if line] or ["no message"]).rstrip(".")
    return without_logins(shown)


def references(tagged: Sequence[tuple[str, str]]) -> dict[str, str]:
    """References of tags, as `push` takes them, from pairs of name and hash."""
    return {f"refs/tags/{name}": value for name, value in tagged}
