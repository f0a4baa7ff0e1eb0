"""Releases: what is published and how, who is champion, and how a version came to be.

A release is one commit on the branch `released` of the project's repository, with the record of its
run: dvc.lock, params.yaml, dvc.yaml, reports, pointers to data, and the folder of the champion. Git
tags name it (`concord.release.repository`). Checkpoints and data are in the DVC remote.
"""

from concord.release.former import how_to_get, roll_back
from concord.release.publishing import finish, publish
from concord.release.repository import ReleaseError, Version, current

__all__ = ["ReleaseError", "Version", "current", "finish", "how_to_get", "publish", "roll_back"]
