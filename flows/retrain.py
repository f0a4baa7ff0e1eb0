"""Scheduled retraining: trains on new inputs, and publishes the model if the gate accepts it.

    python -m flows.retrain [--force] [--retry-refused]      # in the root of the project

New inputs are files in the folders of `retrain.watch`, new versions of imports, and commits of the
project. The run works in `runs/retrain`, never in the project's own working tree. Without new
inputs it ends within seconds. See docs/how-to/deploy.md.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed

from concord.stage.errors import ConcordError
from flows import labels, presence, retraining, terminal
from flows.retrain_state import Outcome, add_to_history
from flows.retraining import Request
from flows.workspace_stages import RetrainError

EVENTS = {
    "accepted": "concord.candidate.accepted",
    "refused": "concord.candidate.refused",
    "idle": "concord.retrain.idle",
    "skipped": "concord.retrain.skipped",
    "failed": "concord.retrain.failed",
}
"""Outcome -> the event that is emitted."""


@flow(persist_result=False)
def retrain(force: bool = False, retry_refused: bool = False) -> State[dict[str, Any]]:
    """Looks for new data and code; trains, and publishes the model if the gate accepts it.

    Args:
        force: Whether to train and to publish although nothing is new.
        retry_refused: Whether inputs that an earlier run refused are tried again.

    Raises:
        ConcordError: A step failed. Nothing was published; the next run resumes.
    """
    terminal.shorten_errors()
    root, log = Path.cwd(), get_run_logger()
    labels.tag_run(["concord", "retrain"])
    with presence.held():
        try:
            outcome = retraining.retrain(root, Request(force, retry_refused), log.info)
        except Exception as error:
            _announce(root, Outcome("failed", str(error)))
            raise
        _announce(root, outcome)
    log.info(in_words(outcome))
    return Completed(name=outcome.outcome.capitalize(), message=in_words(outcome))


def _announce(root: Path, outcome: Outcome) -> None:
    """Emits the event of an outcome, and publishes it as an artifact."""
    resource = {
        "prefect.resource.id": f"concord.project.{root.name}",
        "prefect.resource.name": root.name,
    }
    payload = {
        "reason": outcome.reason,
        "inputs": list(outcome.inputs),
        "version": outcome.version,
        "folder": str(root),
    }
    emit_event(EVENTS[outcome.outcome], resource, payload=payload)
    create_markdown_artifact(markdown(outcome), key="retrain", description="The scheduled run")


def markdown(outcome: Outcome) -> str:
    """The report of a run."""
    lines = [f"# {outcome.outcome.capitalize()}", "", outcome.reason]
    if outcome.version:
        lines += ["", f"Published: `{outcome.version}`"]
    if outcome.inputs:
        lines += ["", "New:", "", *(f"- {text}" for text in outcome.inputs)]
    return "\n".join(lines) + "\n"


def in_words(outcome: Outcome) -> str:
    """The outcome as a line of the terminal."""
    reason = outcome.reason.removeprefix(f"{outcome.outcome}: ")
    version = f" as {outcome.version}" if outcome.version else ""
    return f"{outcome.outcome}{version}: {reason}"


def main() -> int:
    """Runs the flow, with a Prefect server only if there is work; returns the exit status."""
    options = {"--force", "--retry-refused"}
    if unknown := [argument for argument in sys.argv[1:] if argument not in options]:
        print(f"{__doc__}\nunknown: {' '.join(unknown)}", file=sys.stderr)
        return 2
    force, retry = (option in sys.argv for option in ("--force", "--retry-refused"))
    terminal.quieten()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    root, began = Path.cwd(), time.time()
    try:
        if not retry and not retraining.is_new(root, Request(force)):
            outcome = Outcome("idle", "nothing is new")
            add_to_history(root, outcome, began)
            print(in_words(outcome))
            return 0
        with terminal.server(), terminal.explain_loss():
            state = retrain(force, retry, return_state=True)
        if not state.is_completed():
            error = state.result(raise_on_failure=False)
            raise error if isinstance(error, BaseException) else RetrainError(str(state.message))
        print(state.message)
    except ConcordError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; nothing was published, and the next run resumes", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
